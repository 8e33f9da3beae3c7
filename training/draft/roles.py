"""Which raw columns are the client, the node and the time: by their names, and by how their values meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import polars as pl

from scheduler.errors import DataError, InputError
from training.draft.columns import RawFacts, seconds_of
from training.draft.times import own_slices
from training.draft.words import (
    CLIENT,
    CLIENT_WEAK,
    LATENCY,
    NODE,
    NODE_WEAK,
    OTHER_COST,
    SLICE,
    SUCCESS,
    THROUGHPUT,
    place_in,
    says,
    words,
)

STRONG, WEAK, ID = 3.0, 1.5, 0.5
"""What a name adds to a role: a word that means it, one that may, and the word ``id``."""

OVERLAP = 0.5
"""Share of values that two columns have in common from which on both name the same kind of thing."""

_CODE = frozenset(["status", "code", "rcode", "result", "error", "ok", "success"])


class Roles(NamedTuple):
    """The columns of who asks, who serves and when; ``slice`` numbers rounds, or the slices of the times."""

    client: str | None
    node: str
    time: str | None
    slice: str | None = None


class Wanted(NamedTuple):
    """What a person says of the roles; None where that is left to the draft."""

    client: str | None = None
    node: str | None = None
    time: str | None = None


def find_roles(sample: pl.DataFrame, facts: Mapping[str, RawFacts], wanted: Wanted) -> Roles:
    """Return the columns of the roles.

    Raises
    ------
    InputError
        If a column that was named does not exist.
    DataError
        If no column can be the node, or there is neither a time nor a number of rounds.
    """
    for option, name in wanted._asdict().items():
        if name not in (None, "", *facts):
            raise InputError(f"--{option}: expected one of the columns {', '.join(facts)}, found {name!r}")
    time = wanted.time or _time(facts)
    slices = None if time is not None else _slices(facts)
    if time is None and slices is None:
        found = ", ".join(f"{one.name} ({one.kind})" for one in facts.values())
        raise DataError(
            f"telemetry: expected a column of times, or of numbers of rounds (--time COLUMN), found {found}"
        )
    if time is not None:
        slices = _slices_of_times(sample, facts, time)
    taken = {name for name in (time, slices) if name is not None}
    client, node = _pair(sample, facts, taken, wanted)
    return Roles(client, node, time, slices)


def _time(facts: Mapping[str, RawFacts]) -> str | None:
    """Return the column of times: dates before others, the start of a request before its end."""
    times = [one for one in facts.values() if one.kind == "time"]
    late = {"end", "ended", "finish", "finished", "received", "updated", "stop"}
    best = sorted(times, key=lambda one: (not one.dated, one.nulls > 0.5, bool(late & {*words(one.name)})))  # noqa: PLR2004
    return best[0].name if best else None


def _slices_of_times(sample: pl.DataFrame, facts: Mapping[str, RawFacts], time: str) -> str | None:
    """Return a column called slice whose numbers follow the times, if there is one."""
    when = seconds_of(sample[time], facts[time].unit, facts[time].format)
    for one in facts.values():
        named = one.kind == "integer" and "slice" in words(one.name) and (one.low or 0) >= 0
        if named and own_slices(sample[one.name], when) is not None:
            return one.name
    return None


def _slices(facts: Mapping[str, RawFacts]) -> str | None:
    named = [one for one in facts.values() if one.kind == "integer" and says(one.name, SLICE) and (one.low or 0) >= 0]
    return named[0].name if named else None


def _is_measure(one: RawFacts) -> bool:
    """Tell whether a name says that a column was measured, not that it names something."""
    named = (place_in(one.name, known) is not None for known in (LATENCY, THROUGHPUT, OTHER_COST, SUCCESS))
    return any(named) and not says(one.name, frozenset({"id"}))


def eligible(sample: pl.DataFrame, facts: Mapping[str, RawFacts], taken: set[str]) -> list[str]:
    """Return the columns that may be ids: texts and whole numbers that come again, and are not measured."""
    found = []
    for one in facts.values():
        repeats = one.distinct < 0.5 * max(
            sample.height * (1 - one.nulls), 1
        )  # ids that never come again teach nothing
        if one.name not in taken and one.kind in ("category", "integer") and repeats and not _is_measure(one):
            found.append(one.name)
    return found


def _pair(
    sample: pl.DataFrame, facts: Mapping[str, RawFacts], taken: set[str], wanted: Wanted
) -> tuple[str | None, str]:
    names = eligible(sample, facts, taken)
    constant = [one.name for one in facts.values() if one.kind == "constant" and one.name not in taken]
    nodes = [wanted.node] if wanted.node else names
    clients: Sequence[str | None] = [wanted.client] if wanted.client else [None, *names]
    if wanted.client == "":
        clients = [None]
    if not wanted.client:
        clients = [*clients, *(name for name in constant if says(name, CLIENT))]
    if not nodes:
        found = ", ".join(f"{one.name} ({one.kind})" for one in facts.values())
        raise DataError(f"telemetry: expected a column of node ids (--node COLUMN), found {found}")
    meets = _Meetings(sample)
    scored = {
        (client, node): _score(facts, meets, client, node) for client, node in product(clients, nodes) if client != node
    }
    if not scored:
        raise DataError(
            f"telemetry: expected two columns of ids, of clients and of nodes, found {', '.join(nodes)} alone"
        )
    return max(scored, key=lambda pair: scored[pair])


def _score(facts: Mapping[str, RawFacts], meets: _Meetings, client: str | None, node: str) -> float:
    score = _name_score(facts[node], NODE, NODE_WEAK) - 0.5 * _name_score(facts[node], CLIENT, frozenset())
    score += 0.3 * _order(meets, node)
    if client is None:
        return score + ID
    score += _name_score(facts[client], CLIENT, CLIENT_WEAK) - 0.5 * _name_score(facts[client], NODE, frozenset())
    if facts[client].kind == "constant":
        return score
    score += 2.0 * (meets.overlap(client, node) > OVERLAP)
    # Each node asked by one client alone: the column tells of the node, not who asks.
    score += 1.0 if meets.crossing(client, node) else -3.0
    return (
        score
        + 0.2 * (facts[node].distinct > facts[client].distinct)
        + 0.1 * (_order(meets, client) < _order(meets, node))
    )


def _name_score(one: RawFacts, strong: frozenset[str], weak: frozenset[str]) -> float:
    score = STRONG if says(one.name, strong) else WEAK if says(one.name, weak) else 0.0
    score += ID if "id" in words(one.name) or one.name.lower().endswith("id") else 0.0
    return score - (1.0 if one.kind == "integer" and score == 0.0 else 0.0)


def _order(meets: _Meetings, name: str) -> float:
    """Return how far to the right a column stands, 0 to 1: people write who asks before who answers."""
    columns = meets.sample.columns
    return columns.index(name) / len(columns)


class _Meetings:
    """How the values of two columns meet, looked up once."""

    def __init__(self, sample: pl.DataFrame) -> None:
        self.sample = sample
        self._values: dict[str, set[object]] = {}
        self._crossing: dict[tuple[str, str], bool] = {}

    def overlap(self, one: str, other: str) -> float:
        """Return the share of common values, of the column that has fewer."""
        a, b = self._of(one), self._of(other)
        return len(a & b) / max(min(len(a), len(b)), 1)

    def _of(self, name: str) -> set[object]:
        if name not in self._values:
            self._values[name] = set(self.sample[name].drop_nulls().unique().to_list())
        return self._values[name]

    def crossing(self, client: str, node: str) -> bool:
        """Tell whether nodes are asked by several clients."""
        key = (client, node)
        if key not in self._crossing:
            pairs = self.sample.select(client, node).drop_nulls().unique()
            n = pairs[node].n_unique()
            self._crossing[key] = pairs.height > 1.2 * max(n, 1)  # a few that moved make no crossing
        return self._crossing[key]


def constant_per(sample: pl.DataFrame, key: str | None, names: Sequence[str]) -> set[str]:
    """Return the columns that have one value for each value of a key, except for one key in fifty."""
    if key is None or not names:
        return set()
    seen = sample.group_by(key).agg(pl.col(name).drop_nulls().n_unique() for name in names)
    return {name for name in names if float((seen[name] > 1).mean()) <= 0.02}  # type: ignore[arg-type]  # noqa: PLR2004


__all__ = ["Roles", "Wanted", "constant_per", "eligible", "find_roles"]
