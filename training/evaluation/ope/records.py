"""Recorded decisions, each decided once more by the kernels of a decision, as decisions of a target policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.recorded import whole_row
from scheduler.audit.redecide import Redecided, Redecider
from scheduler.decisions.record.folder import segment_paths
from scheduler.decisions.record.read import read_segments
from scheduler.decisions.record.segment import RecordedArm
from scheduler.decisions.record.values import FullRecord
from scheduler.decisions.record.watch import ArmRules
from scheduler.errors import DataError, InputError
from scheduler.model.model import Model
from scheduler.spec import spec_from_json
from training.evaluation.ope.decisions import SERVED_BY_ORIGIN, JudgedDecision, LoggedDecisions, joined_decisions
from training.evaluation.ope.estimators import slate_probability
from training.telemetry.records.collect import collect
from training.telemetry.records.outcomes import slate_costs
from training.telemetry.records.slices import record_slices

STILL_OPEN = "an outcome is not due yet"
UNKNOWN = "an outcome is not known"
EARLIER = "in slices before the first one asked for"
SEEN = "from the time that the model was trained or tuned on"
"""Why a recorded decision is left out."""


class _Full(NamedTuple):
    """A record, how many places of its decision are the slate's, and its window in seconds."""

    record: FullRecord
    places: int
    window: float

    def slate(self) -> NDArray[np.integer]:
        """Return the candidates that were chosen; the other places are those of alternatives."""
        position = self.record.position[: self.places]
        return position[position >= 0]


class _Known(NamedTuple):
    """By decision the cost, where it is known, the client as text and the slice; and the latest time of anything."""

    cost: dict[int, float]
    client: dict[int, str]
    slice: dict[int, int]
    latest: float

    def reason(self, full: _Full) -> str | None:
        """Return why a decision says nothing of nodes, None if it does."""
        if not full.slate().size:
            return SERVED_BY_ORIGIN
        # An answer that came already does not count yet either: of decisions as late, those without one are left out.
        if full.record.time + full.window >= self.latest:
            return STILL_OPEN
        return None if full.record.id in self.cost else UNKNOWN


class _First(NamedTuple):
    """The first slice and the earliest time that are judged; None for all."""

    slice: int | None
    time: float | None

    def reason(self, full: _Full, known: _Known) -> str | None:
        """Return why a decision comes too early, None if it does not."""
        if self.slice is not None and known.slice.get(full.record.id, self.slice) < self.slice:
            return EARLIER
        return SEEN if self.time is not None and full.record.time < self.time else None


def is_records(folder: Path) -> bool:
    """Return whether a folder holds records."""
    return folder.is_dir() and bool(segment_paths(folder))


def decisions_of_records(
    folder: Path, model: Model, start: int | None = None, since: float | None = None
) -> LoggedDecisions:
    """Ask a model about every decision that was recorded in full and whose outcome is known.

    Decisions whose window was still open at the end of the records are left out, answered or not: of those, fast
    answers alone are known. A node whose window passed without an outcome failed, as in a dataset of the same records;
    an outcome that came later is used in the place of that. The candidates are those that were left; the draw and the
    free uplink are those of the record. Decisions that went to the origin say nothing of nodes, and are left out.

    Parameters
    ----------
    folder
        Of records.
    model
        The target, under its own policy; of the fingerprint of what decided.
    start
        First slice, numbered as in a dataset of the same records; None for all.
    since
        Time of the earliest decision, in seconds; None for all.

    Raises
    ------
    InputError
        If what decided had other features, or the policy needs what was not recorded, such as prices.
    DataError
        If no decision with an outcome was recorded in full.
    RecordError
        If the records cannot be read.
    """
    known, first = _known(folder, model), _First(start, since)
    numbers: dict[str, int] = {}
    judged, left_out, redecider = [], Counter[str](), Redecider(model)
    for full in _full_records(folder, model):
        reason = first.reason(full, known) or known.reason(full)
        if reason is not None:
            left_out[reason] += 1
            continue
        at = full.record.id
        client = numbers.setdefault(known.client[at], len(numbers))
        judged.append(_judged(full.record, full.slate(), redecider, known.cost[at], client, known.slice[at]))
    if not judged:
        why = "; ".join(f"{n:,} left out: {reason}" for reason, n in left_out.items()) or "none"
        raise DataError(f"{folder}: expected decisions that were recorded in full and have an outcome, found {why}")
    return joined_decisions(judged)._replace(left_out=dict(left_out))


def _known(folder: Path, model: Model) -> _Known:
    found = collect(folder, lambda _done, _of: None)
    ids = found.decisions["id"].tolist()
    slices = record_slices(found.decisions, model.spec.telemetry.slice).tolist()
    tables = (found.decisions, found.outcomes, found.timeouts)
    return _Known(
        cost=slate_costs(found),
        client=dict(zip(ids, map(str, found.decisions["client"]), strict=True)),
        slice=dict(zip(ids, slices, strict=True)),
        latest=max(float(table["time"].max()) for table in tables if table is not None),
    )


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


def _full_records(folder: Path, model: Model) -> Iterator[_Full]:
    """Yield the decisions that were recorded in full, each with what its own arm's spec says."""
    for segment in read_segments(folder):
        arms, specs = {arm.arm: arm for arm in segment.manifest.arms}, dict[int, tuple[int, NDArray[np.float64]]]()
        for record in segment.full_records():
            if record.arm not in specs:
                _check_features(arms[record.arm], model)
                spec = spec_from_json(arms[record.arm].spec.encode())
                specs[record.arm] = spec.policy.max_nodes, ArmRules.of(spec).windows
            places, windows = specs[record.arm]
            yield _Full(record, places, float(windows[record.profile]))
