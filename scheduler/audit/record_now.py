"""A full record of a decision that is not made: what would be decided now, with nothing reserved or logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.kernels.verdicts import find_verdicts
from scheduler.columns.arrays import ColumnArrays
from scheduler.columns.ids import Id
from scheduler.decisions.arrays import DROPS, DecisionArrays
from scheduler.decisions.counts import new_counts
from scheduler.decisions.decision_log import DecisionRing
from scheduler.decisions.record.arrays import ADMITTED, NOT_RECORDED
from scheduler.decisions.record.values import FullRecord
from scheduler.engine import engine
from scheduler.engine.arm import Arm
from scheduler.engine.arrays import StateArrays, Workspace
from scheduler.engine.request import candidate_slots
from scheduler.engine.state import State
from scheduler.engine.workspace import new_candidates
from scheduler.features.kernels.operations import fill_candidates
from scheduler.model.model import Model
from scheduler.policy.kernels.utility import profile
from scheduler.runtime.packed_arrays import PackedArrays
from scheduler.runtime.random import DRAW_NODE, uniform


class Request(NamedTuple):
    """One request as `Scheduler.decide` takes it, with its blocklist as kernels read it."""

    values: Mapping[str, Any]
    candidates: Sequence[Sequence[Id]] | None
    blocklist: NDArray[np.uint64]
    now: float


def record_now(state: State, arm: Arm | None, request: Request) -> FullRecord:
    """Return the record of what an arm would decide; the caller holds the lock as a reader.

    The decision has the id, and with it the draws, of the next one that is made. It runs over a copy of what is
    reserved, a log and a clock that are thrown away.
    """
    arm = state.arm(arm)
    held, fleet = state.arrays.content, state.fleet.arrays
    places = arm.model.spec.policy.max_nodes + arm.model.spec.policy.alternatives
    ring = DecisionRing(1, places, state.features, state.log.next_id())
    reserved, clock = _copied(fleet.reserved), np.full(1, request.now)
    as_seen = held._replace(
        log=ring.arrays, clock=clock, fleet=fleet._replace(reserved=reserved), full_rate=NOT_RECORDED
    )
    over = as_seen._replace(fleet=fleet._replace(reserved=_copied(reserved)))
    by = PackedArrays(arm.arrays.content._replace(counts=new_counts()))
    engine.decide_over(
        state, arm, PackedArrays(over), by, request.values, request.candidates, request.blocklist, request.now
    )
    work, out = arm.thread.workspace.content, arm.thread.decision.arrays
    if request.candidates is None:
        slots = work.found[0]
        slots = slots[slots >= 0].copy()
    else:
        slots = candidate_slots(request.candidates, state.fleet.table, 1)[0]
    return _record(state, arm, as_seen, request, slots, out, work)


def _copied(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a copy that is no more contiguous than the values: kernels would be compiled anew for another type."""
    copy = np.empty((len(values), 1 if values.flags.c_contiguous else 2))[:, 0]
    copy[:] = values
    return copy


def _record(  # noqa: PLR0913, PLR0917 - what a decision was made from
    state: State,
    arm: Arm,
    held: StateArrays,
    request: Request,
    slots: NDArray[np.int32],
    out: DecisionArrays,
    work: Workspace,
) -> FullRecord:
    policy, fleet = arm.arrays.content.policy, held.fleet
    one = ColumnArrays(work.request.values.copy(), work.request.keys.copy())
    demand = float(one.values[0, policy.demand]) if policy.demand >= 0 else 0.0
    demand = max(0.0, demand)
    verdict = _verdicts(arm, held, request, slots, demand)
    left = np.flatnonzero(verdict == ADMITTED)
    rows = _rows(state, arm.model, one, slots, request.now)
    program, n = arm.model.features.program, left.size
    load, capacity = fleet.reserved[slots], fleet.capacity[slots]
    price = fleet.columns.values[slots, policy.price] if policy.price >= 0 else np.full(slots.size, np.nan)

    def of_all(values: NDArray[Any]) -> NDArray[Any]:
        whole = np.full((slots.size, *values.shape[1:]), 0 if values.dtype == bool else np.nan, values.dtype)
        whole[left] = values[:n]
        return whole

    found, id_ = work.candidates, int(out.id[0])
    counted, numbers_own = policy.count_key >= 0, policy.newcomer_key >= 0
    unknown = np.full(slots.size, np.nan)
    return FullRecord(
        id=id_,
        time=request.now,
        arm=0,
        seed=state.seed,
        explores=policy.budget >= 1.0,
        draw=uniform(state.seed, id_, DRAW_NODE),
        profile=int(profile(policy, one, 0)),
        demand=demand,
        request_values=one.values[0],
        request_keys=one.keys[0],
        x_request=rows[0, program.request] if slots.size else np.full(program.request.size, np.nan, np.float32),
        nodes=list(state.fleet.table.ids_at(slots)),
        node_keys=fleet.columns.keys[slots],
        verdict=verdict,
        x_node=_only(rows[:, program.node], verdict),
        x_pair=_only(rows[:, program.pair], verdict),
        raw=of_all(found.raw),
        values=of_all(found.values),
        utility=of_all(found.utility),
        uncertainty=of_all(found.uncertainty),
        n_outcomes=of_all(found.n_outcomes) if counted else unknown,
        n_own_outcomes=of_all(found.n_own_outcomes) if numbers_own else unknown,
        is_new=of_all(found.is_new),
        capacity=capacity,
        load=load,
        free=capacity - load if demand > 0.0 else unknown,
        price=price,
        position=out.position[0].copy(),
        propensity=float(out.propensity[0]),
        reason=int(out.reason[0]),
        dropped=out.dropped[0].copy(),
    )


def _verdicts(
    arm: Arm, held: StateArrays, request: Request, slots: NDArray[np.int32], demand: float
) -> NDArray[np.uint8]:
    verdict, dropped = np.empty(slots.size, np.uint8), np.zeros(len(DROPS), np.int32)
    room = new_candidates(arm.model.spec.policy, len(arm.model.heads), 1)
    find_verdicts(PackedArrays(held), request.blocklist, slots, demand, request.now, room, dropped, verdict)
    return verdict


def _rows(state: State, model: Model, one: ColumnArrays, slots: NDArray[np.int32], now: float) -> NDArray[np.float32]:
    """Return the feature rows of all candidates, also of those dropped."""
    out = np.full((1, slots.size, len(model.features.names)), np.nan, np.float32)
    fill_candidates(model.features.program, one, state.fleet.arrays.columns, slots[None], state.history, now, out)
    return out[0]


def _only(rows: NDArray[np.float32], verdict: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return rows with NaN in those of dropped candidates."""
    return np.where((verdict == ADMITTED)[:, None], rows, np.float32(np.nan))
