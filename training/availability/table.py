"""The figures of lifetimes as tables for a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from training.availability.evaluate import Lifetime, LifetimeResult
from training.availability.metrics import MODEL, Scores

PRESENCE = {"log_loss": "log loss", "brier": "Brier", "auc": "AUC", "calibration_error": "calib."}
SPEED = {"mae_log": "MAE log", "rmse_log": "RMSE log", "bias_log": "bias log", "rmse": "RMSE kbit/s", "bias": "ratio"}
SLICES = ("all", "new")
LARGE = 1000.0
"""Figures from here on are in kbit/s and printed without decimals."""


def lifetime_tables(result: LifetimeResult) -> list[Table]:
    """Return two tables a horizon: whether nodes are seen again, and their speed then."""
    tables = []
    for one in result.horizons:
        title = f"Seen again within {one.horizon} snapshots ({one.hours:.0f} h)"
        tables.append(_table(one, title, one.presence, PRESENCE))
        if one.speed:
            tables.append(_table(one, "Speed at the next sighting", one.speed, SPEED))
    return tables


def _table(one: Lifetime, title: str, scores: Scores, columns: dict[str, str]) -> Table:
    counts = ", ".join(f"{which} {scores[MODEL][which]['n']:,.0f}" for which in SLICES if which in scores[MODEL])
    table = Table(title=f"{title}; fitted on {one.n_fitted:,} sightings, judged on: {counts}", box=SIMPLE_HEAD)
    table.add_column("predictor", no_wrap=True)
    for which in SLICES:
        for name in columns.values():
            table.add_column(f"{which}\n{name}", justify="right")
    for predictor, slices in scores.items():
        cells = [_cell(slices.get(which, {}).get(column)) for which in SLICES for column in columns]
        table.add_row(predictor, *cells, style="bold" if predictor == MODEL else "")
    return table


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= LARGE else f"{value:.4f}"
