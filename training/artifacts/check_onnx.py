"""Let ONNX Runtime score the golden rows of an exported head: a file that nobody has run is no export."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import ArtifactError
from scheduler.forest.trees import Trees


def check_onnx(head: str, model: bytes, trees: Trees, x: NDArray[np.float32], raw: NDArray[np.float64]) -> None:
    """Raise `ArtifactError` unless ONNX Runtime gives LightGBM's raw scores, up to the rounding of its float32 sums.

    Parameters
    ----------
    model
        As `training.artifacts.onnx_export.to_onnx` returns it.
    x, raw
        (n, n_features) rows and LightGBM's own (n,) scores of them.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # some hundred rows: threads would take longer to start than to score
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = session.run(["raw_score"], {"features": x})[0][:, 0].astype(np.float64)
    off = np.abs(found - raw)
    # What a row starts from is rounded too, and so is the sum that it is added to: half a step of each.
    allowed = rounding(trees) + 2.0 * np.finfo(np.float32).eps * np.abs(raw)
    worst = int(np.argmax(np.where(np.isnan(off), np.inf, off - allowed)))
    if not off[worst] <= allowed[worst]:
        raise ArtifactError(
            f"head {head}: expected ONNX Runtime to give LightGBM's score of golden row {worst}, {raw[worst]:.9g}, "
            f"found {found[worst]:.9g}"
        )


def rounding(trees: Trees) -> float:
    """Return by how much a float32 sum of one leaf a tree may be off: a rounding a tree, of the largest sum."""
    largest = np.maximum.reduceat(np.abs(trees.leaf_value), trees.leaf_start[:-1])
    return float(np.finfo(np.float32).eps * (trees.n_trees + 1) * largest.sum())
