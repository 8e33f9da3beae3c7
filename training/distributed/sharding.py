"""Assign history keys to workers: by the client, the node or another part of a key, whose hash numbers the shard."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.spec import (
    CLIENT,
    NODE,
    Capacity,
    ChangePoint,
    Clock,
    Difference,
    Distance,
    Dot,
    Equal,
    Feature,
    NodeColumn,
    RequestColumn,
    ShrunkMean,
    Spec,
    Statistic,
    TrainedMean,
    Value,
)
from training.telemetry import Telemetry
from training.telemetry.history_keys import part_keys

WHOLE = "whole"
"""The sharding of what depends on all outcomes at once: one worker replays it, from the first row to the last."""

SLACK = 1.5
"""Extra capacity of a shard's table over its even share, because hashes split clients and nodes unevenly."""

_PLAIN = (RequestColumn, NodeColumn, Clock, Equal, Difference, Distance, Dot)


class Sharding(NamedTuple):
    """Features whose history is sharded alike, and which are replayed together.

    Attributes
    ----------
    by
        What rows are sharded by: ``client``, ``node``, a category such as ``request.isp``, or `WHOLE`.
    features
        Their names.
    n_shards
        Number of shards.
    """

    by: str
    features: tuple[str, ...]
    n_shards: int

    def shards(self) -> list[Shard]:
        """Return its shards, of which each row belongs to one."""
        return [Shard(self, number) for number in range(self.n_shards)]


class Shard(NamedTuple):
    """One of the shards of a sharding."""

    sharding: Sharding
    number: int


def plan_shardings(spec: Spec, n_shards: int) -> tuple[Sharding, ...]:
    """Return the shardings of a spec's features, that by the client first; it has features without history too."""
    keys: dict[str, list[str]] = {CLIENT: []}
    for name, feature in spec.features.items():
        by = _sharding_of(feature, spec, keys)
        keys.setdefault(by, []).append(name)
    return tuple(Sharding(by, tuple(names), 1 if by == WHOLE else n_shards) for by, names in keys.items())


def _sharding_of(feature: Feature, spec: Spec, shardings: dict[str, list[str]]) -> str:
    if isinstance(feature, _PLAIN):
        return CLIENT
    parts: tuple[str, ...] = ()
    if isinstance(feature, ChangePoint):  # the shard of a group has all outcomes of its members too
        kind = spec.change_points[feature.of]
        parts = tuple(p for p in spec.history.keys[kind.group] if p in spec.history.keys[kind.member])
    elif isinstance(feature, Statistic) and not _is_residual(feature.value):
        parts = spec.history.keys[feature.key]
    if not parts:
        return WHOLE
    for part in (CLIENT, NODE, *shardings):
        if part in parts:
            return part
    return parts[0]


def _is_residual(value: str | None) -> bool:
    """Return whether a value is a residual, which depends on the outcomes of all clients and nodes."""
    return value is not None and Value.parse(value).residual


def sharding_spec(spec: Spec, sharding: Sharding) -> Spec:
    """Return the spec that each shard of a sharding replays: its features, and the history that they read.

    Latent factors, shrunk means and means of training stay in that by `WHOLE` alone, with all values and with the keys
    down to theirs.
    """
    features = {name: spec.features[name] for name in sharding.features}
    read = [feature for feature in features.values() if isinstance(feature, Statistic)]
    keys, values = {feature.key for feature in read}, {feature.value for feature in read}
    change_points = {f.of: spec.change_points[f.of] for f in features.values() if isinstance(f, ChangePoint)}
    keys |= {key for kind in change_points.values() for key in (kind.group, kind.member)}
    values |= {kind.value for kind in change_points.values()}
    if sharding.by == WHOLE:
        keys |= {key for model in spec.latent_factors.values() for key in (model.client, model.node)}
        chained = [feature for feature in features.values() if isinstance(feature, ShrunkMean | TrainedMean)]
        keys |= {key for feature in chained for key in feature.keys}
        values = set(spec.history.values)
        names = list(spec.history.keys)
        # Vectors begin with draws that depend on a key's place among the keys, so none before the last may go.
        keys = set(names[: max(map(names.index, keys)) + 1])
    keys = keys or {next(iter(spec.history.keys))}  # tables cannot do without a key and a value
    plain = [value for value in spec.history.values if not _is_residual(value)]
    history = msgspec.structs.replace(
        spec.history,
        values=tuple(value for value in spec.history.values if value in values) or tuple(plain[:1]),
        keys={name: parts for name, parts in spec.history.keys.items() if name in keys},
        capacity=_capacity(spec.history.capacity, sharding.n_shards),
    )
    factors = spec.latent_factors if sharding.by == WHOLE else {}
    return msgspec.structs.replace(
        spec, features=features, history=history, latent_factors=factors, change_points=change_points
    )


def _capacity(entries: Capacity, n_shards: int) -> Capacity:
    return entries if n_shards == 1 or entries == "auto" else max(1, round(SLACK * entries / n_shards))


def shard_numbers(telemetry: Telemetry, sharding: Sharding) -> NDArray[np.int64]:
    """Return the (n,) number of the shard that each row belongs to."""
    if sharding.by == WHOLE:
        return np.zeros(len(telemetry), np.int64)
    keys = part_keys(telemetry, sharding.by)
    return ((keys >> np.uint64(32)) % np.uint64(sharding.n_shards)).astype(np.int64)
