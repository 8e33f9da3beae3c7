"""Facts about the model for a report."""

from __future__ import annotations

from typing import NamedTuple

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
        By head, the share of the total gain by feature; empty for a model of a format before 4.
    tuned
        On what its settings were chosen; empty if that is not known.
    """

    name: str
    version: str
    window: dict[str, int | float | str]
    units: dict[str, str]
    importance: dict[str, dict[str, float]]
    tuned: str = ""


def model_card(model: Model) -> ModelCard:
    """Return a model's identity and the importance of its features, from its manifest."""
    manifest = model.manifest
    units = {head: model.spec.heads[head].unit for head in model.heads}
    tuned = model.spec.training.tuned
    return ModelCard(model.name, model.version, manifest.window, units, manifest.importance, tuned)
