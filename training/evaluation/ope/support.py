"""Whether a log says anything about a target policy: how much its weights are worth, and whether they fit together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.evaluation.ope.estimators import Terms
from training.evaluation.ope.intervals import Groups, around, estimate
from training.evaluation.paired_intervals import Floats, Interval

LEAST_SUPPORT = 100.0
"""Effective decisions that each policy's weights must be worth: fewer are a handful of weights, and no estimate."""

LEAST_OVERLAP, MOST_OVERLAP = 0.9, 1.1
"""Bounds of the mean weight, which is 1 for a log that can draw all that the target draws and knows its propensities.

Below, what the target does in more than a tenth of its decisions was never seen. Above, the propensities are too low.
"""

LARGEST = 0.01
"""Share of the rows, those of the largest weights, whose share of all weight is stated."""

BINS = 10
"""Bins of predicted probabilities, with about as many draws in each."""

CHANCE = 4.0
"""Standard errors up to which a realised frequency may differ by chance: once in 1,600 tests of ten bins."""

WRONG = 0.1
"""Share of the predicted frequency up to which a difference does not matter, however sure it is."""


class Calibration(NamedTuple):
    """Predicted probabilities against how often that came true, by bin.

    Attributes
    ----------
    predicted, realised
        (n_bins,) draws expected by the probabilities, and draws that happened.
    z
        (n_bins,) difference in standard errors.
    """

    predicted: Floats
    realised: Floats
    z: Floats

    def wrong(self) -> int:
        """Return the bin with the largest difference that is neither chance nor small, -1 if there is none."""
        gap = np.abs(self.realised - self.predicted) > WRONG * self.predicted
        bad = np.where(gap & (np.abs(self.z) > CHANCE), np.abs(self.z), 0.0)
        return int(bad.argmax()) if bad.any() else -1


class Support(NamedTuple):
    """How much of what a target policy does a log has seen.

    Attributes
    ----------
    decisions
        Logged decisions.
    effective
        How many decisions the weights are worth, see `effective_size`.
    overlap
        Mean weight, with its interval: the share of the target's choices that the log could have drawn.
    matched
        Share of the decisions with any weight.
    largest, in_largest
        The largest weight, and the share of all weight in the hundredth of the rows with the largest ones.
    clipped
        Share of the decisions whose weight was cut.
    calibration
        Of the propensities; None where the log does not say the probabilities of all candidates.
    """

    decisions: int
    effective: float
    overlap: Interval
    matched: float
    largest: float
    in_largest: float
    clipped: float
    calibration: Calibration | None = None


def effective_size(weight: Floats) -> float:
    r"""Return how many decisions of equal weight some are worth, :math:`(\sum w)^2 / \sum w^2` (Kish 1965)."""
    return float(weight.sum() ** 2 / max(float((weight**2).sum()), 1e-300))


def calibration(probability: Floats, drawn: NDArray[np.bool_], bins: int = BINS) -> Calibration:
    """Compare probabilities of all candidates with which of them were drawn.

    Parameters
    ----------
    probability, drawn
        (n_rows,) of every candidate of every decision.
    """
    order = np.argsort(probability, kind="stable")
    total = np.cumsum(probability[order])
    edges = np.searchsorted(total, total[-1] * np.arange(1, bins) / bins)
    parts = [part for part in np.split(order, edges) if part.size]
    predicted = np.array([probability[part].sum() for part in parts])
    realised = np.array([float(drawn[part].sum()) for part in parts])
    variance = np.array([(probability[part] * (1.0 - probability[part])).sum() for part in parts])
    z = (realised - predicted) / np.sqrt(np.maximum(variance, 1e-12))
    return Calibration(predicted, realised, z)


def support_of(
    weight: Floats, clip: float = np.inf, calibrated: Calibration | None = None, groups: Groups = ()
) -> Support:
    """Return the support of weights before they are clipped; `groups` as in `training.evaluation.ope.intervals`."""
    cut = np.minimum(weight, clip)
    largest = np.sort(cut)[-max(1, round(LARGEST * cut.size)) :]
    return Support(
        decisions=weight.size,
        effective=effective_size(cut),
        overlap=around(estimate(Terms(cut, np.ones(cut.size))), groups),
        matched=float((cut > 0.0).mean()),
        largest=float(cut.max()),
        in_largest=float(largest.sum() / max(float(cut.sum()), 1e-300)),
        clipped=float((weight > clip).mean()),
        calibration=calibrated,
    )


def refusal(support: Support, least: float = LEAST_SUPPORT) -> str | None:
    """Return why no estimate should be made, None if one may."""
    overlap = support.overlap
    wrong = -1 if support.calibration is None else support.calibration.wrong()
    if support.calibration is not None and wrong >= 0:
        expected, came = support.calibration.predicted[wrong], support.calibration.realised[wrong]
        return f"the propensities are wrong: expected {expected:,.0f} draws in a bin of them, found {came:,.0f}"
    if overlap.low > MOST_OVERLAP:
        return (
            f"the propensities do not fit the log: expected weights of mean 1, found {overlap.value:.2f} "
            f"({overlap.low:.2f} to {overlap.high:.2f})"
        )
    if support.effective < least:
        return (
            f"support is too thin: expected weights worth at least {least:,.0f} decisions, found "
            f"{support.effective:,.0f} of {support.decisions:,}"
        )
    if overlap.high < LEAST_OVERLAP:
        return (
            f"the log lacks what the model would choose: expected weights of mean 1, found {overlap.value:.2f}, so "
            f"about {100.0 * (1.0 - overlap.value):.0f} % of its choices were never drawn or are cut off"
        )
    return None
