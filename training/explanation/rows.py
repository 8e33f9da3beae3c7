"""Feature rows to explain a model on: an artifact's golden rows, or rows of telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scheduler.history.store import new_history
from scheduler.model.artifact import read_artifact
from scheduler.model.model import Model
from scheduler.policy.compile import with_policy
from scheduler.spec import Spec
from training.artifacts.locate import artifact_folder
from training.features.replay import replay
from training.progress import ProgressCallback, silent
from training.telemetry import count_keys, data_of, read_telemetry
from training.telemetry.history_size import sized

MOST_ROWS = 4_000
"""Rows of telemetry: means over so many are within 2 % of a standard deviation of those over all."""


def golden(source: str, registry: str | None) -> tuple[Model, NDArray[np.float32]]:
    """Return a model and its golden rows.

    Parameters
    ----------
    source, registry
        As for `scheduler.Model.load`.
    """
    folder = artifact_folder(source, registry)
    return Model.load(folder), read_artifact(folder).golden.rows


def of_telemetry(
    model: Model, data: Sequence[Path], spec: Spec | None = None, *, seed: int = 0, progress: ProgressCallback = silent
) -> NDArray[np.float32]:
    """Return feature rows of a random sample of telemetry after the spec's burn-in, replayed as in training.

    Parameters
    ----------
    spec
        How the telemetry is read; by default the model's own.

    Raises
    ------
    DataError
        If the telemetry is not what the spec says.
    InputError
        If the spec's features are not the model's.
    """
    spec = model.spec if spec is None else spec
    with_policy(model, spec)  # raises where the fingerprint differs
    telemetry = read_telemetry(data_of(list(data)), spec)
    spec = sized(spec, count_keys(telemetry, spec))
    first = np.quantile(telemetry.slice, spec.training.burn_in)
    rows = np.flatnonzero(telemetry.slice >= first)
    chosen = np.random.default_rng(seed).permutation(rows)[:MOST_ROWS]
    keep = np.zeros(len(telemetry), np.bool_)
    keep[chosen] = True
    return replay(telemetry, spec, model.features, new_history(spec), keep=keep, progress=progress)
