"""How a telemetry column is made from a column of raw files, which call, count and write things in their own way."""

from __future__ import annotations

from typing import Literal

from scheduler.spec.section import Section

RawType = Literal["same", "number", "text", "time", "boolean"]


class RawColumn(Section, frozen=True):
    """A telemetry column made from a raw one, or from a ``value`` that is the same in all rows.

    ``type`` says what becomes of the raw value. ``same`` leaves it as it is, ``text`` makes a text of it. A ``number``
    is multiplied by ``scale``, or is ``inverse`` divided by the raw number; what is no number, or is not between
    ``min`` and ``max``, is missing. A ``time`` is read in ``unit`` since 1970, or by ``format`` where it is a text. A
    ``boolean`` is whether the raw value is one of ``good``, lies between ``min`` and ``max``, or, without any of them,
    is there at all.
    """

    column: str | None = None
    value: int | str | None = None
    type: RawType = "same"
    unit: Literal["s", "ms", "us", "ns"] = "s"
    format: str | None = None
    scale: float = 1.0
    inverse: float | None = None
    good: tuple[bool | int | str, ...] | None = None
    min: float | None = None
    max: float | None = None
