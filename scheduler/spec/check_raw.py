"""Checks of how raw columns become those of telemetry."""

from __future__ import annotations

import math

from scheduler.spec.raw import RawColumn
from scheduler.spec.refuse import refuse
from scheduler.spec.types import Spec

_READ_BY = {
    "scale": ("number",),
    "inverse": ("number",),
    "unit": ("time",),
    "format": ("time",),
    "good": ("boolean",),
    "min": ("number", "boolean"),
    "max": ("number", "boolean"),
}
"""Keys of a raw column, and the types that read them."""


def check_raw(spec: Spec) -> None:
    """Raise `SpecError` where a raw column, or the slices that follow from time, contradict themselves."""
    roles = spec.telemetry
    if roles.slice.column is None and roles.time is None:
        refuse("telemetry.slice.column", "a column, because there is no time that slices could follow from", None)
    if roles.slice.column is not None and roles.slice.origin:
        refuse("telemetry.slice.origin", "none, because a column numbers the slices", roles.slice.origin)
    if not math.isfinite(roles.slice.origin):
        refuse("telemetry.slice.origin", "a finite number of seconds", roles.slice.origin)
    for name, raw in spec.raw.items():
        _check_column(f"raw.{name}", raw)


def _check_column(where: str, raw: RawColumn) -> None:
    if (raw.column is None) == (raw.value is None):
        refuse(where, "either a column or a value", raw.column)
    default = RawColumn()
    for key, kinds in _READ_BY.items():
        if raw.type not in kinds and getattr(raw, key) != getattr(default, key):
            refuse(f"{where}.{key}", f"no such key unless type is {' or '.join(kinds)}", getattr(raw, key))
    if raw.good is not None and (raw.min is not None or raw.max is not None):
        refuse(f"{where}.good", "either good, or min and max", list(raw.good))
    for key, number in (("scale", raw.scale), ("inverse", raw.inverse)):
        if number is not None and not (math.isfinite(number) and number > 0):
            refuse(f"{where}.{key}", "a positive number", number)
    if raw.min is not None and raw.max is not None and raw.min > raw.max:
        refuse(f"{where}.min", f"at most the max, {raw.max:g}", raw.min)
