"""Decisions and the decision log as kernels see them: arrays, reason codes, drop codes and counters."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

(BEST, EXPLORED, ORIGIN_NO_CANDIDATES, ORIGIN_ALL_DROPPED, ORIGIN_NO_UPLINK) = range(5)

REASONS: Final = ("best", "explored", "origin:no_candidates", "origin:all_dropped", "origin:no_uplink")
"""Why a decision is what it is, by code."""

(DROP_SILENT, DROP_QUARANTINED, DROP_FULL, DROP_BLOCKED, DROP_SPREAD) = range(5)

DROPS: Final = ("silent", "quarantined", "full", "blocked", "spread")
"""Why a filter dropped a candidate: its heartbeat is overdue, it is set aside, its uplink is taken, the request does
not want it; the first that holds counts. Or a spread limit kept it out of the slate."""

(
    NEXT,
    NEXT_HOLD,
    N_OUTCOMES,
    N_EXPIRED,
    N_FORGOTTEN,
    N_EXPLORED,
    FIRST_ID,
    FIRST_NUMBER,
    N_LEARNED,
) = range(9)
"""Counters of a decision log: number of the next decision, first number whose hold was not checked, outcomes seen,
reservations that expired, decisions overwritten before all their outcomes came, decisions for another than the best;
then an id and the number that it belongs to, from which on ids are counted; and outcomes of decisions that were made
elsewhere."""

EARLIER_LIVES: Final = 8
"""Restarts and forks before the present life whose ids of decisions are still known."""

NO_ID: Final = 2**63 - 1
"""First id of an earlier life that there was not: no decision comes so far."""

OPEN, ANSWERED, SPARE = 1, 2, 3
"""State of a node of a decision: in the slate and waiting for its outcome, answered, or an alternative, of which an
outcome may come; 0 is none."""

CLAIMED: Final = 4
"""Added to the state of a node whose outcome is among many that are taken in part by part: others wait for them."""

LEAST_LATENCY: Final = 1 << 10
"""Upper bound of the first bucket of latencies in nanoseconds: a microsecond, in which nothing is decided."""

N_LATENCIES: Final = 41
"""Bounds of buckets, two an octave: 1.0, 1.5, 2.0, 3.1, 4.1, ... us, up to 2**30 ns, which is about a second."""

(UNKNOWN, FROM_ORIGIN, NO_NODE, NOT_CHOSEN, ANSWERED_BEFORE, CLAIMED_BEFORE) = range(-1, -7, -1)
"""Why an outcome is refused: the decision is not remembered; the origin serves; the slate has several nodes and none is
named; the node is not one of the decision; its outcome is known; or it is `CLAIMED`. Negative, where a place in the log
would stand."""


class DecisionLog(NamedTuple):
    """The last decisions, in a ring: the decision with a number stands in row ``number % size``.

    Attributes
    ----------
    id, time, length
        (size,) int64, float64 and int32: the decision, when it was made, and how many nodes its slate has.
    request_keys
        (size, n_keys) uint64, what history needs to learn from the outcome.
    node_keys
        (size * places, n_keys) uint64, likewise; a decision's slate comes first, then its alternatives.
    slot, generation, state, held
        (size, places): where the node stood, which node it was, see `OPEN`, kbit/s reserved.
    counters
        (9,) int64, see `NEXT`.
    earlier
        (EARLIER_LIVES, 2) int64: an id and its number, from which on ids were counted before, the latest life first;
        `NO_ID` where there was none.
    """

    id: NDArray[np.int64]
    time: NDArray[np.float64]
    length: NDArray[np.int32]
    request_keys: NDArray[np.uint64]
    node_keys: NDArray[np.uint64]
    slot: NDArray[np.int32]
    generation: NDArray[np.int32]
    state: NDArray[np.int8]
    held: NDArray[np.float64]
    counters: NDArray[np.int64]
    earlier: NDArray[np.int64]


class DecisionArrays(NamedTuple):
    """What decisions come out as; row ``i`` belongs to request ``i``.

    Attributes
    ----------
    id
        (n,) int64.
    position
        (n, places) int32, places in the candidate list: of the slate, -1 past its end, and from place max_nodes on of
        the alternatives, likewise.
    values
        (n, places, n_heads) float64, calibrated head values of both.
    utility
        (n, places) float64.
    propensity
        (n,) float64, probability with which this slate was drawn.
    reason
        (n,) uint8, see `REASONS`.
    dropped
        (n, len(DROPS)) int32.
    """

    id: NDArray[np.int64]
    position: NDArray[np.int32]
    values: NDArray[np.float64]
    utility: NDArray[np.float64]
    propensity: NDArray[np.float64]
    reason: NDArray[np.uint8]
    dropped: NDArray[np.int32]


class DecisionCounts(NamedTuple):
    """What the decisions of one version of the model came to; changed under the mutex, read at any time.

    Attributes
    ----------
    reasons
        (len(REASONS),) int64, decisions by reason.
    dropped
        (len(DROPS),) int64, candidates that were dropped, by reason.
    latencies
        (N_LATENCIES + 1,) int64, decisions by how long they took; the last ones took longer than all bounds.
    nanoseconds
        (1,) int64, how long all took.
    """

    reasons: NDArray[np.int64]
    dropped: NDArray[np.int64]
    latencies: NDArray[np.int64]
    nanoseconds: NDArray[np.int64]
