"""Compare two models by how well their heads predict what was logged, where no request can be decided anew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.history.store import new_history
from scheduler.model.model import Model
from scheduler.spec import Head
from training.evaluation.paired_intervals import Floats
from training.evaluation.verdict import (
    BETTER,
    NOT_BETTER,
    UNTOLD,
    Asked,
    Guard,
    Verdict,
    combined,
    percent,
    relative,
)
from training.features.replay import replay
from training.features.targets import head_targets
from training.heads.metrics import LEAST_PROBABILITY
from training.telemetry import Telemetry

LEAST_MEAN = 1e-9
"""Predicted means are kept above it: the deviance of a mean of 0 has no end."""


def judge_by_losses(telemetry: Telemetry, new: Model, old: Model, start: int, seed: int) -> Verdict:
    """Compare models of one fingerprint by the losses of their heads on the rows of later slices.

    Each row's features are those of its decision: history has seen all that was logged before. Of a log this is what
    serving saw. A head's loss is a proper score of what its value means: log loss, Poisson deviance of a mean with the
    link ``log``, squared error, pinball loss of a quantile. Heads count alike, each as a share of the champion's loss;
    those without weight in either version's utility do not count. A head whose loss is higher by more than chance is a
    broken guardrail.
    """
    judged = telemetry.slice >= start
    rules, names = new.spec.promotion, _weighing(new, old)
    found = [_losses(model, telemetry, judged) for model in (new, old)]
    losses = [{name: np.nan_to_num(one[name], nan=0.0) for name in names} for one in found]
    asked = Asked(telemetry.client[judged], telemetry.slice[judged], seed)
    names = [name for name in names if losses[1][name].sum() > 0.0]  # a head without any loss has nothing to share
    if not names:
        return Verdict(UNTOLD, "the champion's heads have no loss on later slices, or nothing was measured there")
    shares = [sum(one[name] / losses[1][name].sum() for name in names) for one in losses]
    total = relative(asked, np.asarray(shares[0]), np.asarray(shares[1]), rules.confidence)
    guards = [_guarded(asked, name, losses[0][name], losses[1][name], rules.confidence) for name in names]
    words = f"loss of the heads on later slices {percent(total)} against the champion"
    return combined(total, words, guards, rules.margin, len(asked.client))


def _weighing(new: Model, old: Model) -> list[str]:
    weights = [model.spec.utility.heads for model in (new, old)]
    found = [name for name in new.heads if any(one.get(name, 0.0) for one in weights)]
    return found or list(new.heads)


def _guarded(asked: Asked, name: str, new: Floats, old: Floats, confidence: float) -> Guard:
    found = relative(asked, new, old, confidence)
    words = f"{name} {percent(found)}"
    if found.low > 0.0:
        return Guard(NOT_BETTER, f"{words}, worse by more than chance")
    return Guard(BETTER, words)


def _losses(model: Model, telemetry: Telemetry, judged: NDArray[np.bool_]) -> dict[str, Floats]:
    """Return by head the loss of each judged row, NaN where the head predicts nothing or nothing was measured."""
    x = replay(telemetry, model.spec, model.features, new_history(model.spec), keep=judged)
    _, outcomes = head_targets(telemetry, model.spec, judged)
    return {
        name: row_losses(model.spec.heads[name], values, outcomes[name].astype(np.float64))
        for name, values in model.predict(x).items()
    }


def row_losses(head: Head, value: Floats, outcome: Floats) -> Floats:
    """Return the loss of each value of a head for its outcome."""
    if head.quantile is not None:
        return np.where(outcome > value, head.quantile, head.quantile - 1.0) * (outcome - value)
    if head.link == "logistic":
        p = np.clip(value, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
        return -(outcome * np.log(p) + (1.0 - outcome) * np.log1p(-p))
    if head.link == "identity":
        return (value - outcome) ** 2
    mean = np.maximum(value, LEAST_MEAN)
    return 2.0 * (outcome * np.log(np.maximum(outcome, LEAST_MEAN) / mean) - (outcome - mean))
