"""Which categories clients or requests share with nodes: the same country, the same network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from training.draft.attributes import Attribute
from training.draft.roles import OVERLAP
from training.draft.words import CLIENT, NODE, attribute, words
from training.telemetry.files.kinds import is_text

SEVERAL = 3
"""Common values from which on columns without a common word mean the same: yes and no are in many."""


class Shared(NamedTuple):
    """A category of the request and one of the node that can be compared, and what both are about."""

    about: str
    request: Attribute
    node: Attribute


def find_shared(attributes: list[Attribute], frames: Mapping[str, pl.DataFrame]) -> list[Shared]:
    """Return what can be compared: what is called alike but for the side, then what has most values in common.

    Parameters
    ----------
    attributes
        Of requests and nodes.
    frames
        The sample and the tables, by source.
    """
    categories = [one for one in attributes if one.type == "category"]
    request = [one for one in categories if one.side == "request"]
    node = [one for one in categories if one.side == "node"]
    found = [
        Shared(attribute(one.column), one, other)
        for one in request
        if one.of == "client" and attribute(one.column)
        for other in node
        if attribute(one.column) == attribute(other.column)
    ]
    for one in request:
        rest = [other for other in node if not any(one is pair.request or other is pair.node for pair in found)]
        alike = [(likeness, other) for other in rest if (likeness := _likeness(one, other, frames)) is not None]
        if alike:
            other = max(alike, key=lambda pair: pair[0])[1]
            found.append(Shared(_about(one, other, {pair.about for pair in found}), one, other))
    return found


def _likeness(one: Attribute, other: Attribute, frames: Mapping[str, pl.DataFrame]) -> tuple[int, float] | None:
    """Return how alike two columns are: common words of their names, common values; None if they do not compare."""
    a, b = (frames[side.source][side.column].drop_nulls().unique() for side in (one, other))
    if a.dtype != b.dtype and not (is_text(a.dtype) and is_text(b.dtype)):
        return None
    few, many = sorted(({*a.to_list()}, {*b.to_list()}), key=len)
    common, said = len(few & many), len(_common_words(one, other))
    if common <= OVERLAP * len(few) or (not said and (common < SEVERAL or not is_text(a.dtype))):
        return None
    return said, common / len(few | many)


def _common_words(one: Attribute, other: Attribute) -> list[str]:
    return [word for word in words(one.column) if word in words(other.column) and word not in CLIENT | NODE | {"id"}]


def _about(one: Attribute, other: Attribute, taken: set[str]) -> str:
    about = "_".join(_common_words(one, other))
    return about if about and about not in taken else f"{one.column}_{other.column}"
