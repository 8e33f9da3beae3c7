"""Checks of features: every column, history key, value and half-life that one reads is in the spec."""

from __future__ import annotations

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
from scheduler.spec.refuse import duration, in_range, one_of, refuse, typed
from scheduler.spec.types import Spec, Value


def check_features(spec: Spec) -> None:
    """Raise `SpecError` unless every feature reads what the spec has."""
    if not spec.features:
        refuse("features", "at least one feature", {})
    for name, feature in spec.features.items():
        _check_feature(f"features.{name}", feature, spec)


def _check_feature(where: str, feature: Feature, spec: Spec) -> None:
    match feature:
        case RequestColumn(column=column):
            typed(where, column, spec.request, ("number", "category"))
        case NodeColumn(column=column):
            typed(where, column, spec.node, ("number", "category"))
        case Clock(period=period):
            duration(f"{where}.period", period)
        case Statistic():
            _check_statistic(where, feature, spec)
        case ShrunkMean():
            _check_shrunk(where, feature, spec)
        case TrainedMean():
            _check_trained(where, feature, spec)
        case LatentFactor(of=of):
            one_of(f"{where}.of", of, spec.latent_factors)
        case ChangePoint(of=of):
            one_of(f"{where}.of", of, spec.change_points)
        case _:
            _check_pair(where, feature, spec)


def _check_pair(where: str, feature: Equal | Difference | Distance | Dot, spec: Spec) -> None:
    wanted = {Equal: "category", Dot: "vector"}.get(type(feature), "number")
    for side, columns in ((feature.request, spec.request), (feature.node, spec.node)):
        for column in (side,) if isinstance(side, str) else side:
            typed(where, column, columns, (wanted,))
    if isinstance(feature, Dot) and spec.request[feature.request].size != spec.node[feature.node].size:
        size = spec.request[feature.request].size
        refuse(where, f"vectors of one size ({size})", spec.node[feature.node].size)


def _check_statistic(where: str, feature: Statistic, spec: Spec) -> None:
    one_of(f"{where}.key", feature.key, spec.history.keys)
    if feature.stat == "age":
        if feature.value is not None or feature.half_life is not None:
            refuse(where, "no value and no half_life for the age of the last outcome", feature.value)
        return
    if feature.value is None:
        refuse(f"{where}.value", "a value of the history", feature.value)
    else:
        one_of(f"{where}.value", feature.value, spec.history.values)
    if feature.stat == "last":
        if feature.half_life is not None:
            refuse(f"{where}.half_life", "none for the last value", feature.half_life)
    elif feature.half_life is None:
        refuse(f"{where}.half_life", "a half-life of the history", feature.half_life)
    else:
        one_of(f"{where}.half_life", feature.half_life, spec.history.half_lives)


def _check_shrunk(where: str, feature: ShrunkMean, spec: Spec) -> None:
    _check_chain(where, feature, 2, spec)
    one_of(f"{where}.half_life", feature.half_life, spec.history.half_lives)


def _check_trained(where: str, feature: TrainedMean, spec: Spec) -> None:
    _check_chain(where, feature, 1, spec)
    if Value.parse(feature.value).residual:
        refuse(f"{where}.value", "no residual, which only history knows", feature.value)


def _check_chain(where: str, feature: ShrunkMean | TrainedMean, least: int, spec: Spec) -> None:
    """Refuse a mean along keys of which there are too few, or that the spec does not have."""
    if len(set(feature.keys)) < max(len(feature.keys), least):
        refuse(f"{where}.keys", f"{least} or more, none twice", list(feature.keys))
    for key in feature.keys:
        one_of(f"{where}.keys", key, spec.history.keys)
    one_of(f"{where}.value", feature.value, spec.history.values)
    in_range(f"{where}.strength", feature.strength, 1e-6, 1e9)
