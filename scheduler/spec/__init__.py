"""Reads a spec.

A spec is one TOML file that says what a model sees, predicts and maximises. It is read once, checked as a whole and
frozen. The checks follow every reference (a feature to a column, a statistic to a history key, a utility weight to a
head), so the rest of the library relies on a valid spec.
"""

from scheduler.spec.checks import LEAST_CAPACITY, MOST_CAPACITY
from scheduler.spec.duration import seconds
from scheduler.spec.features import (
    ChangePoint,
    Clock,
    Difference,
    Distance,
    Dot,
    Equal,
    Feature,
    LatentFactor,
    NodeColumn,
    RequestColumn,
    ShrunkMean,
    Statistic,
    TrainedMean,
)
from scheduler.spec.offsets import AUTO, NO_OFFSET, Transform, offset_features
from scheduler.spec.policy import Candidates, Ledger, Policy, Profile, Tier, Utility
from scheduler.spec.raw import RawColumn
from scheduler.spec.read import load_spec, parse_spec, spec_from_json
from scheduler.spec.types import (
    CLIENT,
    COST,
    FAILED,
    NODE,
    Capacity,
    ChangePoints,
    Column,
    Cost,
    Evaluation,
    Head,
    History,
    LatentFactors,
    Outcome,
    PromotionRules,
    Slice,
    Spec,
    Telemetry,
    Training,
    Value,
    WatchRules,
)

__all__ = [
    "AUTO",
    "CLIENT",
    "COST",
    "FAILED",
    "LEAST_CAPACITY",
    "MOST_CAPACITY",
    "NODE",
    "NO_OFFSET",
    "Candidates",
    "Capacity",
    "ChangePoint",
    "ChangePoints",
    "Clock",
    "Column",
    "Cost",
    "Difference",
    "Distance",
    "Dot",
    "Equal",
    "Evaluation",
    "Feature",
    "Head",
    "History",
    "LatentFactor",
    "LatentFactors",
    "Ledger",
    "NodeColumn",
    "Outcome",
    "Policy",
    "Profile",
    "PromotionRules",
    "RawColumn",
    "RequestColumn",
    "ShrunkMean",
    "Slice",
    "Spec",
    "Statistic",
    "Telemetry",
    "Tier",
    "TrainedMean",
    "Training",
    "Transform",
    "Utility",
    "Value",
    "WatchRules",
    "load_spec",
    "offset_features",
    "parse_spec",
    "seconds",
    "spec_from_json",
]
