"""Arrays that a decision works in and comes out in, sized for a model."""

from __future__ import annotations

import numpy as np

from scheduler.layout import DROPS, DecisionArrays, Workspace
from scheduler.model import Model


def new_workspace(model: Model, n: int) -> Workspace:
    """Return scratch arrays for up to ``n`` candidates."""
    program, heads, forest = model.features.program, len(model.heads), model.forest
    return Workspace(
        position=np.empty(n, np.int32),
        slot=np.empty(n, np.int32),
        able=np.empty(n, np.bool_),
        x_request=np.empty(program.request.size, np.float32),
        x_node=np.empty(program.node.size, np.float32),
        x_pair=np.empty((n, program.pair.size), np.float32),
        request_row=np.empty(forest.words, np.uint64),
        forest=forest.work(),
        raw=np.empty((n, heads), np.float32),
        values=np.empty((n, heads)),
        utility=np.empty(n),
        chance=np.empty(n),
        slate=np.empty(model.spec.policy.max_nodes, np.int32),
        leading=np.empty(model.spec.policy.max_nodes, np.int32),
        x_outcome=np.empty(len(model.spec.history.values)),
    )


def new_outputs(model: Model, n: int) -> DecisionArrays:
    """Return room for ``n`` decisions: each an empty slate, certain, with nothing dropped."""
    slate, heads = model.spec.policy.max_nodes, len(model.heads)
    return DecisionArrays(
        id=np.empty(n, np.int64),
        position=np.full((n, slate), -1, np.int32),
        values=np.full((n, slate, heads), np.nan),
        utility=np.full((n, slate), np.nan),
        propensity=np.ones(n),
        reason=np.empty(n, np.uint8),
        dropped=np.zeros((n, len(DROPS)), np.int32),
    )
