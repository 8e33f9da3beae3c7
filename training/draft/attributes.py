"""What the remaining columns are: of the client, of the node, of the request, or known only afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import polars as pl

from training.draft.column_pairs import ColumnPairs, constant_per
from training.draft.columns import RawFacts, facts_of
from training.draft.outcomes import Success
from training.draft.roles import Roles
from training.draft.words import (
    ATTRIBUTE_NUMBER,
    CATEGORY,
    CLIENT,
    LATENCY,
    NODE,
    NODE_NUMBER,
    OTHER_COST,
    REQUEST_NUMBER,
    SUCCESS,
    THROUGHPUT,
    place_in,
    says,
)

FEW = 32
"""Distinct whole numbers that are taken for a category: codes are few, measures many."""

MOST = 2_000
"""Distinct values of a category; more are names of single things."""

TELLING = 0.995
"""Share of the requests whose success a category tells from which on it is taken to be known only afterwards."""


class Attribute(NamedTuple):
    """A column that is known before the decision.

    Attributes
    ----------
    column, side, type
        Its raw name, whom it describes, and what it holds.
    of
        What it is constant for: ``client``, ``node``, or ``row`` where it changes from request to request.
    source
        The table that it is in, or ``telemetry``.
    distinct
        Its distinct values.
    """

    column: str
    side: Literal["request", "node"]
    type: Literal["category", "number"]
    of: Literal["client", "node", "row"]
    source: str = "telemetry"
    distinct: int = 0


class Sorted(NamedTuple):
    """The attributes, and by column why the others are left out."""

    attributes: list[Attribute]
    left_out: dict[str, str]


def find_attributes(
    sample: pl.DataFrame, facts: Mapping[str, RawFacts], roles: Roles, taken: set[str], success: Success
) -> Sorted:
    """Sort the columns that have no role yet."""
    rest = [one for one in facts.values() if one.name not in taken]
    usable = [one.name for one in rest if one.kind in ("boolean", "category", "integer", "number")]
    per_client = constant_per(sample, roles.client, usable)
    per_node = constant_per(sample, roles.node, usable)
    per_pair = _per_pair(sample, roles, [name for name in usable if name not in per_client | per_node])
    counts = {"client": sample[roles.client].n_unique() if roles.client else 1, "node": sample[roles.node].n_unique()}
    found: list[Attribute] = []
    left: dict[str, str] = {}
    for one in rest:
        if one.name not in usable:
            left[one.name] = {"empty": "no value", "constant": "always the same"}.get(one.kind, f"{one.kind}, not used")
        elif one.name in per_client | per_node:
            of = _side(one.name, per_client, per_node)
            _keep(found, left, one, of, counts[of])
        elif one.name in per_pair:
            left[one.name] = "the same for each pair of client and node, which is neither's"
        else:
            _sort_varying(found, left, one, sample, success, roles.node)
    return Sorted(found, left)


def _per_pair(sample: pl.DataFrame, roles: Roles, names: Sequence[str]) -> set[str]:
    if roles.client is None or not names:
        return set()
    pairs = sample.with_columns(pl.struct(roles.client, roles.node).alias("@pair"))
    repeated = pairs.filter(pl.len().over("@pair") > 1)
    return constant_per(repeated, "@pair", names) if repeated.height else set()


def _side(name: str, per_client: set[str], per_node: set[str]) -> Literal["client", "node"]:
    if name in per_client and name in per_node:
        return "client" if says(name, CLIENT) and not says(name, NODE) else "node"
    return "client" if name in per_client else "node"


def _keep(
    found: list[Attribute], left: dict[str, str], one: RawFacts, of: Literal["client", "node"], n_keys: int
) -> None:
    """Keep a column that describes clients or nodes."""
    kind = _type(one)
    if kind == "category" and one.distinct >= 0.9 * n_keys and one.distinct > 2:  # noqa: PLR2004 - nearly one each
        left[one.name] = f"a name of each {of}, which its id is already"
    elif kind == "category" and one.distinct > MOST:
        left[one.name] = f"{one.distinct:,} values, too many for a category"
    else:
        side: Literal["request", "node"] = "request" if of == "client" else "node"
        found.append(Attribute(one.name, side, kind, of, distinct=one.distinct))


def _type(one: RawFacts) -> Literal["category", "number"]:
    if one.kind in ("boolean", "category"):
        return "category"
    if one.kind == "integer" and not says(one.name, ATTRIBUTE_NUMBER):
        return "category" if says(one.name, CATEGORY) or one.distinct <= FEW else "number"
    return "number"


def _sort_varying(
    found: list[Attribute], left: dict[str, str], one: RawFacts, sample: pl.DataFrame, success: Success, node: str
) -> None:
    """Sort a column that changes from request to request: only what is surely known before may be a feature."""
    if says(one.name, NODE_NUMBER) and one.kind in ("number", "integer"):
        found.append(Attribute(one.name, "node", "number", "row", distinct=one.distinct))
        return
    if says(one.name, REQUEST_NUMBER) and one.kind in ("number", "integer"):
        found.append(Attribute(one.name, "request", "number", "row", distinct=one.distinct))
        return
    measured = any(place_in(one.name, known) is not None for known in (LATENCY[:-1], THROUGHPUT, OTHER_COST, SUCCESS))
    named = says(one.name, CATEGORY)
    if measured and not named:
        left[one.name] = "its name says that it was measured, so it is known only afterwards"
    elif one.kind == "boolean" and not named:
        left[one.name] = "a mark that changes from row to row: it may be known only afterwards"
    elif _type(one) != "category" or (one.kind == "integer" and not named):
        left[one.name] = "a number that changes from row to row: it may be known only afterwards"
    elif one.distinct > MOST:
        left[one.name] = f"{one.distinct:,} values, too many for a category"
    elif one.nulls > 0.5:  # noqa: PLR2004 - mostly missing
        left[one.name] = f"missing in {one.nulls:.0%} of the rows"
    elif _names_nodes(sample, one, node):
        left[one.name] = f"each of its values has one {node}, so it tells who served, which is known only afterwards"
    elif _tells(sample, one.name, success) > TELLING:
        left[one.name] = "it tells success from failure, so it is known only afterwards"
    else:
        found.append(Attribute(one.name, "request", "category", "row", distinct=one.distinct))


def _names_nodes(sample: pl.DataFrame, one: RawFacts, node: str) -> bool:
    """Tell whether a column names parts of a node, such as the servers of a region that is taken for the node."""
    return one.distinct > sample[node].n_unique() > 1 and ColumnPairs(sample).decides(one.name, node)


def _tells(sample: pl.DataFrame, name: str, success: Success) -> float:
    """Return the share of the requests whose success follows from a column; 0 where nearly all succeed."""
    if "@ok" not in sample.columns or success.raw is None:
        return 0.0
    ok = sample["@ok"].fill_null(value=False)
    rate = float(ok.mean())  # type: ignore[arg-type]
    if not 0.01 < rate < 0.99:  # noqa: PLR2004 - the most frequent outcome alone tells as much
        return 0.0
    rates = sample.group_by(name).agg(pl.len().alias("n"), pl.col("@ok").mean().alias("rate"))
    told = (pl.col("n") * pl.max_horizontal("rate", 1.0 - pl.col("rate"))).sum() / pl.col("n").sum()
    return float(rates.select(told).item())


def of_table(table: pl.DataFrame, source: Literal["clients", "nodes"]) -> Sorted:
    """Sort the columns of a table of clients or nodes."""
    found: list[Attribute] = []
    left: dict[str, str] = {}
    of: Literal["client", "node"] = "client" if source == "clients" else "node"
    for one in facts_of(table).values():
        if one.name == "id":
            continue
        if one.kind not in ("boolean", "category", "integer", "number"):
            left[f"{source}.{one.name}"] = "no value" if one.kind == "empty" else "always the same"
            continue
        if one.kind == "boolean":
            left[f"{source}.{one.name}"] = "a boolean in a table, which a spec cannot take"
            continue
        _keep(found, left, one, of, table.height)
    return Sorted([attribute._replace(source=source) for attribute in found], left)
