"""Decides recorded decisions again, one or many, by the kernels that decided them and from the records alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.arrays import RecordedArrays, RedecidedArrays, RedecideWork
from scheduler.audit.batches import one_recorded
from scheduler.audit.kernels.redecide import redecide, write_draws
from scheduler.audit.recorded import candidates_left
from scheduler.columns.arrays import ColumnArrays
from scheduler.decisions.arrays import DecisionArrays
from scheduler.decisions.counts import new_counts
from scheduler.decisions.record.values import FullRecord
from scheduler.engine.arrays import ArmArrays
from scheduler.engine.workspace import n_raw, new_candidates, new_outputs
from scheduler.fleet.arrays import FleetArrays, SlotTable
from scheduler.model.model import Model
from scheduler.policy.compile import compile_policy
from scheduler.runtime.packed_arrays import PackedArrays


class Redecided(NamedTuple):
    """One decision made again.

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


def decide_again(record: FullRecord, model: Model) -> Redecided:
    """Decide a recorded request under a model and its policy; see `Redecider.decide_one`."""
    return Redecider(model).decide_one(record)


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

    def decide_one(self, record: FullRecord) -> Redecided:
        """Decide one request: its candidates are scored anew, the draw and the free uplink are those of the record.

        Parameters
        ----------
        record
            Its rows are in the order of the model's features.

        Returns
        -------
        Redecided
        """
        explores = record.explores or self.model.spec.policy.budget >= 1.0
        recorded = one_recorded(record._replace(explores=explores))
        found, left = self.decide(recorded, recorded.draw), candidates_left(record)
        chances = found.feasible[left], found.probability[left]
        return Redecided(left, found.values[left], found.utility[left], *chances, found.out)

    def decide(self, recorded: RecordedArrays, draw: NDArray[np.float64] | None = None) -> RedecidedArrays:
        """Return what comes out for each decision.

        Parameters
        ----------
        recorded
            n decisions.
        draw
            (n,), in [0, 1), draw the first nodes; by default those that the seeds give.
        """
        if draw is None:
            draw = np.empty(len(recorded.id))
            write_draws(recorded.seed, recorded.id, draw)
        most = int(np.diff(recorded.starts).max(initial=1))
        if most > len(self._work.content.zeros):
            self._work = self._new_work(most)
        found = new_redecided(self.model, draw, len(recorded.verdict))
        redecide(self._arm, PackedArrays(recorded), self._work, PackedArrays(found))
        return found

    def _new_work(self, n: int) -> PackedArrays[RedecideWork]:
        model = self.model
        return PackedArrays(
            RedecideWork(
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


def new_redecided(model: Model, draw: NDArray[np.float64], k: int) -> RedecidedArrays:
    """Return room for decisions of ``k`` candidates together, one for each draw."""
    n, heads = len(draw), len(model.heads)
    return RedecidedArrays(
        draw=draw,
        profile=np.empty(n, np.int32),
        raw=np.full((k, n_raw(model.spec.policy, heads)), np.nan, np.float32),
        values=np.full((k, heads), np.nan),
        utility=np.full(k, np.nan),
        uncertainty=np.full(k, np.nan),
        is_new=np.zeros(k, np.bool_),
        feasible=np.zeros(k, np.bool_),
        probability=np.zeros(k),
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
