"""Find the full record of a decision on disk, and the model under the policy that was in force."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from scheduler.decisions.record.read import full_record, read_segments
from scheduler.decisions.record.segment import RecordedArm
from scheduler.decisions.record.values import FullRecord
from scheduler.errors import InputError, NotRecordedError, shown
from scheduler.model.model import Model
from scheduler.policy.compile import with_policy
from scheduler.spec import spec_from_json


def find_full(folder: str | Path, decision: int) -> tuple[FullRecord, RecordedArm]:
    """Return the full record of a decision, and what decided; the newest segments are looked through first.

    Parameters
    ----------
    folder
        Of records.
    decision
        Its id.

    Raises
    ------
    NotRecordedError
        If there is no full record of it.
    RecordError
        If there is no such folder, or a segment is of another format.
    """
    for segment in reversed(list(read_segments(folder))):
        for columns in segment.batches("full"):
            found = np.flatnonzero(np.asarray(columns["id"]) == decision)
            if found.size:
                record = full_record(columns, int(found[0]), segment.manifest)
                return record, next(arm for arm in segment.manifest.arms if arm.arm == record.arm)
    message = (
        f"{folder}: expected a full record of decision {shown(decision)}, found none; "
        "`Scheduler.record` writes full records of the share ``full`` of the decisions"
    )
    raise NotRecordedError(message)


def model_of(arm: RecordedArm, models: Iterable[Model]) -> Model:
    """Return the one of several models that decided as a recorded arm, under the policy that was in force.

    Raises
    ------
    InputError
        If it is not among them.
    """
    tried = []
    for model in models:
        if (model.name, model.version) == (arm.name, arm.version):
            return with_policy(model, spec_from_json(arm.spec.encode()))
        tried.append(f"{model.name}-{model.version}")
    message = f"model: expected {arm.name}-{arm.version}, which decided, found {', '.join(tried)}"
    raise InputError(message)
