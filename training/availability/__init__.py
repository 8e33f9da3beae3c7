"""Predicts how long nodes stay."""

from training.availability.evaluate import Lifetime, LifetimeOptions, LifetimeResult, judge_lifetimes
from training.availability.sightings import write_lifetimes
from training.availability.table import lifetime_tables

__all__ = [
    "Lifetime",
    "LifetimeOptions",
    "LifetimeResult",
    "judge_lifetimes",
    "lifetime_tables",
    "write_lifetimes",
]
