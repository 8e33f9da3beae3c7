"""What records say that a snapshot does not: decisions made and outcomes taken in after it.

A snapshot's history is as of one moment, and it has all outcomes up to then; see `scheduler.snapshot.capture`. Outcomes
are numbered in the order in which history learned from them: those with a higher number than that moment's are learned,
once each. All of them close decisions, which is the same however often it is done.

Only records of the scheduler that was saved count, and of those that were restored from it one after another. Which
these are is told by the random number of each one's life.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.decisions.arrays import (
    EXPLORED,
    N_EXPLORED,
    N_FORGOTTEN,
    N_LEARNED,
    N_OUTCOMES,
)
from scheduler.decisions.decision_log import begin_life
from scheduler.decisions.record.arrays import LEARNED, OBSERVED, TOKEN
from scheduler.decisions.record.columns import joined
from scheduler.decisions.record.read import SegmentReader, read_segments
from scheduler.engine.kernels.observe import learn_rows
from scheduler.engine.state import State
from scheduler.errors import RecordError, SnapshotWarning
from scheduler.history.outcomes import outcome_names, values_at
from scheduler.snapshot.log_columns import LogColumns, Rows, with_answers
from scheduler.snapshot.save import Saved
from scheduler.spec import Spec

LEARN_STEP = 4_096
"""Outcomes that one call of the kernel learns from: some 5 milliseconds, after which an interrupt is looked for."""


class CaughtUp(NamedTuple):
    """What a restored state took from records.

    Attributes
    ----------
    outcomes
        How many history learned from.
    decisions
        How many made after the snapshot are known again; nothing is reserved for them.
    missing
        Outcomes between those recorded that were not, such as those that a full queue dropped.
    torn
        Rows that were not whole.
    """

    outcomes: int
    decisions: int
    missing: int
    torn: int


class Told(NamedTuple):
    """A snapshot with what records add to its log, and the outcomes that its history lacks, in order.

    Attributes
    ----------
    saved
        The snapshot.
    request_keys, node_keys, outcomes, time
        Of (n,) outcomes.
    life
        Of the scheduler that goes on.
    caught_up
        How much that is.
    """

    saved: Saved
    request_keys: NDArray[np.uint64]
    node_keys: NDArray[np.uint64]
    outcomes: NDArray[np.float32]
    time: NDArray[np.float64]
    life: int
    caught_up: CaughtUp


class _Life(NamedTuple):
    """The records of one scheduler between two restarts: its decisions by id, its outcomes in order, or None."""

    life: int
    first_id: int
    decisions: Rows | None
    outcomes: Rows | None
    torn: int


def add_records(saved: Saved, folder: str | Path) -> Told:
    """Return a snapshot with what a folder of records adds to it.

    Raises
    ------
    RecordError
        If there is no such folder, or what would be needed was recorded with hashed ids, or the snapshot does not say
        of which scheduler it is.
    """
    if "life" not in saved.columns:
        message = (
            f"{saved.path}: expected a snapshot that says of which scheduler it is, found one of an earlier version"
        )
        raise RecordError(message)
    columns = with_answers(dict(saved.columns))
    counters, earlier, log = columns["log.counters"].copy(), columns["log.earlier"].copy(), LogColumns.of(columns)
    told_meanwhile = columns.pop("answered.id", None), columns.pop("answered.node", None)
    learned: list[Rows] = []
    n_decisions = n_missing = n_torn = 0
    life, seen, latest = int(columns["life"][0]), list[tuple[int, int]](), [-np.inf]
    for i, one in enumerate(_lives(folder, life, saved.spec)):
        if i:
            begin_life(counters, earlier, one.first_id)
        life, before, n_torn, rows = one.life, _sequence(counters), n_torn + one.torn, one.outcomes
        latest += [float(np.max(part["time"])) for part in (one.decisions, rows) if part is not None]
        if one.decisions is not None:
            n_decisions += log.add(one.decisions, counters)
            counters[N_EXPLORED] += np.count_nonzero(_after(log.first_new, one.decisions) == EXPLORED)
        if i == 0 and told_meanwhile[0] is not None and told_meanwhile[1] is not None:
            log.answer(told_meanwhile[0], told_meanwhile[1])
        if rows is not None:
            own = rows["kind"] == OBSERVED
            log.answer(rows["decision"][own], rows["node_keys"][own, 0])
            new = _where(rows, rows["sequence"] > before) if i == 0 else rows
            seen += _pairs(new, new["kind"] == TOKEN)
            n_missing += _count(counters, new, before if i == 0 else None)
            learned.append(new)
        counters[N_FORGOTTEN] += log.forget(counters)
    columns |= log.columns()
    columns["log.counters"], columns["log.earlier"] = counters, earlier
    columns["clock"] = np.array([max(columns["clock"][0], *latest)])
    columns["seen.id"] = np.append(columns["seen.id"], np.array([id_ for id_, _ in seen], np.int64))
    columns["seen.node"] = np.append(columns["seen.node"], np.array([key for _, key in seen], np.uint64))
    return _told(saved._replace(columns=columns), learned, life, (n_decisions, n_missing, n_torn))


def learn(state: State, told: Told) -> None:
    """Have history learn what it lacks; the caller holds the lock as a writer."""
    counters, arm = state.log.arrays.counters.copy(), state.arms[0]
    for first in range(0, len(told.time), LEARN_STEP):
        at = slice(first, first + LEARN_STEP)
        outcomes = np.ascontiguousarray(told.outcomes[at])
        learn_rows(
            state.arrays,
            arm.arrays,
            -1,
            np.ascontiguousarray(told.request_keys[at]),
            np.ascontiguousarray(told.node_keys[at]),
            outcomes,
            values_at(state.tracked, outcomes),
            np.ascontiguousarray(told.time[at]),
            np.zeros(1, np.int32),
            arm.thread.workspace,
        )
    state.log.arrays.counters[:] = counters  # they count these outcomes already


def _told(saved: Saved, learned: list[Rows], life: int, counts: tuple[int, int, int]) -> Told:
    columns, n_outcomes = saved.columns, len(outcome_names(saved.spec))
    none = {
        "request_keys": columns["log.request_keys"][:0],
        "node_keys": columns["log.node_keys"][:0, 0],
        "outcomes": np.zeros((0, n_outcomes), np.float32),
        "time": np.zeros(0),
    }
    rows: Rows = {name: np.concatenate([none[name], *(part[name] for part in learned)]) for name in none}
    n_decisions, n_missing, n_torn = counts
    caught_up = CaughtUp(len(rows["time"]), n_decisions, n_missing, n_torn)
    return Told(saved=saved, **rows, life=life, caught_up=caught_up)


def _lives(folder: str | Path, first: int, spec: Spec) -> list[_Life]:
    """Return the records of a scheduler, and of those that were restored from it one after another."""
    by_life: dict[int, list[SegmentReader]] = {}
    for segment in read_segments(folder):
        if _fits(segment, spec):
            by_life.setdefault(segment.manifest.life, []).append(segment)
    life = _read(by_life.pop(first)) if first in by_life else _Life(first, 0, None, None, 0)
    lives = [life]
    while True:
        followers = [number for number, some in by_life.items() if some[0].manifest.follows == life.life]
        after = [_read(by_life.pop(number)) for number in followers]
        after = [one for one in after if one.decisions is not None or one.outcomes is not None]
        if len(after) != 1:
            if after:
                message = f"{folder}: expected records of one scheduler that was restored from the snapshot's, "
                warnings.warn(f"{message}found {len(after)}; none of them is used", SnapshotWarning, stacklevel=4)
            return lives
        life = after[0]
        lives.append(life)


def _fits(segment: SegmentReader, spec: Spec) -> bool:
    """Return whether a segment was written over a state of a spec."""
    manifest, fingerprint = segment.manifest, spec.fingerprint()
    return manifest.outcomes == outcome_names(spec) and all(arm.fingerprint == fingerprint for arm in manifest.arms)


def _read(segments: list[SegmentReader]) -> _Life:
    if any(segment.manifest.hashed for segment in segments):
        message = f"{segments[0].path}: expected records with ids as they are, found hashed ones"
        raise RecordError(message)
    torn = sum(segment.torn(table).rows for segment in segments for table in ("decisions", "outcomes"))
    life, first_id = segments[0].manifest.life, segments[0].manifest.first_id
    return _Life(life, first_id, _rows(segments, "decisions", "id"), _rows(segments, "outcomes", "sequence"), torn)


def _rows(segments: list[SegmentReader], table: str, by: str) -> Rows | None:
    """Return all rows of a table by number, each once."""
    names = {
        "decisions": ("id", "time", "reason", "n_slate", "request_keys", "node_keys"),
        "outcomes": ("sequence", "decision", "kind", "time", "request_keys", "node_keys", "outcomes"),
    }[table]
    batches = [{name: batch[name] for name in names} for part in segments for batch in part.batches(table)]
    if not batches:
        return None
    rows: Any = joined(batches)
    return _where(rows, np.unique(rows[by], return_index=True)[1])


def _where(rows: Rows, which: Any) -> Rows:  # noqa: ANN401 - an index of numpy's
    return {name: column[which] for name, column in rows.items()}


def _after(first: int, decisions: Rows) -> NDArray[np.uint8]:
    """Return the reasons of decisions from an id on."""
    return decisions["reason"][decisions["id"] >= first]


def _pairs(rows: Rows, which: NDArray[np.bool_]) -> list[tuple[int, int]]:
    decisions, keys = rows["decision"][which], rows["node_keys"][which, 0]
    return list(zip(decisions.tolist(), keys.tolist(), strict=True))


def _sequence(counters: NDArray[np.int64]) -> int:
    return int(counters[N_OUTCOMES] + counters[N_LEARNED])


def _count(counters: NDArray[np.int64], rows: Rows, before: int | None) -> int:
    """Count outcomes that were taken in, and return how many of them were not recorded."""
    sequence, kind = rows["sequence"], rows["kind"]
    if not len(sequence):
        return 0
    expected = int(sequence[-1]) - (int(sequence[0]) - 1 if before is None else before)
    missing = expected - len(sequence)
    counters[N_OUTCOMES] += np.count_nonzero(kind == OBSERVED) + missing
    counters[N_LEARNED] += np.count_nonzero((kind == TOKEN) | (kind == LEARNED))
    return missing
