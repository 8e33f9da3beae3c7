"""Fill a scheduler's history from telemetry, so that it begins with what the fleet has taught."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scheduler import Scheduler
from training.features.replay import replay
from training.progress import ProgressCallback, silent
from training.telemetry import Telemetry, read_telemetry


def warm(
    scheduler: Scheduler,
    telemetry: str | Path | Telemetry,
    *,
    start: int | None = None,
    until: int | None = None,
    progress: ProgressCallback = silent,
) -> int:
    """Let a scheduler learn from telemetry what it would have learned by serving, and return from how many rows.

    Outcomes enter history in the order of their arrival, through the kernels that serve; those that never arrived do
    not. Do so before traffic comes: nobody else may call the scheduler meanwhile.

    Parameters
    ----------
    scheduler
        Whose history is filled; nodes and clients need not be known yet.
    telemetry
        A telemetry directory of the scheduler's spec, or what was read from one.
    start, until
        Only rows of slices from ``start`` on, and before ``until``.
    progress
        Told after each stretch of rows.

    Raises
    ------
    DataError
        If the telemetry is not what the spec says.
    """
    model = scheduler.model
    if not isinstance(telemetry, Telemetry):
        telemetry = read_telemetry(telemetry, model.spec, start=start, until=until)
    nothing = np.zeros(telemetry.time.size, np.bool_)
    replay(telemetry, model.spec, model.features, scheduler.history, keep=nothing, progress=progress)
    scheduler.refresh()
    return int(telemetry.time.size)
