"""The figures of an evaluation as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from training.cli.table import Cell, Column, FigureTable, Row, decimals, fixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.evaluation.results import Comparison
    from training.pipeline.retrain import Age

MODEL, ORACLE = "learned", "oracle"
"""Names of policies; `training.evaluation.metrics`, which has them too, is slow to load."""


class _Figure(NamedTuple):
    """A figure of a score: its field, its column, and how it is written, by default as a cost."""

    field: str
    column: Column
    decimals: int | None = None
    percent: bool = False


_FIGURES = (
    _Figure("mean", Column("mean", 0)),
    _Figure("gap_closed", Column("gap closed", 1), 3),
    _Figure("gap_closed_log", Column("gap closed log", 5), 3),
    _Figure("regret", Column("regret", 3), 3),
    _Figure("regret_log", Column("regret log", 6), 3),
    _Figure("fail", Column("failed", 2), 2, percent=True),
    _Figure("median", Column("median", 4)),
    _Figure("p95", Column("p95", 4)),
    _Figure("mean_log", Column("mean log", 7), 3),
)


def comparison_table(comparison: Comparison) -> FigureTable:
    """Return the figures of each policy, the least mean cost first."""
    scores = comparison.policies
    best_first = sorted(scores, key=lambda name: (_nan_last(scores[name].mean), name != ORACLE))
    columns = [_column(comparison, best_first, figure) for figure in _FIGURES]
    rows = tuple(
        Row(name, tuple(column[place] for column in columns), name == MODEL) for place, name in enumerate(best_first)
    )
    return FigureTable(_title(comparison), "policy", tuple(figure.column for figure in _FIGURES), rows)


def ageing_table(ages: Sequence[Age]) -> FigureTable:
    """Return the regret of the model and of the one that is trained anew, by the slices since the first training."""
    columns = tuple(map(Column, ("requests", "learned", "retrained", "learned log", "retrained log")))
    rows = tuple(
        Row(
            str(age.first_slice),
            (Cell(f"{age.n:,}"), *(Cell(f"{regret:.3f}") for regret in age[2:])),
        )
        for age in ages
    )
    return FigureTable("Regret by slices since training", "slices from", columns, rows)


def _title(comparison: Comparison) -> str:
    seeds = f" of {comparison.seeds} seeds (mean, ± standard deviation)" if comparison.standard_deviation else ""
    cold = {"": "", "both": " of cold clients among cold nodes"}.get(comparison.cold, f" with cold {comparison.cold}")
    unit = f"; cost in {comparison.unit}" if comparison.unit else ""
    return f"{comparison.n:,} decisions{cold}{seeds} on {comparison.data}, model {comparison.model}{unit}"


def _column(comparison: Comparison, names: list[str], figure: _Figure) -> list[Cell]:
    scale, unit = (100.0, " %") if figure.percent else (1.0, "")
    values = [scale * getattr(comparison.policies[name], figure.field) for name in names]
    places = decimals(values) if figure.decimals is None else figure.decimals
    deviations = [scale * getattr(comparison.standard_deviation.get(name), figure.field, math.nan) for name in names]
    return [
        Cell(f"{fixed(value, places)}{unit}" if math.isfinite(value) else "", _deviation(deviation))
        for value, deviation in zip(values, deviations, strict=True)
    ]


def _deviation(value: float) -> str:
    """Return a standard deviation with one significant digit, which is as well as a few seeds know it."""
    if not math.isfinite(value):
        return ""
    text = f"{value:.1g}"
    return f"±{value:,.0f}" if "e+" in text else f"±{text}"


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else value
