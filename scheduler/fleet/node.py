"""What is known of one node, for people to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from scheduler.columns.ids import Id
from scheduler.columns.schema import Schema
from scheduler.fleet.arrays import FleetArrays
from scheduler.fleet.category_names import CategoryNames

Value: TypeAlias = "Id | float | tuple[float | None, ...] | None"
"""A category, a number, a vector, or None for a missing one."""


class Node(NamedTuple):
    """What is known of a node.

    Attributes
    ----------
    id
        Its id.
    columns
        Its columns by name, without sets of categories, of which `Fleet.holds` tells. A category of which no more than
        the key was kept comes as ``key:`` and 16 hexadecimal digits.
    alive_until, quarantined_until
        Until when it lives, and until when it is set aside, in seconds; infinite for a node that never falls silent,
        minus infinity for one that never was set aside.
    capacity, reserved
        Its uplink in kbit/s, infinite without a ledger, and how much of it is promised.
    """

    id: Id
    columns: Mapping[str, Value]
    alive_until: float
    quarantined_until: float
    capacity: float
    reserved: float


def read_node(id_: Id, slot: int, schema: Schema, arrays: FleetArrays, names: CategoryNames) -> Node:
    """Return what is known of the node in a slot; the caller holds the lock."""
    values, keys = arrays.columns.values[slot].tolist(), arrays.columns.keys[slot].tolist()
    columns: dict[str, Value] = {}
    for name, column in schema.columns.items():
        if column.type == "category":
            columns[name] = names.name_of(keys[schema.key_columns[name]], (keys[0], id_))
            continue
        at = schema.offsets[name]
        vector = tuple(map(_number, values[at : at + column.size]))
        columns[name] = vector if column.type == "vector" else vector[0]
    return Node(
        id_,
        columns,
        alive_until=arrays.alive_until[slot].item(),
        quarantined_until=arrays.quarantined_until[slot].item(),
        capacity=arrays.capacity[slot].item(),
        reserved=arrays.reserved[slot].item(),
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
