"""What a training found, head by head."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeAlias

from scheduler.model.manifest import Calibration, TableUse
from scheduler.model.model import Model
from training.heads.metrics import Reliability

TrainingWindow: TypeAlias = dict[str, int | float | str]
"""What a model was trained on: rows, slices and their split."""


class HeadSummary(NamedTuple):
    """How one head came out.

    Attributes
    ----------
    calibration
        From raw score to value.
    metrics
        Figures on the judged rows; see `training.heads.calibration.head_metrics`.
    reliability
        Predicted against observed on the judged rows.
    importance
        Share of the total gain by feature.
    n_rows, n_trees
        Rows it was fitted on, and trees kept.
    """

    calibration: Calibration
    metrics: dict[str, float]
    reliability: Reliability
    importance: dict[str, float]
    n_rows: int
    n_trees: int


class TrainingSummary(NamedTuple):
    """What a training run made.

    Attributes
    ----------
    folder
        The artifact.
    model
        As loaded from it.
    heads
        By name.
    window
        Rows, slices and their split.
    """

    folder: Path
    model: Model
    heads: dict[str, HeadSummary]
    window: TrainingWindow

    def tables(self) -> dict[str, TableUse]:
        """Return how full history became, by table."""
        return self.model.manifest.tables

    def metrics(self) -> dict[str, float]:
        """Return all heads' figures under ``head.metric``."""
        return {f"{name}.{m}": v for name, head in self.heads.items() for m, v in head.metrics.items()}
