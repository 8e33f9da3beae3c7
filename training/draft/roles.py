"""Which raw columns are the client, the node and the time: by their names, and by how their values meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import polars as pl

from scheduler.errors import DataError, InputError
from training.draft.column_pairs import ColumnPairs
from training.draft.columns import RawFacts, seconds_of
from training.draft.times import own_slices
from training.draft.words import (
    CATEGORY,
    CLIENT,
    CLIENT_WEAK,
    GROUP,
    LATENCY,
    NODE,
    NODE_WEAK,
    OTHER_COST,
    SLICE,
    SUCCESS,
    THROUGHPUT,
    passes,
    place_in,
    says,
    words,
)

STRONG, WEAK, ID = 3.0, 1.5, 0.5
"""What a name adds to a role: a word that means it, one that may, and the word ``id``."""

ATTRIBUTE = 5.0
"""What a pair loses by a column that is an attribute of a finer one: more than its name and common values add."""

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


class Side(NamedTuple):
    """Words of a role: those that mean it, and those that may."""

    strong: frozenset[str]
    weak: frozenset[str]

    def level(self, name: str) -> float:
        """Return how surely a name says the role: `STRONG`, `WEAK` or 0."""
        return STRONG if says(name, self.strong) else WEAK if says(name, self.weak) else 0.0


ASKS, SERVES = Side(CLIENT, CLIENT_WEAK), Side(NODE, NODE_WEAK)


def find_roles(pairs: ColumnPairs, facts: Mapping[str, RawFacts], wanted: Wanted) -> Roles:
    """Return the columns of the roles.

    Raises
    ------
    InputError
        If a column that was named does not exist, or one that is to say when holds no times.
    DataError
        If no column can be the node, or there is neither a time nor a number of rounds.
    """
    for option, name in wanted._asdict().items():
        if name not in (None, "", *facts):
            raise InputError(f"--{option}: expected one of the columns {', '.join(facts)}, found {name!r}")
    if wanted.time and not (facts[wanted.time].kind == "time" or facts[wanted.time].dtype.is_numeric()):
        expected = "expected dates, numbers of seconds, or texts such as 2026-05-01T12:00:00Z"
        raise InputError(f"--time: {expected}, found {wanted.time!r} ({facts[wanted.time].kind})")
    time = wanted.time or _time(facts)
    slices = None if time is not None else _slices(facts)
    if time is None and slices is None:
        found = ", ".join(f"{one.name} ({one.kind})" for one in facts.values())
        raise DataError(
            f"telemetry: expected a column of times, or of numbers of rounds (--time COLUMN), found {found}"
        )
    if time is not None:
        slices = _slices_of_times(pairs.sample, facts, time)
    taken = {name for name in (time, slices) if name is not None}
    client, node = _pair(pairs, facts, taken, wanted)
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


def _pair(pairs: ColumnPairs, facts: Mapping[str, RawFacts], taken: set[str], wanted: Wanted) -> tuple[str | None, str]:
    names = eligible(pairs.sample, facts, taken)
    constant = [one.name for one in facts.values() if one.kind == "constant" and one.name not in taken]
    nodes = [wanted.node] if wanted.node else names
    clients: Sequence[str | None] = [wanted.client] if wanted.client else [None, *names]
    if wanted.client == "":
        clients = [None]
    if not wanted.client:
        clients = [*clients, *(name for name in constant if says(name, CLIENT))]
    if not nodes:
        found = ", ".join(f"{one.name} ({one.kind})" for one in facts.values())
        raise DataError(f"telemetry: expected a column of node ids that come again (--node COLUMN), found {found}")
    scored = {
        (client, node): _score(facts, pairs, client, node)
        - ATTRIBUTE * _n_attributes(facts, pairs, (clients, nodes), (client, node))
        for client, node in product(clients, nodes)
        if client != node
    }
    if not scored:
        raise DataError(
            f"telemetry: expected two columns of ids, of clients and of nodes, found {', '.join(nodes)} alone"
        )
    return max(scored, key=lambda pair: scored[pair])


def _score(facts: Mapping[str, RawFacts], pairs: ColumnPairs, client: str | None, node: str) -> float:
    score = _name_score(facts[node], NODE, NODE_WEAK) - 0.5 * _name_score(facts[node], CLIENT, frozenset())
    score += 0.3 * _order(pairs, node)
    if client is None:
        return score + ID
    score += _name_score(facts[client], CLIENT, CLIENT_WEAK) - 0.5 * _name_score(facts[client], NODE, frozenset())
    if facts[client].kind == "constant":
        return score
    score += 2.0 * (pairs.overlap(client, node) > OVERLAP)
    # Each node asked by one client alone: the column tells of the node, not who asks.
    score += 1.0 if pairs.crossing(client, node) else -3.0
    return (
        score
        + 0.2 * (facts[node].distinct > facts[client].distinct)
        + 0.1 * (_order(pairs, client) < _order(pairs, node))
    )


def _n_attributes(
    facts: Mapping[str, RawFacts],
    pairs: ColumnPairs,
    chosen_from: tuple[Sequence[str | None], Sequence[str]],
    pair: tuple[str | None, str],
) -> int:
    """Return how many of the two only say what a finer column is like that could be chosen in their place."""
    client, node = pair
    hosts = [name for name in chosen_from[1] if is_finer(facts, pairs, name, node, SERVES)]
    if client is None or facts[client].kind == "constant":
        return int(bool(hosts))
    users = [name for name in chosen_from[0] if name is not None and is_finer(facts, pairs, name, client, ASKS)]
    coarse_node = any(name == client or pairs.crossing(client, name) for name in hosts)
    coarse_client = any(name == node or pairs.crossing(name, node) for name in users)
    return coarse_node + coarse_client


def is_finer(facts: Mapping[str, RawFacts], pairs: ColumnPairs, fine: str, coarse: str, side: Side) -> bool:
    """Tell whether a column names the single things of which another one says what they are like.

    Each of its values has one of the other's, as each server has one region; and its name says the role as surely, or
    that of the other says that it is a group or a property.
    """
    level, other = side.level(fine), SERVES if side is ASKS else ASKS
    if facts[fine].distinct <= facts[coarse].distinct or passes(fine) or level < max(other.level(fine), WEAK):
        return False
    return (level >= side.level(coarse) or says(coarse, CATEGORY | GROUP)) and pairs.decides(fine, coarse)


def _name_score(one: RawFacts, strong: frozenset[str], weak: frozenset[str]) -> float:
    if passes(one.name):
        return -ID
    score = STRONG if says(one.name, strong) else WEAK if says(one.name, weak) else 0.0
    score += ID if "id" in words(one.name) or one.name.lower().endswith("id") else 0.0
    return score - (1.0 if one.kind == "integer" and score == 0.0 else 0.0)


def _order(pairs: ColumnPairs, name: str) -> float:
    """Return how far to the right a column stands, 0 to 1: people write who asks before who answers."""
    columns = pairs.sample.columns
    return columns.index(name) / len(columns)
