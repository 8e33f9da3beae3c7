"""Predict by simple statistics of a node, and of a client and it: running frequencies and means, Kaplan-Meier curves.

Running statistics keep learning while they are judged, from what is known at each sighting, as the model's history
does. Groups with few rows are shrunk towards coarser ones; the strength is chosen on rows before the judged ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from lifelines import KaplanMeierFitter
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Loss: TypeAlias = Callable[[Floats, Floats], float]

STRENGTHS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
"""How many rows a coarser group's mean may count for in a finer one's."""

FEWEST = 30
"""Sightings a group needs for a Kaplan-Meier curve of its own; the others take that of all."""


class Stream(NamedTuple):
    """Rows in any order: what each adds to the statistics, when it does, and the target to predict.

    Attributes
    ----------
    at
        (n,) number of the row's snapshot.
    value
        (n,) what the row adds; NaN adds nothing.
    lag
        Snapshots after its own at which the row is added; 0 if it is known at once.
    target
        (n,) target, NaN if there is nothing to predict.
    past
        (n,) bool, rows on which strengths are chosen.
    """

    at: Ints
    value: Floats
    lag: int
    target: Floats
    past: NDArray[np.bool_]


class Groups(NamedTuple):
    """What rows share: (n,) category numbers by name of the column, and numbers of nodes and of clients, 0 or more."""

    categories: Mapping[str, Ints]
    node: Ints
    client: Ints


def running_means(stream: Stream, groups: Groups, loss: Loss, start: float = 0.5) -> dict[str, Floats]:
    """Predict each row by the means of all known rows, of those that share a category, a node, or client and node.

    Parameters
    ----------
    loss
        Loss of predictions and targets. Its minimum on the past rows decides how strongly a group's mean is shrunk
        towards that of all rows, and towards which of the coarser means that of a node, or of a pair, is shrunk.
    start
        Prediction before anything is known.

    Returns
    -------
    dict
        (n,) predictions as ``global``, under the name of each column, as ``node``, and as ``pair`` where there is more
        than one client.
    """
    n, total = known(stream, np.zeros(stream.at.size, np.int64))
    found = {"global": np.divide(total, n, out=np.full(total.size, start), where=n > 0)}
    for name, group in groups.categories.items():
        found[name] = _drawn(stream, group, [found["global"]], loss)
    found["node"] = _drawn(stream, groups.node, list(found.values()), loss)
    if np.unique(groups.client).size > 1:
        pair = groups.node * (groups.client.max() + 1) + groups.client
        found["pair"] = _drawn(stream, pair, list(found.values()), loss)
    return found


def _drawn(stream: Stream, key: Ints, coarser: list[Floats], loss: Loss) -> Floats:
    n, total = known(stream, key)
    judged = stream.past & ~np.isnan(stream.target)
    choices = [(mean, k) for mean in coarser for k in STRENGTHS]
    losses = [
        loss(((total + k * mean) / (n + k))[judged], stream.target[judged]) if judged.any() else k
        for mean, k in choices
    ]
    mean, k = choices[int(np.argmin(losses))]
    return (total + k * mean) / (n + k)


def known(stream: Stream, key: Ints) -> tuple[Ints, Floats]:
    """Return for each row how many values of its key are known at it, and their sum."""
    measured = np.flatnonzero(~np.isnan(stream.value))
    measured = measured[np.lexsort((stream.at[measured], key[measured]))]
    span = int(stream.at.max()) + 2
    codes = key[measured] * span + stream.at[measured] + 1
    sums = np.concatenate([[0.0], np.cumsum(stream.value[measured])])
    first = np.searchsorted(codes, key * span, "left")
    stop = np.searchsorted(codes, key * span + np.maximum(stream.at - stream.lag + 1, 0), "right")
    return stop - first, sums[stop] - sums[first]


class Gaps(NamedTuple):
    """Sightings of the past: snapshots until the next one, or (not ``seen``) until the past ends."""

    duration: Ints
    seen: NDArray[np.bool_]


def kaplan_meier(gaps: Gaps, horizon: int, group: Ints | None = None) -> Callable[[NDArray[Any]], Floats]:
    """Return the probability of a next sighting within a horizon by group number, from Kaplan-Meier curves.

    The product-limit estimator (Kaplan, Meier, JASA 1958) uses sightings whose horizon had not ended too: they say
    that the node was not seen until then.

    Parameters
    ----------
    group
        (n,) group numbers of the sightings; None for one curve.
    """
    whole = _within(gaps, horizon)
    if group is None:
        return lambda asked: np.full(asked.size, whole)
    by_group = {
        int(number): _within(Gaps(gaps.duration[group == number], gaps.seen[group == number]), horizon)
        for number, count in zip(*np.unique(group, return_counts=True), strict=True)
        if count >= FEWEST
    }
    return lambda asked: np.array([by_group.get(int(number), whole) for number in asked])


def _within(gaps: Gaps, horizon: int) -> float:
    fitted = KaplanMeierFitter().fit(gaps.duration, event_observed=gaps.seen)
    return 1.0 - float(fitted.predict(horizon))
