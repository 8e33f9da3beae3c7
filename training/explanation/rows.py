"""Feature rows to explain a model on: an artifact's golden rows, or rows of telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scheduler.history.store import new_history
from scheduler.model.artifact import read_artifact
from scheduler.model.model import Model
from scheduler.model.registry import load_folder
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
    folder = load_folder(source, registry, None, last_good=True) if source.startswith("models:") else Path(source)
    return Model.load(folder), read_artifact(folder).golden.rows


def of_telemetry(
    model: Model, data: Sequence[Path], *, seed: int = 0, progress: ProgressCallback = silent
) -> NDArray[np.float32]:
    """Return feature rows of a random sample of telemetry after the spec's burn-in, replayed as in training.

    Raises
    ------
    DataError
        If the telemetry is not what the model's spec says.
    """
    telemetry = read_telemetry(data_of(list(data)), model.spec)
    spec = sized(model.spec, count_keys(telemetry, model.spec))
    first = np.quantile(telemetry.slice, spec.training.burn_in)
    rows = np.flatnonzero(telemetry.slice >= first)
    chosen = np.random.default_rng(seed).permutation(rows)[:MOST_ROWS]
    keep = np.zeros(len(telemetry), np.bool_)
    keep[chosen] = True
    return replay(telemetry, spec, model.features, new_history(spec), keep=keep, progress=progress)
