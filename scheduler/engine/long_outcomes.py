"""Many outcomes in parts, all or none: first the places of all are claimed, then they count one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id, plain_list
from scheduler.decisions.arrays import ANSWERED_BEFORE, CLAIMED_BEFORE
from scheduler.decisions.kernels.claims import ClaimArrays, claim, unclaim
from scheduler.engine import engine
from scheduler.engine.state import State

CLAIMS: Final = 8_192
"""Places that are claimed, or given back, while the lock is held once: a millisecond at most."""


class LongOutcomes:
    """Outcomes of decisions; a `scheduler.engine.long_call.LongCall`.

    Parameters
    ----------
    state
        Of the decisions.
    decisions, nodes
        (n,) as of `Scheduler.observe_batch`.
    outcomes, values, times
        (n, n_outcomes) and (n, n_values) float32 and (n,) float64: all that was measured, what history tracks of it,
        and when it arrived.
    """

    def __init__(
        self,
        state: State,
        decisions: Sequence[int] | NDArray[np.int64],
        nodes: Sequence[Id | None] | None,
        outcomes: NDArray[np.float32],
        values: NDArray[np.float32],
        times: NDArray[np.float64],
    ) -> None:
        self._state, self._nodes = state, nodes
        ids, keys = state.log.keys_of(decisions, nodes)
        n, features = len(ids), state.features
        self._claims = ClaimArrays(
            decision=ids,
            named=keys,
            row=np.zeros(n, np.int64),
            place=np.zeros(n, np.int64),
            request_keys=np.zeros((n, features.request.n_keys), np.uint64),
            node_keys=np.zeros((n, features.node.n_keys), np.uint64),
            outcomes=outcomes,
            values=values,
            time=times,
        )
        self._n, self._n_claimed, self._n_done = n, 0, 0
        self._part = engine.part_of(state, n)
        self.is_certain = False

    def step(self) -> bool:
        """Claim a part, or take a part in once all are claimed."""
        if self._n_claimed < self._n:
            self._claim()
            return True
        if not self.is_certain:
            self._state.clock.check_all(self._claims.time)
            self.is_certain = True
        first, last = self._n_done, min(self._n_done + self._part, self._n)
        if first < last:
            engine.observe_claimed(self._state, self._claims, first, last)
            self._n_done = last
        return last < self._n

    def step_back(self) -> bool:
        """Give back the places that were claimed last."""
        first = max(self._n_claimed - CLAIMS, 0)
        unclaim(self._state.log.arrays, self._claims, first, self._n_claimed)
        self._n_claimed = first
        return first > 0

    def _claim(self) -> None:
        log, last = self._state.log, min(self._n_claimed + CLAIMS, self._n)
        found = self._n_claimed = claim(log.arrays, self._claims, self._n_claimed, last)
        if found < last:
            why, node = int(self._claims.place[found]), None
            if self._nodes is not None:
                node = plain_list(self._nodes[found : found + 1], "nodes")[0]
            if why == CLAIMED_BEFORE and self._is_own(found):
                why = ANSWERED_BEFORE
            raise log.refusal(why, int(self._claims.decision[found]), node)

    def _is_own(self, i: int) -> bool:
        """Whether an outcome before number ``i`` has claimed its place."""
        claims, places = self._claims, self._state.log.arrays.slot.shape[1]
        earlier = np.flatnonzero(claims.row[:i] == claims.row[i])
        keys = self._state.log.arrays.node_keys[claims.row[i] * places + claims.place[earlier], 0]
        return bool(((keys == claims.named[i]) | (claims.named[i] == 0)).any())
