"""Facts about the model for a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scheduler.model.manifest import head_files
from scheduler.model.model import Model


class ModelCard(NamedTuple):
    """Identity of the model.

    Attributes
    ----------
    name, version
        As in its manifest.
    window
        Rows and slices it was trained on.
    units
        Of each head's value.
    importance
        By head, the share of the total gain by feature.
    """

    name: str
    version: str
    window: dict[str, int | float | str]
    units: dict[str, str]
    importance: dict[str, dict[str, float]]


def model_card(model: Model, folder: Path) -> ModelCard:
    """Return a model's identity, and the importance of its features from LightGBM's text in its artifact."""
    importance = {
        head: _gains((folder / head_files(head)[1]).read_text(), model.features.names) for head in model.heads
    }
    units = {head: model.spec.heads[head].unit for head in model.heads}
    return ModelCard(model.name, model.version, model.manifest.window, units, importance)


def _gains(text: str, names: Sequence[str]) -> dict[str, float]:
    """Add up the gains of all splits by feature, as shares."""
    total = np.zeros(len(names))
    features: list[int] = []
    for line in text.splitlines():
        key, _, values = line.partition("=")
        if key == "split_feature":
            features = [int(value) for value in values.split()]
        elif key == "split_gain":
            np.add.at(total, features, [float(value) for value in values.split()])
    return dict(zip(names, (total / max(total.sum(), np.finfo(np.float64).tiny)).tolist(), strict=True))
