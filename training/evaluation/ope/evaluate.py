"""Estimate what a target policy would have cost, by every estimator, or say why the log cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from training.evaluation.ope.decisions import LoggedDecisions, check_decisions
from training.evaluation.ope.direct_model import cross_fitted
from training.evaluation.ope.estimators import (
    Terms,
    direct_method,
    doubly_robust,
    importance_weights,
    ips,
    logged_mean,
    snips,
    switch_dr,
    switch_threshold,
)
from training.evaluation.ope.intervals import CONFIDENCE, Linear, change, estimate, of_requests
from training.evaluation.ope.support import Calibration, Support, calibration, refusal, support_of
from training.evaluation.paired_intervals import Floats, Interval

SNIPS, DR = "snips", "dr"
"""The estimates that count: the second where there is a model of the cost, else the first."""


class OffPolicy(NamedTuple):
    """What a log says about a target policy.

    Attributes
    ----------
    logged
        Mean cost of what was logged.
    estimates
        Mean cost of the target policy by estimator, none if refused.
    change
        The share by which each estimate is above the logged mean; below 0 the target policy is better.
    support
        How much of what the target does the log has seen.
    clip
        Bound of the weights.
    threshold
        That of switch-DR; NaN without a model of the cost.
    refused
        Why there is no estimate, None if there is one.
    """

    logged: Interval
    estimates: dict[str, Interval]
    change: dict[str, Interval]
    support: Support
    clip: float
    threshold: float
    refused: str | None

    @property
    def best(self) -> str:
        """Return the name of the estimate that counts."""
        return DR if DR in self.estimates else SNIPS

    def to_json(self) -> dict[str, Any]:
        """Return plain values; an infinite bound is None."""
        support = self.support._asdict() | {"overlap": _plain(self.support.overlap)}
        found = self.support.calibration
        support["calibration"] = None if found is None else {k: v.tolist() for k, v in found._asdict().items()}
        return {
            "logged": _plain(self.logged),
            "estimates": {name: _plain(one) for name, one in self.estimates.items()},
            "change": {name: _plain(one) for name, one in self.change.items()},
            "support": support,
            "clip": _finite(self.clip),
            "switch_threshold": _finite(self.threshold),
            "refused": self.refused,
        }


def default_clip(n: int) -> float:
    r"""Return the bound of the weights of n rows, :math:`\sqrt n` (Ionides: Truncated importance sampling, 2008)."""
    return float(np.sqrt(n))


def evaluate_off_policy(
    logged: LoggedDecisions, *, clip: float | None = None, confidence: float = CONFIDENCE, seed: int = 0
) -> OffPolicy:
    """Estimate the mean cost of a target policy on logged decisions.

    Parameters
    ----------
    clip
        Bound of the weights; by default `default_clip`.
    seed
        Of the folds of the model of the cost.

    Raises
    ------
    DataError
        If there is no decision, or a number is not what `LoggedDecisions` says.
    """
    check_decisions(logged)
    bound = default_clip(logged.cost.size) if clip is None else clip
    whole = importance_weights(logged.propensity, logged.target)
    support = support_of(whole, bound, _calibration(logged), (logged.client, logged.slice))
    refused, threshold = refusal(support), float("nan")
    terms: dict[str, Terms] = {}
    if refused is None:
        weight = np.minimum(whole, bound)
        terms = {"ips": ips(logged.cost, weight), SNIPS: snips(logged.cost, weight)}
        if logged.candidates is not None:
            modelled, threshold = _modelled(logged, whole, weight, seed)
            terms |= modelled
    was = logged_mean(logged.cost)

    def sure(figure: Linear) -> Interval:
        return of_requests(figure, logged.client, logged.slice, confidence=confidence)

    return OffPolicy(
        logged=sure(estimate(was)),
        estimates={name: sure(estimate(one)) for name, one in terms.items()},
        change={name: sure(change(one, was)) for name, one in terms.items()},
        support=support,
        clip=bound,
        threshold=threshold,
        refused=refused,
    )


def _modelled(logged: LoggedDecisions, whole: Floats, weight: Floats, seed: int) -> tuple[Mapping[str, Terms], float]:
    """Return the estimates that need a model of the cost, and the threshold of switch-DR."""
    assert logged.candidates is not None  # noqa: S101 - the caller has looked
    predicted, expected = cross_fitted(logged.cost, logged.candidates, seed=seed)
    threshold = switch_threshold(logged.cost, whole, predicted, expected)
    return {
        "dm": direct_method(expected),
        DR: doubly_robust(logged.cost, weight, predicted, expected),
        "switch_dr": switch_dr(logged.cost, whole, predicted, expected, threshold),
    }, threshold


def _calibration(logged: LoggedDecisions) -> Calibration | None:
    found = logged.candidates
    if found is None or found.logging is None:
        return None
    drawn = np.zeros(found.logging.size, np.bool_)
    drawn[found.chosen] = True
    return calibration(found.logging, drawn)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plain(found: Interval) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in found._asdict().items()}
