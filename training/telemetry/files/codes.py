"""Whether ids and categories are integers or texts: files must agree, and a folder's name is read as they say.

The integer 132 and the text ``"132"`` are two categories. So an id is of the type that its table has, and columns that
a feature or a tier compares are of one type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import polars as pl

from scheduler.spec import Equal, Spec
from training.telemetry.files.kinds import Schema, is_text, refuse

INTEGERS, TEXTS = "integers", "strings"

Place: TypeAlias = tuple[str, str]
"""The source and the name of a column."""


class Holder(NamedTuple):
    """A file, and the columns it holds with their types."""

    file: Path
    schema: Schema


def check_ids(holders: Sequence[Holder], spec: Spec, clients: Holder, nodes: Holder) -> None:
    """Raise `DataError` for the first file whose ids are of another type than those of their table."""
    for column, table in ((spec.telemetry.client, clients), (spec.telemetry.node, nodes)):
        expected = _code(table.schema["id"])
        for holder in holders:
            found = _code(holder.schema.get(column))
            if expected is not None and found is not None and found != expected:
                what = "String" if expected == TEXTS else "Int64"
                refuse(holder.file, column, f"ids of type {what} as in its table", holder.schema[column])


def code_types(holders: Sequence[Holder], spec: Spec, clients: Holder, nodes: Holder) -> dict[str, str | None]:
    """Return for each id and category of the telemetry whether it is `INTEGERS` or `TEXTS`.

    The table says so of an id. Of a category the files say so that hold it, or a column that it is compared with; where
    no file does, the spec's profiles; None where nothing does.

    Raises
    ------
    DataError
        If two files differ, or two columns that are compared.
    """
    holding = {"clients": [clients], "nodes": [nodes], "telemetry": list(holders)}
    types = {
        spec.telemetry.client: _code(clients.schema["id"]),
        spec.telemetry.node: _code(nodes.schema["id"]),
    }
    for places in compared(spec):
        code = _agreed(places, holding) or _profiled(places, spec)
        own = (name for source, name in places if source == "telemetry" and name not in types)
        types |= dict.fromkeys(own, code)
    return types


def compared(spec: Spec) -> list[set[Place]]:
    """Return where all categories are, those together that a feature or a tier compares."""
    sides = (spec.request, spec.node)
    coded = [(c.source, name) for side in sides for name, c in side.items() if c.type in ("category", "categories")]
    groups: list[set[Place]] = [{place} for place in coded]
    pairs = [(f.request, f.node) for f in spec.features.values() if isinstance(f, Equal)]
    pairs += [pair for tier in spec.candidates.tiers for pair in tier.match.items()]
    for request, node in pairs:
        ends: set[Place] = {(spec.request[request].source, request), (spec.node[node].source, node)}
        joined = ends.union(*(group for group in groups if group & ends))
        groups = [group for group in groups if not group & ends] + [joined]
    return groups


def _agreed(places: set[Place], holding: Mapping[str, Sequence[Holder]]) -> str | None:
    """Return what all files that hold these columns agree on; the tables are asked first."""
    agreed = where = None
    for source, name in sorted(places, key=lambda place: (place[0] == "telemetry", place)):
        for holder in holding[source]:
            code = _code(holder.schema.get(name))
            if code is None:
                continue
            if agreed is None:
                agreed, where = code, f"column {name!r} of {holder.file}"
            elif code != agreed:
                refuse(holder.file, name, f"{agreed} as in {where}", holder.schema[name])
    return agreed


def _profiled(places: set[Place], spec: Spec) -> str | None:
    when = [profile.when[name] for profile in spec.utility.profiles for _, name in places if name in profile.when]
    if not when:
        return None
    return TEXTS if any(isinstance(value, str) for value in when) else INTEGERS


def _code(dtype: pl.DataType | None) -> str | None:
    """Return what a column of this type holds, or a list of it; None where it holds nothing or is not there."""
    one = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
    if one is None or one == pl.Null:
        return None
    return TEXTS if is_text(one) else INTEGERS
