"""What each head is to predict."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.history import head_outcomes as heads
from scheduler.history.outcomes import outcome_names
from scheduler.spec import Spec
from training.telemetry import Telemetry


class RowOutcomes(NamedTuple):
    """Outcomes of the kept rows: (n,) int32 slices, bool, and float32 for each outcome; see `Dataset`.

    ``propensity`` is as in `Telemetry`.
    """

    slice: NDArray[np.int32]
    ok: NDArray[np.bool_]
    outcomes: dict[str, NDArray[np.float32]]
    again: dict[str, NDArray[np.float32]] | None = None
    propensity: NDArray[np.float64] | None = None


def head_targets(
    telemetry: Telemetry, spec: Spec, keep: NDArray[np.bool_]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Return targets and outcomes of the rows to keep for each head, as `Dataset` has them."""
    return targets_of(row_outcomes(telemetry, keep), spec)


def row_outcomes(telemetry: Telemetry, keep: NDArray[np.bool_]) -> RowOutcomes:
    """Return the outcomes of the rows to keep, from which targets are computed."""
    outcomes = {name: values[keep] for name, values in telemetry.outcomes.items()}
    propensity = None if telemetry.propensity is None else telemetry.propensity[keep]
    return RowOutcomes(telemetry.slice[keep], telemetry.ok[keep], outcomes, propensity=propensity)


def targets_of(
    measured: RowOutcomes, spec: Spec
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Return targets and outcomes of kept rows by head."""
    rows = np.column_stack([measured.outcomes[name] for name in outcome_names(spec)])
    return heads.head_targets(spec, rows, measured.ok), heads.head_outcomes(spec, rows, measured.ok)


def row_weights(propensity: NDArray[np.float64] | None, spec: Spec) -> NDArray[np.float32] | None:
    """Return (n,) weights of mean 1: inverse propensities up to ``training.propensity_weights``; None if that is 0.

    A log that mostly draws what its policy prefers has many rows of few nodes. With these weights a model is fitted as
    if every candidate had been drawn equally often. A row without a propensity counts as one that was sure to be drawn.
    """
    most = spec.training.propensity_weights
    if most == 0.0 or propensity is None:
        return None
    weight = np.minimum(1.0 / np.where(np.isnan(propensity), 1.0, propensity), most)
    return (weight / weight.mean()).astype(np.float32)
