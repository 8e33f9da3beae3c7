"""Ring buffers that decisions and outcomes are appended to until a recorder takes them out.

Each ring has one producer and one consumer. The producer fills the row after the last one and raises the head; the
consumer reads rows up to the head and raises the tail. Neither waits for the other: where a ring is full, the producer
counts what it drops.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.decisions.arrays import DROP_FULL, DROPS

(THIN_HEAD, FULL_HEAD, POOL_HEAD, THIN_DROPPED, FULL_DROPPED, THIN_TAIL, FULL_TAIL, POOL_TAIL) = (
    0,
    1,
    2,
    3,
    4,
    16,
    17,
    18,
)
"""Words of a thread's marks. The producer writes the first ones and the consumer the last, in cache lines of their
own."""

(OUTCOME_HEAD, OUTCOME_DROPPED, OUTCOME_TAIL) = 0, 1, 16
"""Words of the marks of outcomes, likewise."""

N_MARKS: Final = 32

ADMITTED: Final = 0
"""Verdict on a candidate that no filter dropped; 1 + a drop code is that on one that was, see `DROPS`."""

TAKEN: Final = 1 + DROP_FULL
"""Verdict on a candidate whose uplink was all taken. It has scores if that happened after it was scored."""

PADDING: Final = 255
"""Verdict on a place of the candidate list that holds no node."""

OUTCOME_KINDS: Final = ("observed", "token", "learned")
(OBSERVED, TOKEN, LEARNED) = range(3)
"""Where an outcome came from: a decision of this scheduler, one of another by its token, or `Scheduler.learn`."""

NOT_RECORDED: Final = -1.0
"""In place of the share of decisions that are recorded in full: nothing is recorded."""


class ThinRows(NamedTuple):
    """One row a decision.

    Attributes
    ----------
    id, time, reason, propensity, dropped
        As in `DecisionArrays`, and when it was made.
    profile, is_full
        Number of the weight profile, and whether the decision is recorded in full too.
    client
        Slot of the client, -1 where it is not known.
    request_values, request_keys
        (rows, width) float64 and (rows, n_keys) uint64.
    slot
        (rows, places) int32 nodes of the slate, then of the alternatives; -1 where a place is empty.
    node_keys
        (rows * places, n_node_keys) uint64.
    values, utility
        (rows * places, n_heads) float32 and (rows, places) float64.
    features
        (rows, n_features) float32 of the first node; NaN where the origin serves.
    """

    id: NDArray[np.int64]
    time: NDArray[np.float64]
    reason: NDArray[np.uint8]
    propensity: NDArray[np.float64]
    dropped: NDArray[np.int32]
    profile: NDArray[np.int32]
    is_full: NDArray[np.bool_]
    client: NDArray[np.int32]
    request_values: NDArray[np.float64]
    request_keys: NDArray[np.uint64]
    slot: NDArray[np.int32]
    node_keys: NDArray[np.uint64]
    values: NDArray[np.float32]
    utility: NDArray[np.float64]
    features: NDArray[np.float32]


class FullRows(NamedTuple):
    """One row a decision that is recorded in full; see `FullRecord`.

    ``start`` and ``n_candidates`` say which rows of the pool its candidates take, ``end`` the pool's head after them.
    """

    id: NDArray[np.int64]
    time: NDArray[np.float64]
    explores: NDArray[np.bool_]
    profile: NDArray[np.int32]
    demand: NDArray[np.float64]
    request_values: NDArray[np.float64]
    request_keys: NDArray[np.uint64]
    x_request: NDArray[np.float32]
    position: NDArray[np.int32]
    propensity: NDArray[np.float64]
    reason: NDArray[np.uint8]
    dropped: NDArray[np.int32]
    start: NDArray[np.int64]
    n_candidates: NDArray[np.int64]
    end: NDArray[np.int64]


class PoolRows(NamedTuple):
    """Candidates of decisions that are recorded in full, those of one decision side by side; see `FullRecord`."""

    slot: NDArray[np.int32]
    node_keys: NDArray[np.uint64]
    verdict: NDArray[np.uint8]
    x_node: NDArray[np.float32]
    x_pair: NDArray[np.float32]
    raw: NDArray[np.float32]
    values: NDArray[np.float64]
    utility: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    n_outcomes: NDArray[np.float64]
    n_own_outcomes: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    capacity: NDArray[np.float64]
    load: NDArray[np.float64]
    free: NDArray[np.float64]
    price: NDArray[np.float64]


class RecordArrays(NamedTuple):
    """What one thread's decisions by one arm are appended to; without rows where nothing is recorded.

    ``marks`` is (N_MARKS,) int64, see `THIN_HEAD`; ``client`` is (1,) int64, the slot of the next request's client.
    """

    marks: NDArray[np.int64]
    client: NDArray[np.int64]
    thin: ThinRows
    full: FullRows
    pool: PoolRows


class OutcomeRows(NamedTuple):
    """Outcomes, each with all that history learns from.

    Attributes
    ----------
    marks
        (N_MARKS,) int64, see `OUTCOME_HEAD`.
    sequence
        How many outcomes the state had taken in with this one.
    decision
        Its id, -1 where it is not known.
    kind
        See `OUTCOME_KINDS`.
    slot, place
        Where the node stood in the fleet, -1 where that is not known, and in the slate.
    time
        Of arrival.
    request_keys, node_keys
        (rows, n_keys) uint64.
    outcomes
        (rows, n_outcomes) float32 in the order of `outcome_names`.
    """

    marks: NDArray[np.int64]
    sequence: NDArray[np.int64]
    decision: NDArray[np.int64]
    kind: NDArray[np.uint8]
    slot: NDArray[np.int32]
    place: NDArray[np.int32]
    time: NDArray[np.float64]
    request_keys: NDArray[np.uint64]
    node_keys: NDArray[np.uint64]
    outcomes: NDArray[np.float32]


class Widths(NamedTuple):
    """How wide the rows of an arm's decisions are."""

    request_values: int
    request_keys: int
    node_keys: int
    x_request: int
    x_node: int
    x_pair: int
    features: int
    heads: int
    raw: int
    places: int


class Sizes(NamedTuple):
    """How many rows rings have: decisions, decisions in full, candidates of these, and outcomes."""

    thin: int
    full: int
    pool: int
    outcomes: int


NO_ROWS: Final = Sizes(0, 0, 0, 0)


def new_records(w: Widths, sizes: Sizes) -> RecordArrays:
    """Return empty rings for one thread's decisions by one arm."""
    return RecordArrays(
        marks=np.zeros(N_MARKS, np.int64),
        client=np.full(1, -1, np.int64),
        thin=_thin_rows(w, sizes.thin),
        full=_full_rows(w, sizes.full),
        pool=_pool_rows(w, sizes.pool),
    )


def _thin_rows(w: Widths, n: int) -> ThinRows:
    return ThinRows(
        id=np.empty(n, np.int64),
        time=np.empty(n),
        reason=np.empty(n, np.uint8),
        propensity=np.empty(n),
        dropped=np.empty((n, len(DROPS)), np.int32),
        profile=np.empty(n, np.int32),
        is_full=np.empty(n, np.bool_),
        client=np.empty(n, np.int32),
        request_values=np.empty((n, w.request_values)),
        request_keys=np.empty((n, w.request_keys), np.uint64),
        slot=np.empty((n, w.places), np.int32),
        node_keys=np.empty((n * w.places, w.node_keys), np.uint64),
        values=np.empty((n * w.places, w.heads), np.float32),
        utility=np.empty((n, w.places)),
        features=np.empty((n, w.features), np.float32),
    )


def _full_rows(w: Widths, n: int) -> FullRows:
    return FullRows(
        id=np.empty(n, np.int64),
        time=np.empty(n),
        explores=np.empty(n, np.bool_),
        profile=np.empty(n, np.int32),
        demand=np.empty(n),
        request_values=np.empty((n, w.request_values)),
        request_keys=np.empty((n, w.request_keys), np.uint64),
        x_request=np.empty((n, w.x_request), np.float32),
        position=np.empty((n, w.places), np.int32),
        propensity=np.empty(n),
        reason=np.empty(n, np.uint8),
        dropped=np.empty((n, len(DROPS)), np.int32),
        start=np.empty(n, np.int64),
        n_candidates=np.empty(n, np.int64),
        end=np.empty(n, np.int64),
    )


def _pool_rows(w: Widths, n: int) -> PoolRows:
    return PoolRows(
        slot=np.empty(n, np.int32),
        node_keys=np.empty((n, w.node_keys), np.uint64),
        verdict=np.empty(n, np.uint8),
        x_node=np.empty((n, w.x_node), np.float32),
        x_pair=np.empty((n, w.x_pair), np.float32),
        raw=np.empty((n, w.raw), np.float32),
        values=np.empty((n, w.heads)),
        utility=np.empty(n),
        uncertainty=np.empty(n),
        n_outcomes=np.empty(n),
        n_own_outcomes=np.empty(n),
        is_new=np.empty(n, np.bool_),
        capacity=np.empty(n),
        load=np.empty(n),
        free=np.empty(n),
        price=np.empty(n),
    )


def new_outcome_rows(request_keys: int, node_keys: int, outcomes: int, n: int) -> OutcomeRows:
    """Return an empty ring for ``n`` outcomes."""
    return OutcomeRows(
        marks=np.zeros(N_MARKS, np.int64),
        sequence=np.empty(n, np.int64),
        decision=np.empty(n, np.int64),
        kind=np.empty(n, np.uint8),
        slot=np.empty(n, np.int32),
        place=np.empty(n, np.int32),
        time=np.empty(n),
        request_keys=np.empty((n, request_keys), np.uint64),
        node_keys=np.empty((n, node_keys), np.uint64),
        outcomes=np.empty((n, outcomes), np.float32),
    )
