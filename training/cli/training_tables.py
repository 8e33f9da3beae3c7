"""The figures of a training and of a search as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from training.cli.table import Cell, Column, FigureTable, Row, number

if TYPE_CHECKING:
    from training.tuning.tune import TrialResult, TuningResult

KINDS = {"log_loss": "probabilities", "pinball": "quantiles", "mae": "expected values", "": "other values"}
"""What a head predicts, by the figure that tells it and judges it first; any other head goes by the last."""

BEFORE = ("auc", "brier", "rmse", "bias", "coverage", "covered_68", "covered_95", "calibration_error", "n", "mean")
"""Figures in the order of their importance, after the one that tells the kind; further ones come last."""


def head_tables(title: str, heads: Mapping[str, Mapping[str, float]]) -> Iterator[FigureTable]:
    """Yield a table for each kind of head, with a row a head and its figures from the most important on."""
    for kind, what in KINDS.items():
        of_kind = {name: metrics for name, metrics in heads.items() if _kind(metrics) == kind}
        if not of_kind:
            continue
        known = dict.fromkeys(figure for metrics in of_kind.values() for figure in metrics)
        figures = dict.fromkeys([*(figure for figure in (kind, *BEFORE) if figure in known), *known])
        columns = tuple(Column(name.replace("_", " "), rank) for rank, name in enumerate(figures))
        rows = tuple(
            Row(name, tuple(Cell(number(metrics.get(f))) for f in figures)) for name, metrics in of_kind.items()
        )
        yield FigureTable(f"{title}: heads that predict {what}", "head", columns, rows)


def _kind(metrics: Mapping[str, float]) -> str:
    return next((figure for figure in KINDS if figure in metrics), "")


def tuning_table(result: TuningResult, best: TrialResult) -> FigureTable:
    """Return the settings before and after a search, and below them the objective, in the mean and fold by fold."""
    first = result.first
    settings = [_row(name, first.params[name], value) for name, value in best.params.items()]
    mean = Row(f"{result.objective}, mean of the folds", (Cell(f"{first.value:.4f}"), Cell(f"{best.value:.4f}")))
    folds = [
        Row(f"{result.objective}, fold {fold}", (Cell(f"{before:.4f}"), Cell(f"{after:.4f}")))
        for fold, (before, after) in enumerate(zip(first.folds, best.folds, strict=True))
    ]
    gain = result.gain
    error = "" if math.isnan(gain.error) else f"±{gain.error:.1g}"
    folds.append(Row("best less before, mean of the folds", (Cell(""), Cell(f"{gain.mean:+.4f}", error))))
    title = f"{result.n_trials} trials, {result.n_pruned} pruned"
    return FigureTable(title, "setting", (Column("before"), Column("best")), (*settings, mean, *folds))


def _row(name: str, before: float, best: float) -> Row:
    return Row(name, (Cell(number(before)), Cell(number(best))))
