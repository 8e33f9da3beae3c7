"""Split slices in time into those that are fitted, that stop training, that calibrate, and that judge."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.spec import Spec

FEWEST = 5
"""One slice each for history, fitting, early stopping, calibration and metrics."""

FEWEST_REHEARSED = FEWEST + 1
"""With a rehearsal two slices or more are fitted, so that each is served by a model that was fitted on others."""


class Split(NamedTuple):
    """The first slice that is fitted, that stops training early, that calibrates, and that only judges."""

    fit: int
    stop: int
    calibrate: int
    judge: int

    @property
    def bounds(self) -> tuple[int, int, int]:
        """Return where the parts after the fitted one begin."""
        return self.stop, self.calibrate, self.judge


def fewest_slices(spec: Spec) -> int:
    """Return how many slices a training needs."""
    return FEWEST_REHEARSED if spec.training.rehearse > 0.0 else FEWEST


def split_slices(slices: NDArray[np.int32], spec: Spec) -> Split:
    """Return where each part of the slices begins.

    The last half of ``training.validation`` judges, the first half stops and calibrates, each on slices of its own. The
    slices that an embargo leaves out between these parts come on top, as far as there are any.

    Raises
    ------
    DataError
        If there are fewer than `fewest_slices`, or an embargo leaves a part none.
    """
    present, fewest = np.unique(slices), fewest_slices(spec)
    if present.size < fewest:
        why = " with a rehearsal" if fewest > FEWEST else ""
        raise DataError(f"training: expected at least {fewest} slices{why}, found {present.size}")
    fitted = 1 + fewest - FEWEST
    held_out, most = max(3, round(spec.training.validation * present.size)), present.size - 1 - fitted
    held_out = min(held_out, most)
    judge = held_out // 2
    calibrate = judge + (held_out - judge + 1) // 2
    last = min(held_out + 2 * spec.training.embargo, most)
    calibrate = min(calibrate + spec.training.embargo, last - 1)
    burn = min(max(1, round(spec.training.burn_in * present.size)), present.size - last - fitted)
    at = present.size - np.array([last, calibrate, judge])
    _check_embargo(np.diff([burn, *at]) - spec.training.embargo, fitted, spec)
    return Split(int(present[burn]), *map(int, present[at]))


def _check_embargo(left: NDArray[np.integer], fitted: int, spec: Spec) -> None:
    """Raise `DataError` where an embargo leaves less than is needed to fit, or nothing to stop or calibrate on."""
    if left[0] < fitted or left.min() < 1:
        found = ", ".join(f"{max(n, 0)} to {what}" for n, what in zip(left, ("fit", "stop", "calibrate"), strict=True))
        raise DataError(
            f"training.embargo: expected {fitted} or more slices to fit, and some to stop and to calibrate, found "
            f"{found} beside an embargo of {spec.training.embargo} before each part"
        )


def seen_until(slices: NDArray[np.int32], times: NDArray[np.float64], spec: Spec) -> dict[str, float]:
    """Return ``seen_until`` of a manifest's window: the latest time that fitted, calibrated or tuned a model.

    Parameters
    ----------
    slices, times
        Of all rows, or of each slice the latest time.
    spec
        Without a column of times nothing is known, and nothing returned.
    """
    if spec.telemetry.time is None:
        return {}
    tuned = spec.training.tuned_until or 0
    seen = slices < max(split_slices(slices, spec).judge, tuned)
    beyond = max(tuned - 1 - int(slices.max()), 0)  # slices that settings were tuned on and that are not here
    return {"seen_until": float(times[seen].max()) + beyond * spec.telemetry.slice.seconds}


def fitted_slices(slices: NDArray[np.int32], spec: Spec) -> NDArray[np.int32]:
    """Return the slices that are fitted; ``slices`` are distinct and sorted."""
    return slices[without_embargo(slices, slices, spec) & (slices < split_slices(slices, spec).stop)]


def first_served(slices: NDArray[np.int32], spec: Spec) -> int:
    """Return the first slice that a rehearsal serves, at the latest the last fitted one; ``slices`` as above."""
    fitted = fitted_slices(slices, spec)
    last = max(1, round(spec.training.rehearse * slices.size))
    return int(min(max(fitted[0], slices[slices.size - last]), fitted[-1]))


def without_embargo(slices: NDArray[np.int32], present: NDArray[np.int32], spec: Spec) -> NDArray[np.bool_]:
    """Return which rows may be fitted, stop, calibrate or judge: those that no embargo leaves out.

    The last ``training.embargo`` slices before each part are left out, because outcomes of theirs are known only when
    the next part has begun.

    Parameters
    ----------
    slices
        (n,) slices of rows.
    present
        All slices that there are.
    """
    split, distinct = split_slices(present, spec), np.unique(present)
    at = np.searchsorted(distinct, split.bounds)
    left_out = np.concatenate([distinct[max(i - spec.training.embargo, 0) : i] for i in at])
    return (slices >= split.fit) & ~np.isin(slices, left_out)
