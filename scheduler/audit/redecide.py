"""Decides recorded decisions again, by the kernels that decided them."""

from __future__ import annotations

import numpy as np

from scheduler.audit.arrays import RecordedArrays, ReplayedArrays, ReplayWork
from scheduler.audit.kernels.replay import replay
from scheduler.columns.arrays import ColumnArrays
from scheduler.decisions.counts import new_counts
from scheduler.engine.arrays import ArmArrays
from scheduler.engine.workspace import n_raw, new_candidates, new_outputs
from scheduler.fleet.arrays import FleetArrays, SlotTable
from scheduler.model.model import Model
from scheduler.policy.compile import compile_policy
from scheduler.runtime.packed_arrays import PackedArrays


class Redecider:
    """Decides by one model, under the policy of its spec, from what was recorded.

    Parameters
    ----------
    model
        Of the fingerprint of the records.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._arm = PackedArrays(
            ArmArrays(
                program=model.features.program,
                mask_tables=model.forest.mask_tables,
                policy=compile_policy(model),
                node_rows=model.forest.empty_rows(0),
                counts=new_counts(),
            )
        )
        self._work = self._new_work(1)

    def decide(self, recorded: RecordedArrays) -> ReplayedArrays:
        """Return what comes out for each decision."""
        most = int(np.diff(recorded.starts).max(initial=1))
        if most > len(self._work.content.zeros):
            self._work = self._new_work(most)
        found = new_replayed(self.model, len(recorded.id), len(recorded.verdict))
        replay(self._arm, PackedArrays(recorded), self._work, PackedArrays(found))
        return found

    def _new_work(self, n: int) -> PackedArrays[ReplayWork]:
        model = self.model
        return PackedArrays(
            ReplayWork(
                candidates=new_candidates(model.spec.policy, len(model.heads), n),
                x_pair=np.empty((n, model.features.program.pair.size), np.float32),
                x=np.empty(n),
                request_row=np.empty(model.forest.words, np.uint64),
                node_rows=model.forest.empty_rows(n),
                forest=model.forest.work(),
                fleet=_empty_fleet(),
                zeros=np.zeros(n),
            )
        )


def new_replayed(model: Model, n: int, k: int) -> ReplayedArrays:
    """Return room for ``n`` decisions of ``k`` candidates together."""
    heads = len(model.heads)
    return ReplayedArrays(
        draw=np.empty(n),
        profile=np.empty(n, np.int32),
        raw=np.full((k, n_raw(model.spec.policy, heads)), np.nan, np.float32),
        values=np.full((k, heads), np.nan),
        utility=np.full(k, np.nan),
        uncertainty=np.full(k, np.nan),
        is_new=np.zeros(k, np.bool_),
        out=new_outputs(model, n),
    )


def _empty_fleet() -> FleetArrays:
    none = np.zeros(0)
    return FleetArrays(
        columns=ColumnArrays(np.zeros((0, 0)), np.zeros((0, 0), np.uint64)),
        alive_until=none,
        quarantined_until=none,
        generation=np.zeros(0, np.int32),
        capacity=none,
        reserved=none,
        listed=np.zeros(0, np.bool_),
        clock=none,
        slot_table=SlotTable(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(2, np.int64)),
    )
