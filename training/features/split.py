"""Split slices in time into training, validation and judged ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.spec import Spec


def split_slices(slices: NDArray[np.int32], spec: Spec) -> tuple[int, int, int]:
    """Return the first slice that is fitted, the first that stops and calibrates, the first that only judges.

    Raises
    ------
    DataError
        If there are fewer than four slices.
    """
    present = np.unique(slices)
    if present.size < 4:  # noqa: PLR2004 - one each for history, fit, calibration and metrics
        raise DataError(f"training: expected at least 4 slices, found {present.size}")
    last = min(max(2, round(spec.training.validation * present.size)), present.size - 2)
    burn = min(max(1, round(spec.training.burn_in * present.size)), present.size - last - 1)
    return int(present[burn]), int(present[present.size - last]), int(present[present.size - last // 2])
