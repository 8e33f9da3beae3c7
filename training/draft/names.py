"""What columns are called in a spec: as they are where that is possible."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import polars as pl

from scheduler.spec import COST, FAILED, RawColumn
from training.draft.attributes import Attribute
from training.draft.draft import Draft
from training.draft.outcomes import Measured
from training.draft.words import identifier, unit_of, words

_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_RESERVED = {FAILED, COST, "ok"}


class Names:
    """The spec's names of a draft's columns, and the section ``[raw]`` that makes them.

    Attributes
    ----------
    client, node, time, ok
        Columns of the roles; None where there is none.
    cost, failure
        Outcomes: what a request costs, and how long a failure took.
    further
        More outcomes.
    attributes
        By side and raw column.
    raw
        The raw columns that are read in another way than as they are.
    """

    def __init__(self, made: Draft) -> None:
        self._facts = made.facts
        self._used: set[str] = set()
        self.raw: dict[str, RawColumn] = {}
        roles = made.roles
        self._used |= {one.column for one in made.attributes if one.source != "telemetry"}
        one_client = RawColumn(value="all")
        self.client = self._make("client", one_client) if roles.client is None else self._as_is(roles.client)
        self.node = self._as_is(roles.node)
        self.time = None
        if roles.time is not None:
            self.time = self._as_is(roles.time)
            if made.time is not None:
                self.time = self._make(f"{identifier(roles.time)}_seconds", made.time)
        self.ok = self._ok(made)
        self.cost = self._outcome(made.cost)
        self.failure = None if made.failure is None else self._outcome(made.failure)
        self.further = [self._outcome(one) for one in made.further]
        self.attributes = {(one.side, one.column): self._attribute(one) for one in made.attributes}

    def _own(self, name: str) -> str:
        """Return a name that neither a raw column nor another of the spec has."""
        while name in self._used or name in self._facts:
            name += "_"
        self._used.add(name)
        return name

    def _as_is(self, column: str) -> str:
        self._used.add(column)
        return column

    def _make(self, name: str, raw: RawColumn) -> str:
        name = self._own(name)
        self.raw[name] = raw
        return name

    def _ok(self, made: Draft) -> str | None:
        raw, column = made.success.raw, made.success.column
        if raw is None:
            return None
        if column is not None and raw == RawColumn(column=column):
            return self._as_is(column)
        return self._make("ok", raw)

    def _outcome(self, one: Measured) -> str:
        facts = self._facts[one.column]
        plain = one.raw.inverse is None and one.raw.scale == 1.0 and one.raw.min is None
        numeric = facts.dtype.is_numeric() and facts.dtype != pl.Boolean
        if plain and numeric and _PLAIN.fullmatch(one.column) and one.column not in _RESERVED:
            return self._as_is(one.column)
        raw = one.raw if one.raw.type == "number" else msgspec.structs.replace(one.raw, type="number")
        return self._make(_outcome_name(one), raw)

    def _attribute(self, one: Attribute) -> str:
        if one.source != "telemetry":
            return one.column
        if one.type == "category" and self._facts[one.column].dtype == pl.Boolean:
            return self._make(f"{identifier(one.column)}_text", RawColumn(column=one.column, type="text"))
        if _PLAIN.fullmatch(one.column) and one.column not in self._used:
            return self._as_is(one.column)
        return self._make(identifier(one.column), RawColumn(column=one.column))


def _outcome_name(one: Measured) -> str:
    if one.raw.inverse is not None:
        return "ms_per_mbit" if one.unit == "ms for a Mbit" else f"inverse_{identifier(one.column)}"
    base = identifier(one.column)
    if one.is_time:
        unit, parts = unit_of(one.column), base.split("_")
        if unit is not None and len(parts) > 1 and words(parts[-1])[-1:] == words(one.column)[-1:]:
            base = "_".join(parts[:-1])
        return base if base.endswith("_ms") else f"{base}_ms"
    return f"measured_{base}" if base in _RESERVED else base


def plain(value: Any) -> Any:  # noqa: ANN401 - any part of a spec
    """Return a part of a spec without what has its default value, as TOML has it."""
    default = type(value)()
    keys = type(value).__struct_fields__
    found = {key: getattr(value, key) for key in keys if getattr(value, key) != getattr(default, key)}
    return {key: list(one) if isinstance(one, tuple) else one for key, one in found.items()}
