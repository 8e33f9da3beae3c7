"""Explanations as plain values, which turn into JSON as they are."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from scheduler.columns.ids import Id

Plain: TypeAlias = "bool | int | float | str | None"
"""A feature's value as an operator knows it: a category by name, missing as None."""


class Part(NamedTuple):
    """What one feature adds to the difference of two utilities.

    Attributes
    ----------
    feature
        Its name; ``load`` and ``price`` stand for those parts of the utility that no model predicts.
    chosen, other
        Its values.
    share
        Its part of the difference, in units of utility; above 0 it speaks for the chosen node.
    """

    feature: str
    chosen: Plain
    other: Plain
    share: float


class HeadPart(NamedTuple):
    """What one head says about both nodes, and what it adds to the difference of their utilities.

    ``flip`` is the value with which the other node's utility would be equal to the chosen one's, None if there is none.
    """

    head: str
    unit: str
    chosen: float
    other: float
    share: float
    flip: float | None


class Flip(NamedTuple):
    """The smallest change of one feature of the other node with which it would win.

    Attributes
    ----------
    feature
        Its name.
    now
        Its value.
    condition
        ``above`` or ``at most`` a threshold of the forest, or ``is`` a category.
    value
        The threshold or the category.
    steps
        How many of the forest's thresholds for this feature lie between.
    gain
        By how much it would win.
    """

    feature: str
    now: Plain
    condition: str
    value: Plain
    steps: int
    gain: float


class Explanation(NamedTuple):
    """Why a decision is what it is.

    Attributes
    ----------
    decision, time
        Which one, and when it was made; decision is None where none was made.
    model
        Name and version.
    reason, propensity
        As in `scheduler.Decision`.
    sentences
        For an operator, the most important first.
    slate
        The nodes that serve.
    chosen, other
        The slate's first node, and the one that it is compared with: the best of those outside the slate, or after
        exploration the best of all. None where there is none.
    utility
        Of both, None where there is none.
    heads
        What the model predicts for both.
    parts
        What each feature adds to the difference of the two utilities, the largest first. They sum to that difference.
        Features that are equal for both nodes are left out: their part is exactly 0.
    flips
        With which single changes of its features the other node would win, the smallest first.
    candidates, dropped
        How many candidates there were, and how many each filter dropped.
    """

    decision: int | None
    time: float
    model: str
    reason: str
    propensity: float
    sentences: tuple[str, ...]
    slate: tuple[Id | None, ...]
    chosen: Id | None
    other: Id | None
    utility: tuple[float | None, float | None]
    heads: tuple[HeadPart, ...]
    parts: tuple[Part, ...]
    flips: tuple[Flip, ...]
    candidates: int
    dropped: dict[str, int]

    @property
    def headline(self) -> str:
        """The first sentence."""
        return self.sentences[0]

    def to_json(self) -> dict[str, Any]:
        """Return the same as dicts, lists and plain values."""
        return {"headline": self.headline, **as_json(self)}


class WhyNot(NamedTuple):
    """Why a node does not serve.

    Attributes
    ----------
    node
        Which one.
    stage
        Where it fell out, one of `scheduler.audit.why_not.STAGES`.
    sentences
        For an operator, the most important first.
    against
        The comparison of the chosen node with this one, where both have a utility.
    """

    node: Id
    stage: str
    sentences: tuple[str, ...]
    against: Explanation | None

    @property
    def headline(self) -> str:
        """The first sentence."""
        return self.sentences[0]

    def to_json(self) -> dict[str, Any]:
        """Return the same as dicts, lists and plain values."""
        return {"headline": self.headline, **as_json(self)}


class Outcome(NamedTuple):
    """What one way of deciding makes of a request.

    Attributes
    ----------
    model
        Name and version.
    slate
        The nodes.
    reason, propensity
        As in `scheduler.Decision`.
    utility
        Utilities of all candidates that were left, by node; None where one has none.
    heads
        Of the first node of the slate, by head.
    """

    model: str
    slate: tuple[Id | None, ...]
    reason: str
    propensity: float
    utility: dict[Id | None, float | None]
    heads: dict[str, float]


class WhatIf(NamedTuple):
    """The same request decided as it was and as it would be; ``changed`` says whether the slates differ."""

    decision: int
    changed: bool
    sentences: tuple[str, ...]
    before: Outcome
    after: Outcome

    @property
    def headline(self) -> str:
        """The first sentence."""
        return self.sentences[0]

    def to_json(self) -> dict[str, Any]:
        """Return the same as dicts, lists and plain values."""
        return {"headline": self.headline, **as_json(self)}


def as_json(value: object) -> Any:  # noqa: ANN401 - what JSON is made of
    """Return NamedTuples as dicts and tuples as lists."""
    if isinstance(value, tuple):
        names = getattr(value, "_fields", None)
        if names is not None:
            return {name: as_json(part) for name, part in zip(names, value, strict=True)}
        return [as_json(part) for part in value]
    if isinstance(value, dict):
        return {str(name): as_json(part) for name, part in value.items()}
    return value
