"""Predicts how long nodes stay."""

from training.availability.evaluate import Lifetime, LifetimeOptions, LifetimeResult, judge_lifetimes
from training.availability.sightings import write_lifetimes

__all__ = [
    "Lifetime",
    "LifetimeOptions",
    "LifetimeResult",
    "judge_lifetimes",
    "write_lifetimes",
]
