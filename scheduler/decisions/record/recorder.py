"""Writes what is recorded to disk, in a thread of its own."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from scheduler.columns.ids import Id
from scheduler.decisions.record.arrays import FULL_DROPPED, THIN_DROPPED
from scheduler.decisions.record.columns import Columns, joined, n_bytes, n_rows
from scheduler.decisions.record.folder import prune
from scheduler.decisions.record.hashing import IdHasher
from scheduler.decisions.record.kernels.marks import read_mark
from scheduler.decisions.record.names import CategoryKeys
from scheduler.decisions.record.recording import Recording, Ring
from scheduler.decisions.record.ring_reader import RingReader
from scheduler.decisions.record.segment import FORMAT, TABLES, RecordedArm, Segment, SegmentManifest
from scheduler.decisions.record.status import RecordSettings, RecordStatus
from scheduler.decisions.record.watch_feed import WatchFeed
from scheduler.decisions.record.watch_totals import WatchTotals
from scheduler.decisions.record.yield_interpreter import yield_interpreter
from scheduler.runtime.background import Background

LOOK_EVERY: Final = 0.05
"""Seconds between two looks at how full rings are: three quarters of 8,192 rows last for 120,000 decisions a second."""

PRESSING: Final = 0.25
"""Share of a ring at which it is emptied before it is time to write. Rarely, because whoever decides meanwhile waits
for the interpreter."""

MOST_PENDING: Final = 32 << 20
"""Bytes that wait in memory to be written; with more the recorder writes at once, whatever ``every`` says."""

PRUNE_EVERY: Final = 10.0
"""Seconds after which segments are counted again: so long a folder may hold more than it should."""


class Recorder:
    """Empties the rings of a recording every so often and writes them, until it is stopped.

    Nothing that goes wrong on disk is raised: it is counted and told by ``status``, what could not be written is lost
    and counted, and the next turn tries again in a new segment.

    Parameters
    ----------
    folder
        Of records.
    recording
        What is told of all that happens.
    seed
        Of the scheduler's draws.
    outcomes
        Names of the columns of outcomes.
    hasher
        Turns ids into what is written of them.
    categories
        Returns the names of node categories by key.
    watch
        Told of what is recorded.
    settings
        How records are written.
    end
        Ends the recording: nobody appends to it any more once it returns.
    life
        ``life``, ``follows`` and ``first_id`` of `SegmentManifest`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it writes, where and how
        self,
        folder: Path,
        recording: Recording,
        seed: int,
        outcomes: tuple[str, ...],
        hasher: IdHasher,
        categories: Callable[[], dict[int, Id]],
        watch: WatchFeed,
        settings: RecordSettings,
        end: Callable[[], object],
        life: tuple[int, int, int],
    ) -> None:
        self._folder, self._recording, self._settings, self._end = folder, recording, settings, end
        self._reader, self._hashed = RingReader(recording, seed, hasher), hasher.is_on
        self._seed, self._outcomes, self._pid, self._life = seed, outcomes, os.getpid(), life
        self._watch = watch
        self._stream, self._number = secrets.token_hex(4), 0
        self._names = CategoryKeys(categories, hasher)
        self._arms: dict[tuple[str, str, str], RecordedArm] = {}
        self._pending: dict[str, list[Columns]] = {table: [] for table in TABLES}
        self._pending_bytes = 0
        self._segment: Segment | None = None
        self._written, self._lost = (dict.fromkeys(TABLES, 0) for _ in range(2))
        self._gone = dict.fromkeys(("decisions", "full", "outcomes", "nodes"), 0)
        self._bytes = self._segments = self._deleted = self._flushes = self._failures = 0
        self._last_error: str | None = None
        self._last_failed: float | None = None
        self._last_flush = self._durable = time.monotonic()
        self._last_prune = -PRUNE_EVERY
        self._is_on, self._is_done, self._lock = True, False, threading.Lock()
        self._background = Background("fogline-record", self._turn, min(LOOK_EVERY, settings.every), at_once=False)

    @property
    def totals(self) -> WatchTotals | None:
        """Predicted against actual, and missing outcomes; None before the first decision."""
        return self._watch.totals

    @property
    def status(self) -> RecordStatus:
        """How the recording goes."""
        return RecordStatus(
            is_on=self._is_on and self._pid == os.getpid(),
            folder=self._folder,
            written=dict(self._written),
            dropped=self._dropped(),
            lost=dict(self._lost),
            bytes=self._bytes + (self._segment.size if self._segment is not None else 0),
            segments=self._segments,
            deleted=self._deleted,
            flushes=self._flushes,
            failures=self._failures,
            last_error=self._last_error,
            last_failed=self._last_failed,
            lag=time.monotonic() - self._durable,
        )

    def flush(self) -> RecordStatus:
        """Write all that has happened so far, and return how it went."""
        if self._pid == os.getpid():
            with self._lock:
                self._drain()
                self._flush()
                self._prune()
        return self.status

    def stop(self) -> RecordStatus:
        """Record nothing more, write what has happened, close the segment and return how it went.

        If it is interrupted, another call writes the rest.
        """
        if self._is_done or self._pid != os.getpid():
            return self.status
        if self._is_on:
            self._end()
            self._is_on = False
        self._background.stop()
        with self._lock:
            with ExitStack() as ending:  # the last one first, and the others whatever becomes of one
                ending.callback(self._close_segment)
                ending.callback(self._flush)
                self._drain()
            self._is_done = True
        return self.status

    def _turn(self) -> None:
        with self._lock:
            try:
                is_due = time.monotonic() - self._last_flush >= self._settings.every
                if is_due or self._recording.fullness() > PRESSING:
                    self._drain()
                if is_due:
                    self._flush()
            except Exception as error:  # noqa: BLE001 - the thread has nobody to tell but the status
                self._note(error)

    def _dropped(self) -> dict[str, int]:
        counts = dict(self._gone)
        for ring in list(self._recording.rings):
            counts["decisions"] += int(read_mark(ring.records.marks, THIN_DROPPED))
            counts["full"] += int(read_mark(ring.records.marks, FULL_DROPPED))
        counts["outcomes"] += self._recording.outcomes_dropped
        counts["nodes"] += self._recording.nodes_dropped
        return counts

    def _drain(self) -> None:
        """Take all that waits in rings; what is appended meanwhile may be among it or not.

        Outcomes come first, and decisions are written first: where an outcome is on disk, so is its decision.
        """
        self._take("outcomes", self._reader.outcomes)
        for ring in list(self._recording.rings):
            is_abandoned, arm = ring.is_abandoned, self._arm_of(ring)
            self._take("full", lambda ring=ring, arm=arm: self._reader.full(ring, arm))  # type: ignore[misc]
            self._take("decisions", lambda ring=ring, arm=arm: self._reader.thin(ring, arm))  # type: ignore[misc]
            if is_abandoned:
                self._gone["decisions"] += int(read_mark(ring.records.marks, THIN_DROPPED))
                self._gone["full"] += int(read_mark(ring.records.marks, FULL_DROPPED))
                self._recording.rings.remove(ring)
        self._take("nodes", self._reader.nodes)

    def _take(self, table: str, take: Callable[[], Columns | None]) -> None:
        while (columns := take()) is not None:
            self._pending[table].append(columns)
            self._pending_bytes += n_bytes(columns)
            yield_interpreter()
            if self._pending_bytes > MOST_PENDING:
                self._flush()

    def _arm_of(self, ring: Ring) -> int:
        """Return the number of a ring's arm; equal models under equal policies are one arm."""
        if ring.arm is None:
            model, spec = ring.model, ring.model.spec.to_json()
            policy = hashlib.sha256(spec).hexdigest()
            key = model.name, model.version, policy
            if key not in self._arms:
                made = RecordedArm(
                    arm=len(self._arms),
                    name=model.name,
                    version=model.version,
                    fingerprint=model.spec.fingerprint(),
                    policy=policy,
                    spec=spec.decode(),
                    since=ring.since,
                )
                self._watch.know_arm(made.arm, model)
                self._arms[key] = made
            self._names.learn(model.manifest.vocabulary)
            ring.arm = self._arms[key].arm
        return ring.arm

    def _flush(self) -> None:
        """Write what was taken; what cannot be written is lost and counted."""
        self._last_flush, failures = time.monotonic(), self._failures
        taken: dict[str, Columns] = {}
        try:
            for table in TABLES:
                if (columns := self._write(table)) is not None:
                    taken[table] = columns
            self._pending_bytes = 0
        finally:
            self._watch_over(taken)
        self._recording.forget_names()
        if self._segment is not None and self._is_full(self._segment):
            self._close_segment()
        if self._last_flush - self._last_prune >= PRUNE_EVERY or self._segment is None:
            self._prune()
        if self._failures == failures:
            self._flushes, self._durable = self._flushes + 1, self._last_flush

    def _watch_over(self, taken: dict[str, Columns]) -> None:
        """Tell the watch of what was taken, and write who did not answer in time."""
        try:
            timeouts = self._watch.add(taken.get("decisions"), taken.get("outcomes"))
        except Exception as error:  # noqa: BLE001 - nothing that is recorded is lost by it
            self._note(error)
            return
        if timeouts is not None:
            self._pending["timeouts"].append(timeouts)
            self._write("timeouts")

    def _prune(self) -> None:
        self._last_prune = time.monotonic()
        try:
            own = None if self._segment is None else self._segment.path
            self._deleted += prune(self._folder, self._settings.most_bytes, self._settings.retention, own)
        except OSError as error:
            self._note(error)

    def _write(self, table: str) -> Columns | None:
        """Write what waits of a table; what cannot be written is lost and counted. Return it; None if there is nothing.

        After an interrupt all of it waits still.
        """
        parts, columns = self._pending[table], None
        if not parts:
            return None
        n = sum(map(n_rows, parts))
        try:
            columns = joined(parts)
            segment = self._append(table, columns)
        except Exception as error:  # noqa: BLE001 - of whatever kind, such as no memory: other rows are written
            parts.clear()
            self._lost[table] += n
            self._note(error)
            if self._segment is not None and not self._segment.is_sound:
                self._close_segment()
        else:
            self._written[table] += n
            parts.clear()
            self._write_names(table, columns, segment)
        return columns

    def _append(self, table: str, columns: Columns) -> Segment:
        """Write rows to the segment, or to a new one where it takes no more; return it."""
        segment = self._segment
        if segment is not None and not (segment.is_sound and segment.takes(table, columns)):
            self._close_segment()
        if self._segment is None:
            self._segment = self._new_segment()
        self._segment.add_arms(tuple(self._arms.values()))
        self._segment.append(table, columns)
        return self._segment

    def _write_names(self, table: str, columns: Columns, segment: Segment) -> None:
        """Write what keys in rows of a table stand for, where their segment does not say it yet."""
        if table == "names":
            self._names.wrote(columns)
            return
        try:
            names = self._names.of(table, columns, segment)
        except Exception as error:  # noqa: BLE001 - the rows are written, and names are looked for again with the next
            self._note(error)
            return
        if names is not None:
            self._pending["names"].append(names)
            self._write("names")

    def _new_segment(self) -> Segment:
        self._number += 1
        manifest = SegmentManifest(
            format=FORMAT,
            stream=self._stream,
            number=self._number,
            seed=self._seed,
            begun=time.time(),
            hashed=self._hashed,
            outcomes=self._outcomes,
            arms=tuple(self._arms.values()),
            life=self._life[0],
            follows=self._life[1],
            first_id=self._life[2],
        )
        segment = Segment(self._folder, manifest)
        self._segments += 1
        return segment

    def _is_full(self, segment: Segment) -> bool:
        age = time.time() - segment.manifest.begun
        return segment.size >= self._settings.segment_bytes or age >= self._settings.segment_seconds

    def _close_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        self._bytes += segment.size
        try:
            segment.close()
        except OSError as error:
            self._note(error)

    def _note(self, error: Exception) -> None:
        self._failures += 1
        self._last_error, self._last_failed = str(error) or type(error).__name__, time.time()
