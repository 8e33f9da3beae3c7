"""Records: decisions, outcomes and nodes are written to disk while decisions go on."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from scheduler.decisions.arrays import FIRST_ID
from scheduler.decisions.record.arrays import Sizes
from scheduler.decisions.record.arrow import nanoarrow
from scheduler.decisions.record.hashing import IdHasher
from scheduler.decisions.record.recorder import Recorder
from scheduler.decisions.record.recording import Recording
from scheduler.decisions.record.status import RecordSettings
from scheduler.decisions.record.watch_feed import WatchFeed
from scheduler.engine.arm_control import ArmControl
from scheduler.engine.request import LAST_TIME
from scheduler.errors import InputError, RecordError, shown
from scheduler.history.outcomes import outcome_names
from scheduler.runtime.background import check_every

SEGMENT_BYTES = 64 << 20
"""A folder of 10 GB then has 160 segments, and what is deleted at once is a small part of it."""

SEGMENT_SECONDS = 3_600.0
"""A segment is closed after an hour: what reads closed segments alone is at most that far behind."""

MOST_BYTES = 10 << 30
"""Of a folder of records: a day of 200 decisions a second."""

RING = 8_192
"""Decisions that wait for the recorder, by thread; see `LOOK_EVERY`."""

MOST_RING = 1 << 20
"""Of a thread: some 300 MB, for a disk that stops for a minute."""

MOST_COUNT = 1 << 62
"""Of bytes: more than any disk has."""

FULL_RING = 64
"""Decisions recorded in full that wait, by thread: with one in a hundred, those of 6,400 decisions."""


class RecordControl(ArmControl):
    """Records what a state decides; `scheduler.Scheduler` is one.

    Attributes
    ----------
    recorder
        The last one; None where nothing was recorded.
    """

    recorder: Recorder | None = None

    def record(  # noqa: PLR0913 - one keyword for each setting
        self,
        folder: str | Path,
        *,
        full: float = 0.01,
        every: float = 1.0,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        most_bytes: int = MOST_BYTES,
        retention: float = math.inf,
        key: bytes | None = None,
        ring: int = RING,
    ) -> Recorder:
        """Write every decision, outcome and change of nodes to a folder, from a thread of its own.

        No decision waits for it: where the disk is slow or full, rows are dropped and counted; see `RecordStatus`.

        Parameters
        ----------
        folder
            Of records; made where it is missing. Several processes may share one.
        full
            Share of decisions that are recorded with all their candidates, 0 to 1; drawn by seed and id.
        every
            Seconds between two writes: what a process that is killed loses.
        segment_bytes, segment_seconds
            A segment is closed, and another begun, when it is as large or as old.
        most_bytes
            Of the folder: the oldest segments are deleted, those that are being written excepted.
        retention
            Seconds after which a segment is deleted.
        key
            16 to 64 bytes: ids of clients and nodes are hashed with it, texts and keys. Such records can be replayed
            and evaluated, and no state catches up from them.
        ring
            Decisions that wait for the recorder, by thread; more are dropped.

        Returns
        -------
        Recorder
            Call ``stop`` to end it.

        Raises
        ------
        InputError
            If a setting is wrong, or a recorder is at work.
        RecordError
            If the folder cannot be made, or nanoarrow is not installed.
        """
        nanoarrow()
        state = self.state
        settings = RecordSettings(
            every=check_every(every),
            segment_bytes=_check_count("segment_bytes", segment_bytes),
            segment_seconds=_check_seconds("segment_seconds", segment_seconds),
            most_bytes=_check_count("most_bytes", most_bytes),
            retention=_check_seconds("retention", retention),
        )
        hasher = IdHasher(key, state.clients, state.fleet.table)
        n = _check_count("ring", ring, MOST_RING)
        full_rows = FULL_RING if _check_share(full) > 0 else 0
        sizes = Sizes(thin=n, full=full_rows, pool=full_rows * state.index.arrays.limit, outcomes=n)
        path, names = _made(folder), outcome_names(state.spec)
        recording = Recording(float(full), sizes, state.fleet.table, state.clients, len(names))
        watch = WatchFeed(state.clock.latest.item)
        end = partial(state.record_by, None)
        state.record_by(recording)
        life = state.life, state.follows, int(state.log.arrays.counters[FIRST_ID])
        categories = state.fleet.categories
        try:
            self.recorder = Recorder(path, recording, state.seed, names, hasher, categories, watch, settings, end, life)
        except BaseException:  # interrupted, or no thread may be begun: nobody would empty the rings
            end()
            raise
        state.note_all_nodes()
        return self.recorder


def _made(folder: object) -> Path:
    if not isinstance(folder, str | Path) or not str(folder):
        message = f"folder: expected a path, found {shown(folder)}"
        raise InputError(message)
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        message = f"folder {shown(folder)}: expected one that can be made, found {error}"
        raise RecordError(message) from error
    return path


def _check_count(name: str, value: object, most: int = MOST_COUNT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        message = f"{name}: expected an integer from 1 to {most:,}, found {shown(value)}"
        raise InputError(message)
    return value


def _check_seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, float | int) or not value > 0:
        message = f"{name}: expected seconds, more than 0, found {shown(value)}"
        raise InputError(message)
    return float(min(value, LAST_TIME))


def _check_share(full: object) -> float:
    if isinstance(full, bool) or not isinstance(full, float | int) or not 0 <= full <= 1:
        message = f"full: expected a share from 0 to 1, found {shown(full)}"
        raise InputError(message)
    return float(full)
