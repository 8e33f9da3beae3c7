"""How much room running statistics need: capacities sized by the keys of the data, and how full tables became."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.history.store import CHANGE_POINTS, HISTORY, LATENT_FACTORS, capacities
from scheduler.model.manifest import TableUse
from scheduler.spec import MOST_CAPACITY, Capacity, ChangePoints, History, LatentFactors, Spec

HEADROOM = 1.5
"""Times the keys of the data that ``auto`` makes room for at least. A table has twice as many places, in buckets of 16.
With a third of them taken no bucket overflows; with a half, one key in 1,000 finds no place; with two thirds, one in
100. So keys may become twice as many before it matters."""

LEAST = 1_024
"""What ``auto`` makes room for at least, in some 100 kB: a fleet that has just begun will grow."""

TOO_MANY = 0.01
"""Share of keys without an entry in a full table above which training and evaluation warn."""


def needed(spec: Spec, keys: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return for each table that a spec uses how many entries it would hold if there were room for all.

    By history key, latent factors and change points; see `training.telemetry.count_keys`.
    """
    found = {
        HISTORY: {name: keys[name] for name in spec.history.keys},
        LATENT_FACTORS: {name: keys[model.client] + keys[model.node] for name, model in spec.latent_factors.items()},
        CHANGE_POINTS: {name: keys[kind.group] for name, kind in spec.change_points.items()},
    }
    return {name: parts for name, parts in found.items() if parts}


def automatic(spec: Spec) -> dict[str, bool]:
    """Return for each table whether training chooses any of its capacities."""
    return {
        HISTORY: spec.history.capacity == "auto",
        LATENT_FACTORS: any(model.capacity == "auto" for model in spec.latent_factors.values()),
        CHANGE_POINTS: any(kind.capacity == "auto" for kind in spec.change_points.values()),
    }


def auto_capacity(n_keys: int) -> int:
    """Return the capacity that ``auto`` stands for: the power of two that has room for `HEADROOM` times the keys."""
    wanted = max(LEAST, int(np.ceil(HEADROOM * n_keys)))
    return min(1 << (wanted - 1).bit_length(), MOST_CAPACITY)


def sized(spec: Spec, keys: Mapping[str, int]) -> Spec:
    """Return a spec with numbers in place of ``auto``; see `training.telemetry.count_keys`."""
    parts, change = needed(spec, keys), msgspec.structs.replace

    def number(capacity: Capacity, n_keys: int) -> int:
        return auto_capacity(n_keys) if capacity == "auto" else capacity

    return change(
        spec,
        history=change(spec.history, capacity=number(spec.history.capacity, sum(parts[HISTORY].values()))),
        latent_factors={
            name: change(model, capacity=number(model.capacity, parts[LATENT_FACTORS][name]))
            for name, model in spec.latent_factors.items()
        },
        change_points={
            name: change(kind, capacity=number(kind.capacity, parts[CHANGE_POINTS][name]))
            for name, kind in spec.change_points.items()
        },
    )


class Memory(NamedTuple):
    """The running statistics that telemetry was replayed through.

    Attributes
    ----------
    history, latent_factors, change_points
        Sections of the spec, their capacities in numbers.
    tables
        How full each table became.
    """

    history: History
    latent_factors: dict[str, LatentFactors]
    change_points: dict[str, ChangePoints]
    tables: dict[str, TableUse]

    @classmethod
    def of(cls, spec: Spec, keys: Mapping[str, int], counters: Mapping[str, NDArray[np.int64]]) -> Memory:
        """Return the memory of a `sized` spec, the keys of the data, and each table's counters."""
        return cls(spec.history, spec.latent_factors, spec.change_points, table_uses(spec, keys, counters))

    def into(self, spec: Spec) -> Spec:
        """Return a spec with these sections."""
        return msgspec.structs.replace(
            spec, history=self.history, latent_factors=self.latent_factors, change_points=self.change_points
        )


def table_uses(spec: Spec, keys: Mapping[str, int], counters: Mapping[str, NDArray[np.int64]]) -> dict[str, TableUse]:
    """Return how full each table of a spec is by its counters, see `scheduler.history.store.table_counters`."""
    wanted = needed(spec, keys)
    return {name: TableUse.of(n, sum(wanted[name].values()), counters[name]) for name, n in capacities(spec).items()}


def shortages(tables: Mapping[str, TableUse]) -> list[str]:
    """Return a line for each table without room for more than `TOO_MANY` of the keys: how many, and what would do."""
    return [_shortage(name, use) for name, use in tables.items() if use.share > TOO_MANY]


def _shortage(name: str, use: TableUse) -> str:
    enough = auto_capacity(use.keys)
    while enough <= use.capacity:
        enough *= 2
    lost = round(use.share * use.keys)
    section = name if name == HISTORY else f"{name}.NAME"
    return (
        f"{name}: {lost:,} of {use.keys:,} keys ({use.share:.0%}) have lost their entry, because there is room for "
        f"about {use.capacity:,}: entries were evicted {use.evicted:,} times. Room for {enough:,} would do: "
        f'capacity = {enough} under [{section}], or "auto", by which training chooses'
    )
