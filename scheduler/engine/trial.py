"""Try an arm on what is known before it is put in charge."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TypeAlias

import numpy as np

from scheduler.columns.ids import Id
from scheduler.decisions.counts import new_counts
from scheduler.decisions.decision import Decision
from scheduler.decisions.decision_log import DecisionRing
from scheduler.decisions.record.arrays import NOT_RECORDED
from scheduler.engine import engine
from scheduler.engine.arm import Arm
from scheduler.engine.arrays import ArmArrays, StateArrays
from scheduler.engine.state import State
from scheduler.errors import InputError
from scheduler.retrieval.arrays import NO_BLOCKLIST
from scheduler.runtime.packed_arrays import PackedArrays

Packed: TypeAlias = tuple[PackedArrays[StateArrays], PackedArrays[ArmArrays]]

TRIALS = 256
"""Requests of a trial; as dry runs of a warm-up they teach the branch predictor, which needs hundreds."""


def dry_run(state: State, arm: Arm, n: int = TRIALS) -> list[Decision]:
    """Decide for clients that the state knows, into a log that is thrown away; nothing is reserved or counted.

    Other calls go on between two decisions.
    """
    ids = list(islice(state.clients, n)) or [0]
    ring = DecisionRing(n, state.log.arrays.slot.shape[1], state.features, 0)
    now = state.clock.latest.item() if np.isfinite(state.clock.latest) else 0.0
    clock, client, counts = np.full(1, now), state.spec.telemetry.client, new_counts()

    @lru_cache(maxsize=1)  # packed anew only where another call made a table grow meanwhile
    def thrown_away(state_arrays: PackedArrays[StateArrays], arm_arrays: PackedArrays[ArmArrays]) -> Packed:
        over, by = state_arrays.content, arm_arrays.content
        return (
            PackedArrays(over._replace(log=ring.arrays, clock=clock, full_rate=NOT_RECORDED)),
            PackedArrays(by._replace(policy=by.policy._replace(demand=-1), counts=counts)),
        )

    def decide(request: dict[str, Id]) -> Decision:
        over, by = thrown_away(state.arrays, arm.arrays)
        return engine.decide_over(state, arm, over, by, request, None, NO_BLOCKLIST, now)

    return [state.lock.read(decide, {client: ids[i % len(ids)]}) for i in range(n)]


def check_trial(state: State, arm: Arm, trial: list[Decision]) -> None:
    """Compare an arm's dry run with one by the arm in charge.

    Raises
    ------
    InputError
        If the arm scores with what is no number, or serves none of the requests that the other serves.
    """
    name = f"model {arm.model.name}-{arm.model.version}"
    present = dry_run(state, state.arms[0])
    for decision in trial:
        for scores in decision.scores:
            wrong = {name: value for name, value in scores.items() if not np.isfinite(value)}
            if wrong:
                message = f"{name}: expected finite scores in a trial, found {wrong}"
                raise InputError(message)
    served, before = (sum(bool(decision.nodes) for decision in some) for some in (trial, present))
    if before and not served:
        found = f"as the one in charge finds for {before}, found none"
        message = f"{name}: expected nodes for some of {len(trial)} requests in a trial, {found}"
        raise InputError(message)
