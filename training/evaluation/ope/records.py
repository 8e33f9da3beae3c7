"""Recorded decisions, each decided once more by the kernels of a decision, as decisions of a target policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.recorded import whole_row
from scheduler.audit.redecide import Redecided, Redecider
from scheduler.decisions.record.arrays import OBSERVED, TOKEN
from scheduler.decisions.record.folder import segment_paths
from scheduler.decisions.record.read import SegmentReader, read_segments
from scheduler.decisions.record.segment import RecordedArm
from scheduler.decisions.record.values import FullRecord
from scheduler.errors import DataError, InputError
from scheduler.model.model import Model
from scheduler.spec import COST, spec_from_json
from training.evaluation.ope.decisions import JudgedDecision, LoggedDecisions, joined_decisions
from training.evaluation.ope.estimators import slate_probability


class _Outcomes(NamedTuple):
    """By decision: the sum of the costs of its nodes and how many were told."""

    cost: dict[int, float]
    n_told: dict[int, int]

    def of(self, decision: int) -> float | None:
        """Return the mean cost of what a decision's nodes did, None where nothing was told."""
        n = self.n_told.get(decision, 0)
        return self.cost[decision] / n if n else None


def is_records(folder: Path) -> bool:
    """Return whether a folder holds records."""
    return folder.is_dir() and bool(segment_paths(folder))


def decisions_of_records(folder: Path, model: Model, start: int | None = None) -> LoggedDecisions:
    """Ask a model about every decision that was recorded in full and whose outcome was told.

    The candidates are those that were left; the draw and the free uplink are those of the record. Decisions that went
    to the origin say nothing of nodes, and are left out.

    Parameters
    ----------
    folder
        Of records.
    model
        The target, under its own policy; of the fingerprint of what decided.
    start
        First slice, by the time of the decisions; None for all records.

    Raises
    ------
    InputError
        If what decided had other features, or the policy needs what was not recorded, such as prices.
    DataError
        If no decision with an outcome was recorded in full.
    RecordError
        If the records cannot be read.
    """
    outcomes, clients = _outcomes(folder), _clients(folder)
    numbers: dict[str, int] = {}
    judged, redecider = [], Redecider(model)
    for record, places in _full_records(folder, model):
        cost, position = outcomes.of(record.id), record.position[:places]
        slate = position[position >= 0]
        number = int(record.time // model.spec.telemetry.slice.seconds)
        if cost is None or not slate.size or (start is not None and number < start):
            continue
        client = numbers.setdefault(clients.get(record.id, ""), len(numbers))
        judged.append(_judged(record, slate, redecider, cost, client, number))
    if not judged:
        raise DataError(f"{folder}: expected decisions that were recorded in full and have an outcome, found none")
    return joined_decisions(judged)


def _judged(
    record: FullRecord, slate: NDArray[np.integer], redecider: Redecider, cost: float, client: int, number: int
) -> JudgedDecision:
    model, again = redecider.model, redecider.decide_one(record)
    if not np.isfinite(again.utility).all():
        raise InputError(
            f"spec {model.spec.name}: expected a policy that needs what was recorded, found one without utilities for "
            f"the candidates of decision {record.id}"
        )
    at = np.flatnonzero(again.candidates == slate[0])
    chosen = np.searchsorted(again.candidates, slate)
    first = float(again.probability[at[0]]) if at.size else 0.0
    target = first
    if first > 0.0:
        places = model.spec.policy.max_nodes
        theirs = _slate_from(record, redecider, again, int(at[0]))
        width = max(places, slate.size)
        both = [np.concatenate([one, np.full(width - one.size, -1)]) for one in (slate, theirs)]
        target = float(slate_probability(np.array([first]), both[0][None], both[1][None])[0])
    return JudgedDecision(
        cost=cost,
        client=client,
        slice=number,
        chosen=chosen,
        propensity=record.propensity,
        target=target,
        x=np.stack([whole_row(record, model, int(c)) for c in again.candidates]),
        first=again.probability,
    )


def _slate_from(record: FullRecord, redecider: Redecider, again: Redecided, at: int) -> NDArray[np.integer]:
    """Return the slate that a model makes where the draw falls on one candidate."""
    below = float(again.probability[:at].sum())
    drawn = redecider.decide_one(record._replace(draw=below + 0.5 * float(again.probability[at])))
    position = drawn.out.position[0, : redecider.model.spec.policy.max_nodes]
    return position[position >= 0]


def _check_features(arm: RecordedArm, model: Model) -> None:
    if arm.fingerprint != model.spec.fingerprint():
        raise InputError(
            f"model: expected the fingerprint of {arm.name}-{arm.version}, which decided, {arm.fingerprint}, found "
            f"{model.spec.fingerprint()} of {model.name}-{model.version}"
        )


def _full_records(folder: Path, model: Model) -> Iterator[tuple[FullRecord, int]]:
    """Yield records, and how many places of their decisions are the slate's; the rest are alternatives."""
    for segment in read_segments(folder):
        arms, places = {arm.arm: arm for arm in segment.manifest.arms}, dict[int, int]()
        for record in segment.full_records():
            if record.arm not in places:
                _check_features(arms[record.arm], model)
                places[record.arm] = spec_from_json(arms[record.arm].spec.encode()).policy.max_nodes
            yield record, places[record.arm]


def _outcomes(folder: Path) -> _Outcomes:
    found = _Outcomes({}, {})
    for segment in read_segments(folder):
        at = segment.manifest.outcomes.index(COST)
        for decision, kind, cost in _rows(segment, at):
            if kind in (OBSERVED, TOKEN) and np.isfinite(cost):
                found.cost[decision] = found.cost.get(decision, 0.0) + cost
                found.n_told[decision] = found.n_told.get(decision, 0) + 1
    return found


def _rows(segment: SegmentReader, at: int) -> Iterator[tuple[int, int, float]]:
    for columns in segment.batches("outcomes"):
        decision, kind, outcomes = (np.asarray(columns[name]) for name in ("decision", "kind", "outcomes"))
        yield from zip(decision.tolist(), kind.tolist(), outcomes[:, at].tolist(), strict=True)


def _clients(folder: Path) -> dict[int, str]:
    """Return the client of each decision as text."""
    return {
        int(decision): str(client)
        for segment in read_segments(folder)
        for columns in segment.batches("decisions")
        for decision, client in zip(np.asarray(columns["id"]), columns["client"], strict=True)
    }
