"""A model in words and figures: what it looks at, how, and the rules that come nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.values import as_json
from scheduler.model.model import Model
from scheduler.spec import Spec
from training.explanation.dependence import Dependence, dependence
from training.explanation.rows import golden, of_telemetry
from training.explanation.surrogate import Surrogate, surrogate
from training.explanation.utility import default_utility
from training.progress import ProgressCallback, silent

STRONGEST = 6
"""Features whose partial dependence is shown."""


class ModelRules(NamedTuple):
    """What a model has learned.

    Attributes
    ----------
    model
        Name and version.
    rows, source
        On how many rows it was looked at, and where they are from.
    importance
        By head, the share of the gain by feature, as in the manifest; empty for artifacts that have none.
    dependence
        Of the strongest features, the largest extent of the utility first.
    surrogate
        None where there are too few rows.
    """

    model: str
    rows: int
    source: str
    importance: dict[str, dict[str, float]]
    dependence: tuple[Dependence, ...]
    surrogate: Surrogate | None

    def to_json(self) -> dict[str, Any]:
        """Return the same as dicts, lists and plain values."""
        return as_json(self)


def model_rules(
    source: str,
    registry: str | None = None,
    *,
    data: Sequence[Path] = (),
    spec: Spec | None = None,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> ModelRules:
    """Explain a model as rules.

    Parameters
    ----------
    source, registry
        As for `scheduler.Model.load`.
    data
        Telemetry to look at it on; by default the artifact's golden rows, which are few.
    spec
        How the telemetry is read, of the model's fingerprint; by default the model's own.
    seed
        Of samples and of the tree.

    Raises
    ------
    ArtifactError, RegistryError, DataError
        If the model or the telemetry cannot be read.
    """
    model, rows = golden(source, registry)
    where = "golden rows of the artifact"
    if data:
        rows, where = of_telemetry(model, data, spec, seed=seed, progress=progress), ", ".join(map(str, data))
    return rules_of(model, rows, where, seed=seed)


def rules_of(model: Model, rows: NDArray[np.float32], source: str, *, seed: int = 0) -> ModelRules:
    """Explain a model on feature rows (n, n_features); ``source`` says where they are from."""
    values = np.stack(list(model.predict(rows).values()), axis=1)
    found = (dependence(model, rows, f) for f in strongest(model))
    curves = sorted((one for one in found if one is not None), key=lambda one: -one.extent)
    return ModelRules(
        model=f"{model.name}-{model.version}",
        rows=len(rows),
        source=source,
        importance=dict(model.manifest.importance),
        dependence=tuple(curves),
        surrogate=surrogate(model, rows, default_utility(model, values), seed=seed),
    )


def strongest(model: Model) -> list[int]:
    """Return the features of the largest importance, as the mean over heads; without one those of the most splits."""
    shares = model.manifest.importance
    names = model.features.names
    if shares:
        total = np.array([sum(share[name] for share in shares.values()) for name in names])
    else:
        total = np.bincount(np.concatenate([trees.feature for trees in model.trees]), minlength=len(names))
    order = np.argsort(-total, kind="stable")
    return [int(f) for f in order[:STRONGEST] if total[f] > 0]
