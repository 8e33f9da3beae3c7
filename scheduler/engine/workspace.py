"""Arrays that a decision works in and comes out in, sized for a model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import ColumnArrays
from scheduler.decisions.arrays import DROPS, DecisionArrays
from scheduler.decisions.record.arrays import RecordArrays, Sizes, Widths, new_records
from scheduler.engine.arrays import RequestArrays, Workspace
from scheduler.features.arrays import PairWork
from scheduler.model.model import Model
from scheduler.policy.arrays import CandidateArrays
from scheduler.retrieval.arrays import RetrievalWork
from scheduler.spec import Policy


class CallBuffers(NamedTuple):
    """The part of a `Workspace` that is the same for any number of candidates."""

    retrieval: RetrievalWork
    carried: RequestArrays
    found: NDArray[np.int32]
    out: DecisionArrays
    records: RecordArrays


def new_rings(model: Model, sizes: Sizes) -> RecordArrays:
    """Return empty rings for one thread's decisions by a model."""
    features, policy, heads = model.features, model.spec.policy, len(model.heads)
    program = features.program
    widths = Widths(
        request_values=features.request.width,
        request_keys=features.request.n_keys,
        node_keys=features.node.n_keys,
        x_request=program.request.size,
        x_node=program.node.size,
        x_pair=program.pair.size,
        features=len(features.names),
        heads=heads,
        raw=n_raw(policy, heads),
        places=policy.max_nodes + policy.alternatives,
    )
    return new_records(widths, sizes)


def n_raw(policy: Policy, n_heads: int) -> int:
    """Return how many raw scores a candidate has: with the variances of leaves twice as many."""
    return 2 * n_heads if policy.uncertainty_source == "leaves" else n_heads


def new_workspace(model: Model, n: int, kept: CallBuffers) -> Workspace:
    """Return scratch arrays for up to ``n`` candidates, and what is kept."""
    program, heads, forest, policy = model.features.program, len(model.heads), model.forest, model.spec.policy
    columns = model.features.request
    look_ups = program.n_parts.size + len(program.models) + 1
    return Workspace(
        candidates=new_candidates(policy, heads, n),
        x_request=np.empty(program.request.size, np.float32),
        x_node=np.empty(program.node.size, np.float32),
        x_pair=np.empty((n, program.pair.size), np.float32),
        pair=PairWork(
            keys=np.empty(n, np.uint64),
            found=np.empty((look_ups, n), np.int64),
            sought=np.zeros(look_ups, np.bool_),
            x=np.empty(n),
            y=np.empty(n),
        ),
        request_row=np.empty(forest.words, np.uint64),
        forest=forest.work(),
        x_outcome=np.empty(len(model.spec.history.values)),
        request=ColumnArrays(np.empty((1, columns.width)), np.empty((1, columns.n_keys), np.uint64)),
        **kept._asdict(),
    )


def new_candidates(policy: Policy, n_heads: int, n: int) -> CandidateArrays:
    """Return arrays for up to ``n`` candidates of a policy over ``n_heads`` heads."""
    return CandidateArrays(
        position=np.empty(n, np.int32),
        slot=np.empty(n, np.int32),
        row=np.empty(n, np.int32),
        verdict=np.empty(n, np.uint8),
        raw=np.empty((n, n_raw(policy, n_heads)), np.float32),
        values=np.empty((n, n_heads)),
        utility=np.empty(n),
        uncertainty=np.zeros(n),
        standard_error=np.empty(n),
        n_outcomes=np.empty(n),
        n_own_outcomes=np.empty(n),
        capacity=np.empty(n),
        load=np.empty(n),
        price=np.empty(n),
        free=np.empty(n),
        is_new=np.zeros(n, np.bool_),
        feasible=np.empty(n, np.bool_),
        probability=np.empty(n),
        spare_utility=np.empty(n),
        slate=np.empty(policy.max_nodes, np.int32),
        ranked=np.empty(n if policy.spread else policy.max_nodes, np.int32),
        alternatives=np.empty(policy.alternatives, np.int32),
        contenders=np.empty(n, np.int32),
        log_below=np.empty(n),
        log_above=np.empty(n),
    )


def new_outputs(model: Model, n: int) -> DecisionArrays:
    """Return room for ``n`` decisions."""
    policy, heads = model.spec.policy, len(model.heads)
    places = policy.max_nodes + policy.alternatives
    return DecisionArrays(
        id=np.empty(n, np.int64),
        position=np.empty((n, places), np.int32),
        values=np.empty((n, places, heads)),
        utility=np.empty((n, places)),
        propensity=np.empty(n),
        reason=np.empty(n, np.uint8),
        dropped=np.empty((n, len(DROPS)), np.int32),
    )
