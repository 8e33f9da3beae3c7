"""What a decision kernel is handed: the state, the workspace of a thread and the request."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import ColumnArrays
from scheduler.decisions.arrays import DecisionArrays, DecisionCounts, DecisionLog
from scheduler.decisions.record.arrays import OutcomeRows, RecordArrays
from scheduler.features.arrays import FeatureProgram, PairWork
from scheduler.fleet.arrays import FleetArrays
from scheduler.forest.arrays import ForestWork, MaskTables
from scheduler.history.arrays import HistoryArrays, Tracked
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.retrieval.arrays import IndexArrays, RetrievalWork


class RequestArrays(NamedTuple):
    """What one request carries; the rest is taken from its client.

    Attributes
    ----------
    values, keys
        (width,) float64 and (n_keys,) uint64, as in `ColumnArrays`.
    is_set
        (width + n_keys,) uint8, 1 for each of the values, then of the keys, that the request carries.
    """

    values: NDArray[np.float64]
    keys: NDArray[np.uint64]
    is_set: NDArray[np.uint8]


class Workspace(NamedTuple):
    """Scratch arrays of one decision, by candidate, and memory for one request; each decision overwrites them.

    Attributes
    ----------
    candidates
        The candidates left, and the slate in the making.
    x_request, x_node, x_pair
        (n_request,), (n_node,), (n, n_pair) float32 features.
    pair
        Scratch of the pair features.
    request_row
        (words,) uint64.
    forest
        Scratch of the forest's own kernel.
    x_outcome
        (n_values,) float64, the tracked values of one outcome.
    retrieval
        Scratch of retrieval.
    carried
        What a request that is decided by itself carries.
    request, found, out
        One row each: that request over what is known of its client, (1, n_candidates) int32 slots of its candidates,
        and its decision.
    records
        Where decisions are appended to for a recorder.
    """

    candidates: CandidateArrays
    x_request: NDArray[np.float32]
    x_node: NDArray[np.float32]
    x_pair: NDArray[np.float32]
    pair: PairWork
    request_row: NDArray[np.uint64]
    forest: ForestWork
    x_outcome: NDArray[np.float64]
    retrieval: RetrievalWork
    carried: RequestArrays
    request: ColumnArrays
    found: NDArray[np.int32]
    out: DecisionArrays
    records: RecordArrays


class StateArrays(NamedTuple):
    """What the scheduler knows of the world, as kernels see it; nothing of it depends on a model or a policy.

    ``program`` computes history keys. ``locks`` is (N_WORDS,) int64, see `MUTEX`. Of what decisions change, all except
    the next id is under its mutex. ``clock`` is (1,) float64, the latest time of any call in seconds. ``full_rate`` is
    the share of decisions that are recorded in full, `NOT_RECORDED` if none is recorded at all, and ``outcomes`` where
    outcomes are appended to for a recorder.
    """

    program: FeatureProgram
    fleet: FleetArrays
    history: HistoryArrays
    log: DecisionLog
    locks: NDArray[np.int64]
    clock: NDArray[np.float64]
    seed: int
    postings: IndexArrays
    clients: ColumnArrays
    tracked: Tracked
    full_rate: float
    outcomes: OutcomeRows


class ArmArrays(NamedTuple):
    """How one model decides, as kernels see it.

    Attributes
    ----------
    program
        Computes features, with the model's categories.
    mask_tables
        The forest.
    policy
        How head values become a choice.
    node_rows
        (slots, node_words) uint64, the forest's row of each node.
    counts
        Counts the decisions.
    """

    program: FeatureProgram
    mask_tables: MaskTables
    policy: PolicyArrays
    node_rows: NDArray[np.uint64]
    counts: DecisionCounts
