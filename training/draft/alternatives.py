"""Which other columns may be the client or the node, so that a person can be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from training.draft.column_pairs import ColumnPairs
from training.draft.columns import RawFacts
from training.draft.roles import ASKS, SERVES, Roles, Side, eligible
from training.draft.words import CATEGORY, passes, says

SHOWN = 3
"""Columns that are named; of more, none is likely."""


class Alternatives(NamedTuple):
    """Other columns that may be the client or the node, those of most values first."""

    client: tuple[str, ...] = ()
    node: tuple[str, ...] = ()


def find_alternatives(pairs: ColumnPairs, facts: Mapping[str, RawFacts], roles: Roles) -> Alternatives:
    """Return the columns that are about as likely as those that were chosen."""
    names = eligible(pairs.sample, facts, {name for name in roles if name is not None})
    clients = [
        name
        for name in names
        if _is_likely(facts, pairs, name, roles.client, ASKS) and pairs.crossing(name, roles.node)
    ]
    alone = roles.client is None or facts[roles.client].kind == "constant"
    nodes = [
        name
        for name in names
        if _is_likely(facts, pairs, name, roles.node, SERVES) and (alone or pairs.crossing(str(roles.client), name))
    ]
    return Alternatives(_most(facts, clients), _most(facts, nodes))


def _is_likely(facts: Mapping[str, RawFacts], pairs: ColumnPairs, name: str, chosen: str | None, side: Side) -> bool:
    """Tell whether a name says the role as surely as the chosen one, or its values are finer."""
    level, other = side.level(name), SERVES if side is ASKS else ASKS
    if passes(name) or level < other.level(name):
        return False
    if chosen is None:
        return level > 0.0 and not says(name, CATEGORY)
    if facts[name].distinct > facts[chosen].distinct and pairs.decides(name, chosen):
        return True
    named = level > 0.0 or facts[name].kind == "category"
    return named and level >= side.level(chosen) and not says(name, CATEGORY)


def _most(facts: Mapping[str, RawFacts], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: -facts[name].distinct)[:SHOWN])


def alternatives_text(facts: Mapping[str, RawFacts], names: Sequence[str]) -> str:
    """Return columns with their distinct values in words; nothing where there are none."""
    shown = ", ".join(f"{name} ({facts[name].distinct:,})" for name in names)
    return f"also likely: {shown}" if shown else ""
