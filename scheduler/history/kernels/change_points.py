"""Estimate when all values of a group last changed at once: online detection of change points.

A group may be a client; its members are then the pairs of that client with each node. Only repeated measurements are
informative: if a member's value differs from its previous one, a change lies between the two outcomes; if it is the
same, a change is less likely. A group's state is the probability that its last change lies in each of the latest spans
of time. Every outcome updates it, as in Bayesian online change point detection (Adams and MacKay, arXiv:0710.3742,
2007); the likelihood of a repeated value takes the place of a model of values. The time between changes is Weibull
distributed with the median ``length``. The larger ``shape``, the more regular it is; with 1 a change is equally likely
at any age.
"""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.history.arrays import LARGEST, TIME_FLOATS
from scheduler.history.change_point_arrays import (
    CHANGE_POINT_AGE,
    CHANGE_POINT_FRESH,
    LENGTH,
    SAME,
    SPANS,
    SPANS_A_LENGTH,
    SURPRISE,
    TOLERANCE,
    ChangePointArrays,
)
from scheduler.history.kernels.hash_table import claim
from scheduler.runtime.jit import inlined, kernel


@inlined
def _power(x: float, n: int) -> float:
    total = 1.0
    for _ in range(n):
        total *= x
    return total


@inlined
def _middle(change_points: ChangePointArrays, slot: int, span: int) -> float:
    """Return the middle of a span, or the end of the first span, which has no beginning."""
    edges = change_points.edges[slot]
    return edges[span] if span == 0 else edges[span - 1] + 0.5 * (edges[span] - edges[span - 1])


@inlined
def _lasts(change_points: ChangePointArrays, g: int, began: float, so_far: float, now: float) -> float:
    """Return the probability that a group without a change up to ``so_far`` has none up to ``now``."""
    length, shape = change_points.numbers[g, LENGTH], change_points.shape[g]
    gone = _power(max(now - began, 0.0) / length, shape) - _power(max(so_far - began, 0.0) / length, shape)
    return np.exp2(-max(gone, 0.0)) if gone < LARGEST else 0.0  # false for NaN, if both are infinite


@inlined
def _after(change_points: ChangePointArrays, slot: int, span: int, time: float) -> float:
    """Return the share of a span that lies after a time."""
    end = change_points.edges[slot, span]
    if end <= time:
        return 0.0
    width = end - change_points.edges[slot, span - 1] if span > 0 else 0.0
    return min((end - time) / width, 1.0) if width > 0.0 else 1.0


@inlined
def part(change_points: ChangePointArrays, g: int, which: int, slot: int, seen: float, now: float) -> float:
    """Return an estimate about a group's last change; NaN if nothing is known.

    Parameters
    ----------
    which
        `CHANGE_POINT_FRESH`, the probability of no change between a member's last outcome and the group's last one;
        `CHANGE_POINT_AGE`, the expected seconds since the last change; `CHANGE_POINT_ENDED`, the probability of a
        change since the group's last outcome.
    slot
        -1 if the table does not hold the group.
    seen
        Time of the member's last outcome, NaN if there is none; for `CHANGE_POINT_FRESH` alone.
    """
    if slot < 0 or (which == CHANGE_POINT_FRESH and np.isnan(seen)):
        return np.nan
    chances = change_points.rows[slot]
    if which == CHANGE_POINT_FRESH:
        evicted, span = 0.0, SPANS - 1
        while span >= 0 and change_points.edges[slot, span] > seen:
            evicted += chances[TIME_FLOATS + span] * _after(change_points, slot, span, seen)
            span -= 1
        return max(1.0 - evicted, 0.0)
    total, now = 0.0, max(now, change_points.seen[slot])
    for span in range(SPANS):
        chance = np.float64(chances[TIME_FLOATS + span])
        if chance > 0.0:
            began = _middle(change_points, slot, span)
            if which == CHANGE_POINT_AGE:
                total += chance * (now - began)
            else:
                total += chance * (1.0 - _lasts(change_points, g, began, change_points.seen[slot], now))
    return total


@kernel
def update(
    change_points: ChangePointArrays, g: int, group: np.uint64, x: float, last: float, seen: float, now: float
) -> None:
    """Update a group of kind ``g`` by a member's value; changes the table.

    Nothing changes if the value was not measured or the group's key is missing.

    Parameters
    ----------
    x, last
        The member's value, and its previous value, NaN if there is none.
    seen
        Time of the previous value.
    now
        Arrival of the outcome in seconds. An outcome older than the group's last one counts as if it had the same time.
    """
    if np.isnan(x) or group == np.uint64(MISSING_KEY):
        return
    slot = claim(change_points, group, now)
    if change_points.rows[slot, TIME_FLOATS + SPANS] == 0.0:
        _begin(change_points, slot, now)
        return
    now = max(now, change_points.seen[slot])
    if now > change_points.seen[slot]:
        _advance(change_points, g, slot, now)
    if not np.isnan(last):
        _weigh(change_points, g, slot, abs(x - last) > change_points.numbers[g, TOLERANCE], seen)


@inlined
def _begin(change_points: ChangePointArrays, slot: int, now: float) -> None:
    """Start a group: its last change lies before now."""
    for span in range(SPANS):
        change_points.edges[slot, span] = now
    change_points.rows[slot, TIME_FLOATS + SPANS - 1] = 1.0
    change_points.rows[slot, TIME_FLOATS + SPANS] = 1.0
    change_points.seen[slot] = now


@inlined
def _advance(change_points: ChangePointArrays, g: int, slot: int, now: float) -> None:
    """Advance a group's probabilities to now: a change may have come since they were computed."""
    chances, edges, before = change_points.rows[slot], change_points.edges[slot], change_points.seen[slot]
    new = 0.0
    for span in range(SPANS):
        chance = np.float64(chances[TIME_FLOATS + span])
        if chance > 0.0:
            left = _lasts(change_points, g, _middle(change_points, slot, span), before, now)
            new += chance * (1.0 - left)
            chances[TIME_FLOATS + span] = chance * left
    width = change_points.numbers[g, LENGTH] / SPANS_A_LENGTH
    if np.floor(now / width) > np.floor(edges[SPANS - 1] / width):
        chances[TIME_FLOATS + 1] += chances[TIME_FLOATS]
        for span in range(SPANS - 1):
            chances[TIME_FLOATS + span] = chances[TIME_FLOATS + span + 1]
            edges[span] = edges[span + 1]
        chances[TIME_FLOATS + SPANS - 1] = 0.0
    chances[TIME_FLOATS + SPANS - 1] += new
    edges[SPANS - 1] = now
    change_points.seen[slot] = now


@inlined
def _weigh(change_points: ChangePointArrays, g: int, slot: int, changed: bool, seen: float) -> None:
    """Weight each span by the likelihood that a member's value changed, or did not, since it was seen."""
    chances, same = change_points.rows[slot], change_points.numbers[g, SAME]
    total = 0.0
    for span in range(SPANS):
        after = _after(change_points, slot, span, seen)
        likely = after * (1.0 - same) + (1.0 - after) * SURPRISE if changed else after * same + 1.0 - after
        chances[TIME_FLOATS + span] *= likely
        total += chances[TIME_FLOATS + span]
    for span in range(SPANS):
        chances[TIME_FLOATS + span] /= total
