"""Replays records: every decision that was recorded in full is made again and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from scheduler.audit.batches import Recorded, recorded_of
from scheduler.audit.compare import Difference, differences
from scheduler.audit.redecide import Redecider
from scheduler.decisions.record.columns import some_rows
from scheduler.decisions.record.read import SegmentReader, read_segments
from scheduler.decisions.record.segment import RecordedArm
from scheduler.errors import InputError, SpecError
from scheduler.model.model import Model
from scheduler.policy.compile import with_policy
from scheduler.spec import spec_from_json

MOST_SHOWN: Final = 1_000
"""Differences that a report keeps; further ones are counted."""

Progress = Callable[[int, int], None]
"""Told how many segments are done, of how many."""


class ReplayedArm(NamedTuple):
    """How the decisions of one model under one policy went.

    Attributes
    ----------
    model
        Name and version.
    policy
        SHA-256 of the spec with the policy in force.
    decided, identical
        Decisions that were made again, and how many of them came out the same.
    """

    model: str
    policy: str
    decided: int
    identical: int


class ReplayReport(NamedTuple):
    """How a replay went.

    Attributes
    ----------
    decided, identical
        Decisions that were made again, and how many of them came out the same, bit for bit.
    differences
        The first `MOST_SHOWN` that did not.
    skipped
        By reason, how many records could not be replayed.
    arms
        The same by model and policy, in the order in which they were met.
    """

    decided: int
    identical: int
    differences: list[Difference]
    skipped: dict[str, int]
    arms: list[ReplayedArm]

    @property
    def is_identical(self) -> bool:
        """Whether there is a record, and every one was replayed and came out the same."""
        return self.decided == self.identical > 0 and not self.skipped


def replay(folder: str | Path, models: Sequence[Model], progress: Progress | None = None) -> ReplayReport:
    """Make every decision that a folder of records has in full again, from the record alone, and compare.

    The record names the model and has the policy that was in force, so it may go on over changes of both.

    Parameters
    ----------
    folder
        That `Scheduler.record` wrote to.
    models
        Those that decided; a record of another one is skipped.
    progress
        Told after each segment.

    Returns
    -------
    ReplayReport

    Raises
    ------
    RecordError
        If there is no such folder.
    """
    segments, deciders = list(read_segments(folder)), _Deciders(models)
    counts: dict[tuple[str, str], list[int]] = {}
    shown: list[Difference] = []
    skipped: Counter[str] = Counter()
    for done, segment in enumerate(segments):
        if progress is not None:
            progress(done, len(segments))
        for arm, recorded in _batches(segment, deciders, skipped):
            decider = deciders.known[arm.name, arm.version, arm.policy]
            found = differences(recorded, decider.decide(recorded.arrays), decider.model.spec.policy.max_nodes)
            shown += found[: MOST_SHOWN - len(shown)]
            count = counts.setdefault((f"{arm.name}-{arm.version}", arm.policy), [0, 0])
            count[0] += len(recorded.propensity)
            count[1] += len(recorded.propensity) - len(found)
        if torn := segment.torn("full").rows:
            skipped["torn: rows whose checksum does not fit"] += torn
    if progress is not None:
        progress(len(segments), len(segments))
    arms = [ReplayedArm(*names, *count) for names, count in counts.items()]
    decided, identical = (sum(getattr(arm, name) for arm in arms) for name in ("decided", "identical"))
    return ReplayReport(decided, identical, shown, dict(skipped), arms)


class _Deciders:
    """What decides for each arm that records name, made when it is first met.

    Attributes
    ----------
    known
        By name and version of the model and hash of the policy.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = {(model.name, model.version, model.spec.fingerprint()): model for model in models}
        self.known: dict[tuple[str, str, str], Redecider] = {}

    def problem(self, arm: RecordedArm | None) -> str | None:
        """Return why an arm's records cannot be replayed; None where they can."""
        if arm is None:
            return "no arm: the segment does not say what decided"
        if (arm.name, arm.version, arm.policy) in self.known:
            return None
        model = self._models.get((arm.name, arm.version, arm.fingerprint))
        if model is None:
            return f"no model: {arm.name}-{arm.version} of fingerprint {arm.fingerprint} was not given"
        try:
            decider = Redecider(with_policy(model, spec_from_json(arm.spec.encode())))
        except (SpecError, InputError) as error:
            return f"no policy: {error}"
        self.known[arm.name, arm.version, arm.policy] = decider
        return None


def _batches(
    segment: SegmentReader, deciders: _Deciders, skipped: Counter[str]
) -> Iterator[tuple[RecordedArm, Recorded]]:
    """Yield the full records of a segment, batch by batch and arm by arm; count those that cannot be replayed."""
    arms = {arm.arm: arm for arm in segment.manifest.arms}
    for columns in segment.batches("full"):
        numbers = np.asarray(columns["arm"])
        for number in np.unique(numbers).tolist():
            which, arm = np.flatnonzero(numbers == number), arms.get(number)
            problem = deciders.problem(arm)
            if problem is not None or arm is None:
                skipped[problem or ""] += len(which)
                continue
            model = deciders.known[arm.name, arm.version, arm.policy].model
            some = columns if len(which) == len(numbers) else some_rows(columns, which)
            recorded = recorded_of(some, segment.manifest.seed, model)
            if recorded is None:
                skipped[f"other widths: rows do not fit the features of {arm.name}-{arm.version}"] += len(which)
            else:
                yield arm, recorded
