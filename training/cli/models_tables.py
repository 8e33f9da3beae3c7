"""Versions of registered models as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.cli.table import Cell, Column, FigureTable, Row, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.tracking.listing import VersionInfo

EVALUATION = "evaluation."
"""What metrics of an evaluation begin with; `training.evaluation.logged` writes them."""

COSTS = frozenset({"mean", "median", "p95", "mean_log", "fail", "regret", "regret_log"})
GAINS = frozenset({"gap_closed", "gap_closed_log"})
"""Figures of an evaluation of which less is better, and those of which more is."""

LOSSES = frozenset({"log_loss", "brier", "pinball", "mae", "rmse", "calibration_error"})
RANKINGS = frozenset({"auc"})
"""Figures of a head of which less is better, and those of which more is."""


def versions(found: Sequence[VersionInfo]) -> FigureTable:
    """Return a row for each version."""
    columns = (
        Column("aliases", 0),
        Column("slices", 3),
        Column("mean cost", 2),
        Column("gap closed", 1),
        Column("regret", 1),
        Column("promotion", 4),
        Column("registered", 5),
        Column("artifact", 6),
    )
    rows = tuple(
        Row(
            f"{one.name}/{one.version}",
            (
                Cell(", ".join(one.aliases)),
                Cell(_slices(one)),
                *(
                    Cell(number(one.metrics.get(f"{EVALUATION}{figure}")))
                    for figure in ("mean", "gap_closed", "regret")
                ),
                Cell(one.promotion),
                Cell(one.created),
                Cell(one.artifact),
            ),
        )
        for one in found
    )
    title = "1 version" if len(found) == 1 else f"{len(found)} versions"
    return FigureTable(title, "version", columns, rows)


def _slices(one: VersionInfo) -> str:
    first, last = one.window.get("first_slice"), one.window.get("last_slice")
    return "" if first is None or last is None else f"{first} to {last}"


def figures(one: VersionInfo) -> FigureTable:
    """Return a row for each figure of a version, those of its evaluation first."""
    rows = tuple(Row(name, (Cell(number(one.metrics[name])),)) for name in _names(one))
    return FigureTable("Figures", "figure", (Column("value"),), rows)


def comparison(a: VersionInfo, b: VersionInfo) -> FigureTable:
    """Return a row for each figure of either version, the difference of those of both, and which of them is better.

    Figures that were measured on other requests or other rows have a difference, and nothing is better.
    """
    names = dict.fromkeys([*_names(a), *_names(b)])
    rows = []
    for name in names:
        left, right = a.metrics.get(name), b.metrics.get(name)
        difference = None if left is None or right is None else right - left
        better = _better(name, a, b, difference or 0.0)
        rows.append(Row(name, (Cell(number(left)), Cell(number(right)), Cell(number(difference)), Cell(better))))
    columns = (Column(_label(a)), Column(_label(b)), Column("difference", 1), Column("better", 2))
    return FigureTable(f"{a.uri} and {b.uri}", "figure", columns, tuple(rows))


def _better(name: str, a: VersionInfo, b: VersionInfo, difference: float) -> str:
    owner, _, figure = name.rpartition(".")
    if owner == EVALUATION.rstrip("."):
        less, more, same = COSTS, GAINS, a.evaluated == b.evaluated
    else:
        less, more, rows = LOSSES, RANKINGS, f"{owner}.n"
        same = a.data == b.data and a.metrics.get(rows) == b.metrics.get(rows)
    gain = ((figure in more) - (figure in less)) * difference
    return _label(b if gain > 0.0 else a) if same and abs(gain) > 0.0 else ""  # NaN is neither


def _label(one: VersionInfo) -> str:
    return f"{one.name}/{one.version}"


def _names(one: VersionInfo) -> list[str]:
    return sorted(one.metrics, key=lambda name: (not name.startswith(EVALUATION), name))
