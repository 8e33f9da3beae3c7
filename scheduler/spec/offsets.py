"""Which features a head may start from: means of what it predicts."""

from __future__ import annotations

from typing import Literal, TypeAlias

from scheduler.spec.features import ShrunkMean, Statistic, TrainedMean
from scheduler.spec.types import FAILED, NODE, Head, Spec, Value

Transform: TypeAlias = Literal["none", "log1p", "logit"]
"""From a mean to the space of a raw score."""

AUTO, NO_OFFSET = "auto", "none"
"""In place of a feature's name: training tries the best mean, or none is used."""


def offset_features(spec: Spec, head: Head) -> dict[str, Transform]:
    """Return the features that a head may start from, each with the transform into the space of its raw score.

    They are means of the head's target or of the outcome behind it: decayed, shrunk or of training. The decayed mean of
    a node's id alone is no such feature: a decision has it only as a row of masks.
    """
    found: dict[str, Transform] = {}
    for name, feature in spec.features.items():
        if isinstance(feature, ShrunkMean | TrainedMean) or (isinstance(feature, Statistic) and feature.stat == "mean"):
            transform = _transform(head, feature.value or "")
            if transform is not None and not _is_node_alone(spec, feature) and name not in (AUTO, NO_OFFSET):
                found[name] = transform
    return found


def _is_node_alone(spec: Spec, feature: Statistic | ShrunkMean | TrainedMean) -> bool:
    return isinstance(feature, Statistic) and spec.history.keys[feature.key] == (NODE,)


def _transform(head: Head, value: str) -> Transform | None:
    """Return how a mean of a value becomes a raw score of a head; None where it is a mean of something else."""
    target = Value.parse(head.target)
    if value == head.target:
        return "logit" if target.outcome == FAILED and head.link == "logistic" else "none"
    return "log1p" if target.log1p and value == target.outcome else None
