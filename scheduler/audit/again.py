"""Decide a recorded request once more, from the record alone, under any model and policy of the same features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.kernels.again import choose_again
from scheduler.audit.recorded import candidates_left
from scheduler.columns.arrays import ColumnArrays
from scheduler.decisions.arrays import DecisionArrays
from scheduler.decisions.record.values import FullRecord
from scheduler.engine.workspace import new_candidates, new_outputs
from scheduler.errors import InputError
from scheduler.forest.kernels import score as forest_kernels
from scheduler.model.kernels.calibrate import calibrate
from scheduler.model.kernels.offsets import add_offsets
from scheduler.model.model import Model
from scheduler.policy.arrays import CandidateArrays, PolicyArrays
from scheduler.policy.compile import compile_policy
from scheduler.policy.kernels.utility import profile


class Again(NamedTuple):
    """A decision made once more.

    Attributes
    ----------
    candidates
        (n,) places of the candidates that were left, in their order.
    values, utility
        (n, n_heads) and (n,) of those.
    feasible
        (n,) bool, whether a slate that begins with one covers the demand.
    probability
        (n,) with which each is drawn for the first place.
    out
        The decision.
    """

    candidates: NDArray[np.intp]
    values: NDArray[np.float64]
    utility: NDArray[np.float64]
    feasible: NDArray[np.bool_]
    probability: NDArray[np.float64]
    out: DecisionArrays


def decide_again(record: FullRecord, model: Model) -> Again:
    """Decide a recorded request under a model and its policy: rows scored anew, the same draw, the same free uplink.

    Parameters
    ----------
    record
        Its rows are in the order of the model's features.
    model
        Scores and decides.
    """
    policy, left = compile_policy(model), candidates_left(record)
    p = profile_of(record, policy)
    candidates, out = new_candidates(model.spec.policy, len(model.heads), max(left.size, 1)), new_outputs(model, 1)
    _clear(record, out)
    if left.size:
        _fill(record, left, candidates)
        rescore(record, model, left, candidates)
    explores = record.explores or model.spec.policy.budget >= 1.0
    keys, n = np.ascontiguousarray(record.node_keys), left.size
    choose_again(policy, keys, p, n, record.demand, explores, record.draw, candidates, out)
    if n == 0:
        candidates.feasible[:] = False
    scores = candidates.values[:n], candidates.utility[:n], candidates.feasible[:n], candidates.probability[:n]
    return Again(left, *scores, out)


def profile_of(record: FullRecord, policy: PolicyArrays) -> int:
    """Return the number of the weight profile that the recorded request meets under a policy."""
    rows = ColumnArrays(
        np.ascontiguousarray(record.request_values[None]), np.ascontiguousarray(record.request_keys[None])
    )
    return int(profile(policy, rows, 0))


def rescore(record: FullRecord, model: Model, left: NDArray[np.intp], candidates: CandidateArrays) -> None:
    """Write raw scores and values of the candidates ``left``, as the kernels of a decision do."""
    forest = model.forest
    request, rows = forest.request_row(record.x_request), forest.node_rows(record.x_node[left])
    raw, n = candidates.raw, left.size
    forest_kernels.score(
        forest.mask_tables,
        request,
        rows,
        np.arange(n, dtype=np.int32),
        np.ascontiguousarray(record.x_pair[left]),
        forest.work(),
        raw[:n],
    )
    add_offsets(model.offsets, record.x_request, np.ascontiguousarray(record.x_pair[left]), raw[:n])
    calibrate(model.calibration, raw[:n], np.empty(n), candidates.values[:n])


def _fill(record: FullRecord, left: NDArray[np.intp], candidates: CandidateArrays) -> None:
    candidates.position[:] = candidates.slot[:] = left
    for name in ("n_outcomes", "n_own_outcomes", "capacity", "load", "price", "free"):
        getattr(candidates, name)[:] = getattr(record, name)[left]


def _clear(record: FullRecord, out: DecisionArrays) -> None:
    out.id[0], out.propensity[0] = record.id, 1.0
    out.position[0], out.utility[0], out.values[0] = -1, np.nan, np.nan
    out.dropped[0] = record.dropped
    out.dropped[0, -1] = 0  # spread limits are counted anew


def check_known(record: FullRecord, model: Model, by: Model) -> None:
    """Raise `InputError` if another policy needs what the record does not have, because its own did not need it.

    Parameters
    ----------
    record, model
        The record, and the model with the policy that made it.
    by
        The model with the other policy.
    """
    left = candidates_left(record)
    columns = {
        "load": record.load,
        "prices": record.price,
        "counts of outcomes": record.n_outcomes,
        "counts of each node's outcomes": record.n_own_outcomes,
    }
    for name in _needs(record, by) - _needs(record, model):
        if left.size and np.isnan(columns[name][left]).all():
            message = (
                f"spec {by.spec.name}: expected a policy that needs what was recorded, found one that needs {name}, "
                f"which decision {record.id} was made without"
            )
            raise InputError(message)


def _needs(record: FullRecord, model: Model) -> set[str]:
    """Return what a model's policy reads of the candidates besides their scores."""
    policy = compile_policy(model)
    p = profile_of(record, policy)
    needed = {
        "load": policy.load[p] != 0.0,
        "prices": policy.price >= 0 and policy.price_weight[p] != 0.0,
        "counts of outcomes": policy.count_key >= 0,
        "counts of each node's outcomes": policy.newcomer_key >= 0,
    }
    return {name for name, is_needed in needed.items() if is_needed}
