"""An artifact with the types of every model and the knowledge of none, to compile kernels for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scheduler.features.program import compile_features
from scheduler.model.manifest import Calibration
from scheduler.spec import Spec
from training.artifacts.write import write_artifact
from training.heads.placeholder import placeholder_booster


def write_placeholder(folder: Path, spec: Spec) -> Path:
    """Write an artifact of a spec whose trees are noise; kernels see the same types as those of a trained model.

    Parameters
    ----------
    folder
        Where to, which must not exist.
    spec
        Gives features and heads.

    Returns
    -------
    Path
        The folder.
    """
    vocabulary = {f"{side}.{name}": ("a", "b") for side, columns in (("request", spec.request), ("node", spec.node))
                  for name, column in columns.items() if column.type == "category"}  # fmt: skip
    features = compile_features(spec, vocabulary)
    boosters = {
        name: placeholder_booster(features, "binary" if head.link == "logistic" else "regression")
        for name, head in spec.heads.items()
    }
    return write_artifact(
        folder,
        spec=spec,
        boosters=boosters,
        calibration={name: Calibration(link=head.link) for name, head in spec.heads.items()},
        vocabulary=vocabulary,
        metrics={},
        window={},
        golden_rows=np.zeros((1, len(features.names)), np.float32),
    )
