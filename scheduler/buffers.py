"""Arrays that a decision works in and comes out in, sized for a model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.layout import (
    DROPS,
    DecisionArrays,
    Entity,
    PairWork,
    QuestionArrays,
    ReportArrays,
    RetrievalWork,
    Workspace,
)
from scheduler.model import Model


class Kept(NamedTuple):
    """The part of a `Workspace` that is the same for any number of candidates."""

    retrieval: RetrievalWork
    question: QuestionArrays
    found: NDArray[np.int32]
    out: DecisionArrays
    report: ReportArrays


def new_workspace(model: Model, n: int, kept: Kept) -> Workspace:
    """Return scratch arrays for up to ``n`` candidates, and what is kept."""
    program, heads, forest, policy = model.features.program, len(model.heads), model.forest, model.spec.policy
    columns = model.features.request
    look_ups = program.n_parts.size + len(program.models)
    return Workspace(
        position=np.empty(n, np.int32),
        slot=np.empty(n, np.int32),
        able=np.empty(n, np.bool_),
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
        raw=np.empty((n, 2 * heads if policy.doubts == "leaves" else heads), np.float32),
        values=np.empty((n, heads)),
        utility=np.empty(n),
        chance=np.empty(n),
        doubt=np.zeros(n),
        is_new=np.zeros(n, np.bool_),
        slate=np.empty(policy.max_nodes, np.int32),
        leading=np.empty(n if policy.spread else policy.max_nodes, np.int32),
        spare=np.empty(policy.alternatives, np.int32),
        x_outcome=np.empty(len(model.spec.history.values)),
        request=Entity(np.empty((1, columns.width)), np.empty((1, columns.n_keys), np.uint64)),
        **kept._asdict(),
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
