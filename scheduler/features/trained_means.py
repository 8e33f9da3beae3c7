"""Means over the telemetry of training, which a model takes along: their table, and the file that keeps it."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError
from scheduler.features.arrays import TrainedMeans
from scheduler.features.kernels.trained_means import place_keys
from scheduler.spec import Spec, TrainedMean

SLOTS_PER_KEY = 2
"""At least: with half of the slots taken a key is found after 1.5 looks on average, and one that is not there is missed
after 2.5 (Knuth, The Art of Computer Programming, volume 3, section 6.4)."""

MOST_STEPS = 1_000
"""From a key's first slot to its own. Among 10,000,000 hashes the longest way takes some 100; keys that were made to
crowd would have a scheduler search for ever."""


class MeansByKey(NamedTuple):
    """Means of training as an artifact keeps them.

    Attributes
    ----------
    keys
        (n,) uint64, sorted.
    rows
        (n, 2 * n_values) float32; see `TrainedMeans`.
    """

    keys: NDArray[np.uint64]
    rows: NDArray[np.float32]


def trained_keys(spec: Spec) -> list[str]:
    """Return the history keys that a spec has means of training by, in the order of the spec."""
    read = {key for feature in _features(spec) for key in feature.keys}
    return [key for key in spec.history.keys if key in read]


def trained_values(spec: Spec) -> list[str]:
    """Return the values that a spec has means of training of, in the order of the spec."""
    read = {feature.value for feature in _features(spec)}
    return [value for value in spec.history.values if value in read]


def _features(spec: Spec) -> list[TrainedMean]:
    return [feature for feature in spec.features.values() if isinstance(feature, TrainedMean)]


def new_trained_means(means: MeansByKey) -> TrainedMeans:
    """Return a table of means.

    Raises
    ------
    InputError
        If keys are no hashes: more than `MOST_STEPS` of them begin their search at neighbouring slots.
    """
    n_slots = 1
    while n_slots < SLOTS_PER_KEY * means.keys.size:
        n_slots *= 2
    table = TrainedMeans(np.zeros(n_slots, np.uint64), np.zeros((n_slots, means.rows.shape[1]), np.float32))
    if means.keys.size:  # most models have none, and need not wait for a kernel
        slots = np.empty(means.keys.size, np.int64)
        if not place_keys(table, means.keys, MOST_STEPS, slots):
            message = f"means of training: expected hashes as keys, found keys of which more than {MOST_STEPS:,} crowd"
            raise InputError(message)
        table.rows[slots] = means.rows
    return table


def means_by_key(table: TrainedMeans) -> MeansByKey:
    """Return the means of a table, keys without any outcome left out."""
    taken = np.flatnonzero(table.rows[:, ::2].any(axis=1))
    order = taken[np.argsort(table.keys[taken])]
    return MeansByKey(table.keys[order], table.rows[order])


def no_means(spec: Spec) -> MeansByKey:
    """Return means of no key, for a spec's values."""
    return MeansByKey(np.empty(0, np.uint64), np.empty((0, 2 * len(trained_values(spec))), np.float32))


def encode_means(means: MeansByKey) -> bytes:
    """Return the bytes of a file of means: an npz archive without pickle."""
    file = io.BytesIO()
    np.savez(file, **means._asdict())
    return file.getvalue()
