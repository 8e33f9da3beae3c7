"""Feature operations of a spec: what each computes, and from what."""

from __future__ import annotations

from typing import Literal, TypeAlias

from scheduler.spec.section import Section


class RequestColumn(Section, frozen=True, tag_field="op", tag="request"):
    """A column of the request."""

    column: str


class NodeColumn(Section, frozen=True, tag_field="op", tag="node"):
    """A column of the node."""

    column: str


class Clock(Section, frozen=True, tag_field="op", tag="clock"):
    """Position of the decision in a repeating period such as ``24h``, in [0, 1)."""

    period: str


class Statistic(Section, frozen=True, tag_field="op", tag="history"):
    """A decayed statistic of a value under a history key."""

    key: str
    stat: Literal["mean", "variance", "count", "last", "age"]
    value: str | None = None
    half_life: str | None = None


class Equal(Section, frozen=True, tag_field="op", tag="equal"):
    """1 if a category of the request equals one of the node, 0 if not, missing if either is missing."""

    request: str
    node: str


class Difference(Section, frozen=True, tag_field="op", tag="difference"):
    """Absolute difference of a number of the request and one of the node."""

    request: str
    node: str


class Distance(Section, frozen=True, tag_field="op", tag="distance"):
    """Great-circle distance in kilometres between two (latitude, longitude) pairs in degrees."""

    request: tuple[str, str]
    node: tuple[str, str]


class Dot(Section, frozen=True, tag_field="op", tag="dot"):
    """Dot product of a vector of the request and one of the node."""

    request: str
    node: str


class LatentFactor(Section, frozen=True, tag_field="op", tag="latent_factors"):
    """The prediction of the latent factors ``of``, or one part of it; see `LatentFactors`."""

    of: str
    part: Literal["prediction", "client", "node", "pair"] = "prediction"


class ShrunkMean(Section, frozen=True, tag_field="op", tag="shrunk"):
    """A decayed mean under several keys, from fine to coarse: each mean is shrunk towards the next coarser one.

    ``strength`` is how many outcomes the coarser mean is worth.
    """

    keys: tuple[str, ...]
    value: str
    half_life: str
    strength: float = 5.0


class TrainedMean(Section, frozen=True, tag_field="op", tag="trained_mean"):
    """The mean over all telemetry of training, which the model takes along; history may forget the key meanwhile.

    Keys go from fine to coarse, and each mean is shrunk towards the next coarser one, which is worth ``strength``
    outcomes.
    """

    keys: tuple[str, ...]
    value: str
    strength: float = 5.0


class ChangePoint(Section, frozen=True, tag_field="op", tag="change_point"):
    """An estimate about the last change of a group, by the change points ``of``; see `ChangePoints`."""

    of: str
    part: Literal["fresh", "age", "ended"]


Feature: TypeAlias = (
    RequestColumn
    | NodeColumn
    | Clock
    | Statistic
    | ShrunkMean
    | TrainedMean
    | Equal
    | Difference
    | Distance
    | Dot
    | LatentFactor
    | ChangePoint
)
