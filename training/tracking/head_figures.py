"""Pictures of a tracked run: feature importance and calibration of each head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from training.heads.summary import HeadSummary

TOP = 20
"""Most features in a picture; the tail of an importance ranking is not worth drawing."""


def save_pictures(heads: dict[str, HeadSummary], folder: Path) -> list[Path]:
    """Draw two PNG files for each head into a folder and return where they are."""
    made = []
    for name, head in heads.items():
        made.append(_save(_importance(name, head), folder / f"{name}-importance.png"))
        made.append(_save(_calibration(name, head), folder / f"{name}-calibration.png"))
    return made


def _importance(name: str, head: HeadSummary) -> Figure:
    ranked = sorted(head.importance.items(), key=lambda item: item[1])[-TOP:]
    figure = Figure(figsize=(7, 0.28 * len(ranked) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh([feature for feature, _ in ranked], [share for _, share in ranked])
    axes.set(title=f"{name}: share of the gain by feature", xlabel="share")
    return figure


def _calibration(name: str, head: HeadSummary) -> Figure:
    curve = head.reliability
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    ends = np.array(
        [min(curve.predicted.min(), curve.observed.min()), max(curve.predicted.max(), curve.observed.max())]
    )
    axes.plot(ends, ends, linewidth=0.8, color="grey", label="perfect")
    axes.plot(curve.predicted, curve.observed, marker="o", label="bins of equal counts")
    axes.set(title=f"{name}: predicted against observed", xlabel="mean prediction", ylabel="mean outcome")
    axes.legend()
    return figure


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=100)
    return path
