"""The figures of lifetimes as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from training.cli.table import Cell, Column, FigureTable, Row, decimals, fixed

if TYPE_CHECKING:
    from training.availability import LifetimeResult
    from training.availability.evaluate import Lifetime
    from training.availability.metrics import Scores

MODEL = "model"
"""The model among the predictors; `training.availability.metrics`, which has it too, is slow to load."""

SLICES = ("all", "new")

PRESENCE = {"log_loss": "log loss", "auc": "AUC", "brier": "Brier", "calibration_error": "calibration error"}
SPEED = {
    "mae_log": "MAE log",
    "rmse_log": "RMSE log",
    "bias_log": "bias log",
    "rmse": "RMSE kbit/s",
    "bias": "bias ratio",
}
"""Figures from the most important on; the first one ranks the predictors."""


def lifetime_tables(result: LifetimeResult) -> Iterator[FigureTable]:
    """Yield two tables a horizon, best predictor first: whether nodes are seen again, and their speed then."""
    for one in result.horizons:
        yield _table(one, f"Seen again within {one.horizon} snapshots ({one.hours:.0f} h)", one.presence, PRESENCE)
        if one.speed:
            yield _table(one, "Speed at the next sighting", one.speed, SPEED)


def _table(one: Lifetime, title: str, scores: Scores, figures: Mapping[str, str]) -> FigureTable:
    """Return a table with the figures over all sightings before those over new nodes."""
    counts = ", ".join(f"{which} {scores[MODEL][which]['n']:,.0f}" for which in SLICES if which in scores[MODEL])
    names = sorted(scores, key=lambda name: _loss(scores[name], next(iter(figures))))
    shown = [(which, figure) for which in SLICES for figure in figures]
    ranks = {figure: rank for rank, figure in enumerate(figures)}
    columns = tuple(Column(f"{which} {figures[figure]}", ranks[figure]) for which, figure in shown)
    cells = [_cells([scores[name].get(which, {}).get(figure) for name in names]) for which, figure in shown]
    rows = tuple(Row(name, tuple(column[at] for column in cells), name == MODEL) for at, name in enumerate(names))
    full = f"{title}; fitted on {one.n_fitted:,} sightings, judged on: {counts}"
    return FigureTable(full, "predictor", columns, rows)


def _loss(slices: Mapping[str, Mapping[str, float]], figure: str) -> float:
    """Return the figure that ranks a predictor, infinite where there is none."""
    value = slices.get("all", {}).get(figure, math.nan)
    return math.inf if math.isnan(value) else value


def _cells(values: list[float | None]) -> list[Cell]:
    places = decimals([value for value in values if value is not None])
    return [Cell(fixed(value, places)) for value in values]
