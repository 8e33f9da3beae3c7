"""Check how a spec's models are trained, and when one is promoted."""

from __future__ import annotations

from scheduler.errors import SpecError
from scheduler.spec.refuse import in_range
from scheduler.spec.types import Spec

MOST_ROUNDS = 2**15
"""Trees that a head may have; see `scheduler.forest.trees.MAX_TREES`."""


def check_training(spec: Spec) -> None:
    """Raise `SpecError` unless all numbers of ``[training]`` and ``[promotion]`` are in range."""
    training, promotion = spec.training, spec.promotion
    ranges: dict[str, tuple[float, float, float]] = {
        "training.reveal": (training.reveal, 0, 1),
        "training.rehearse": (training.rehearse, 0, 1),
        "training.burn_in": (training.burn_in, 0, 0.9),
        "training.validation": (training.validation, 0.01, 0.9),
        "training.rows": (training.rows, 100, 1e10),
        "training.rounds": (training.rounds, 1, MOST_ROUNDS),
        "training.patience": (training.patience, 1, 1e6),
        "training.embargo": (training.embargo, 0, 1e6),
        "training.tuned_until": (training.tuned_until or 0, 0, 2**31),
        "training.propensity_weights": (training.propensity_weights, 0, 1e6),
        "promotion.margin": (promotion.margin, 0, 0.9),
        "promotion.confidence": (promotion.confidence, 0.5, 0.9999),
        "promotion.failures": (promotion.failures, 0, 1),
        "promotion.tail": (promotion.tail, 0, 1),
    }
    for where, (value, low, high) in ranges.items():
        in_range(where, value, low, high)
    if training.propensity_weights > 0.0 and spec.telemetry.propensity is None:
        message = "training.propensity_weights: expected a column telemetry.propensity to weigh rows by, found none"
        raise SpecError(message)
