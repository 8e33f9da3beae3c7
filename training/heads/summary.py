"""What a training found, head by head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from scheduler.model.manifest import Calibration, TableUse
from scheduler.model.model import Model
from scheduler.spec import NO_OFFSET
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
    losses
        By what was tried to start from, a feature or ``none``, the losses on the rows that stop training and on those
        that calibrate; a feature was kept if it was better on both. Empty where one way alone was tried.
    """

    calibration: Calibration
    metrics: dict[str, float]
    reliability: Reliability
    importance: dict[str, float]
    n_rows: int
    n_trees: int
    losses: Mapping[str, tuple[float, float]] = MappingProxyType({})

    @property
    def start(self) -> str:
        """Return the name of the feature that raw scores start from, or ``none``."""
        offset = self.calibration.offset
        return NO_OFFSET if offset is None else offset.feature

    def choice(self) -> str:
        """Return in words how it was chosen what raw scores start from; empty where nothing was to choose."""
        if not self.losses:
            return ""
        tried = ", ".join(f"{stop:.5g} and {later:.5g} from {start}" for start, (stop, later) in self.losses.items())
        return f"starts from {self.start} (losses on the rows that stop training and that calibrate: {tried})"


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
