"""A scheduler restored from a snapshot and records knows what the one that never stopped knows."""

import numpy as np
import pytest

from scheduler import DuplicateOutcomeError, InputError, Scheduler
from scheduler.decisions.arrays import N_LEARNED, N_OUTCOMES
from scheduler.errors import RecordError, SnapshotWarning
from scheduler.snapshot import capture
from scheduler.snapshot.save import copy_of
from scheduler.snapshot.tables import tables_of
from tests import models
from tests.scheduler.snapshot.conftest import request_of, used
from tests.schedulers import OK

NEVER = 1e5
COUNTED = ("decisions", "explored", "outcomes", "learned", "forgotten", "history_entries", "history_evicted")


def entries(history):
    """Every entry of every table by its key, as bytes."""
    found = {}
    for name, table in tables_of(history).items():
        for slot in np.flatnonzero(table.keys):
            parts = {part: words[slot].tobytes() for part, words in table.words.items()}
            found[name, int(table.keys[slot])] = parts
    return found


def assert_same_history(first, second):
    assert entries(first.history) == entries(second.history)
    levels = (one.history.latent_factors.levels for one in (first, second))
    np.testing.assert_array_equal(*levels)


def go_on(sched, first, n):
    """Decide and report outcomes, of some decisions late and of some never; learn from elsewhere too."""
    open_ = []
    for i in range(first, first + n):
        decision = sched.decide(request_of(i), now=float(i))
        open_ += [(decision.id, node) for node in (*decision.nodes, *decision.alternatives) if i % 3]
        if len(open_) > 3:
            id_, node = open_.pop(0)
            sched.observe(id_, {"ok": i % 5 != 0, "rtt_ms": 10.0 + i % 7, "speed": 2.0}, now=i + 0.5, node=node)
        if i % 4 == 0:
            sched.learn(request_of(i), "elsewhere", {"ok": True, "rtt_ms": 5.0 + i}, now=i + 0.6)
    return open_


@pytest.fixture
def world(rich, tmp_path):
    """A scheduler that is recorded, with folders for snapshots and records."""
    sched = used(rich, remember=64)
    sched.record(tmp_path / "records", every=NEVER, full=0.0)
    yield sched, tmp_path / "snapshots", tmp_path / "records"
    sched.recorder.stop()


def restored(model, folder, records, **settings):
    return Scheduler.restore(folder, model, records=records, **settings)


@pytest.mark.parametrize("n", [0, 30, 200])
def test_history_is_that_of_a_scheduler_that_never_stopped(world, rich, n):
    sched, snapshots, records = world
    open_ = go_on(sched, 40, 20)
    sched.save(snapshots)
    open_ += go_on(sched, 60, n)
    sched.recorder.flush()
    twin = restored(rich, snapshots, records)
    assert_same_history(sched, twin)
    assert {name: twin.counters()[name] for name in COUNTED} == {name: sched.counters()[name] for name in COUNTED}
    assert twin.caught_up.decisions == n
    assert twin.caught_up.missing == twin.caught_up.torn == 0
    remembered = set(sched.state.log.arrays.id.tolist())
    for id_, node in open_:
        if id_ in remembered:
            for one in (sched, twin):
                one.observe(id_, OK, now=300.0, node=node)
    assert_same_history(sched, twin)


def test_outcomes_that_were_recorded_are_not_taken_again(world, rich):
    sched, snapshots, records = world
    before = sched.decide(request_of(1), now=50.0)
    sched.save(snapshots)
    after = sched.decide(request_of(1), now=51.0)
    for decision in (before, after):
        sched.observe(decision.id, OK, now=52.0, node=decision.nodes[0])
    sched.recorder.flush()
    twin = restored(rich, snapshots, records)
    for decision in (before, after):
        with pytest.raises(DuplicateOutcomeError):
            twin.observe(decision.id, OK, now=53.0, node=decision.nodes[0])


def test_an_outcome_by_a_token_is_not_taken_again(world, rich):
    sched, snapshots, records = world
    other = used(rich, n=3, first_id=9_000_000)
    decision = other.decide({"client_id": 17}, [1], now=50.0)
    sched.save(snapshots)
    sched.observe(other.token(decision), OK, now=51.0)
    sched.recorder.flush()
    twin = restored(rich, snapshots, records)
    assert_same_history(sched, twin)
    with pytest.raises(DuplicateOutcomeError):
        twin.observe(other.token(decision), OK, now=52.0)


def test_the_reservation_of_a_decision_that_was_answered_after_the_snapshot_ends(world, rich):
    sched, snapshots, records = world
    decision = sched.decide({"client_id": 17, "kbps": 700.0}, [1], now=50.0)
    sched.save(snapshots)
    sched.observe(decision.id, OK, now=51.0)
    sched.recorder.flush()
    without, with_records = Scheduler.restore(snapshots, rich), restored(rich, snapshots, records)
    assert without.fleet.get(1).reserved - with_records.fleet.get(1).reserved == pytest.approx(700.0)
    assert with_records.fleet.get(1).reserved == pytest.approx(sched.fleet.get(1).reserved)


def test_records_of_another_scheduler_are_left_alone(world, rich):
    sched, snapshots, records = world
    sched.save(snapshots)
    for first_id in (1_000, 7_000_000):  # those of the scheduler that was saved, and others
        other = used(rich, n=5, first_id=first_id)
        other.record(records, every=NEVER, full=0.0)
        go_on(other, 40, 20)
        other.recorder.stop()
    go_on(sched, 60, 10)
    sched.recorder.flush()
    twin = restored(rich, snapshots, records)
    assert_same_history(sched, twin)
    assert twin.caught_up.decisions == 10


def test_a_scheduler_that_dies_again_before_it_saves_catches_up_over_both_lives(world, rich):
    sched, snapshots, records = world
    sched.save(snapshots)
    open_ = go_on(sched, 60, 20)
    sched.recorder.flush()
    second = restored(rich, snapshots, records)
    second.record(records, every=NEVER, full=0.0)
    for id_, node in open_[:2]:
        second.observe(id_, OK, now=90.0, node=node)
    id_, node = go_on(second, 100, 25)[-1]
    second.recorder.stop()
    third = restored(rich, snapshots, records)
    assert_same_history(second, third)
    assert {name: third.counters()[name] for name in COUNTED} == {name: second.counters()[name] for name in COUNTED}
    for one in (second, third):
        one.observe(id_, OK, now=130.0, node=node)
    assert_same_history(second, third)


def test_of_two_schedulers_restored_from_one_neither_is_believed(world, rich):
    sched, snapshots, records = world
    sched.save(snapshots)
    go_on(sched, 60, 10)
    sched.recorder.flush()
    for one in [restored(rich, snapshots, records) for _ in range(2)]:
        one.record(records, every=NEVER, full=0.0)
        go_on(one, 100, 5)
        one.recorder.stop()
    with pytest.warns(SnapshotWarning, match="found 2"):
        twin = restored(rich, snapshots, records)
    assert_same_history(sched, twin)


def test_outcomes_that_were_not_recorded_are_counted_as_missing(world, rich):
    sched, snapshots, records = world
    sched.save(snapshots)
    go_on(sched, 60, 10)
    sched.recorder.stop()
    n_lost = sched.counters()["outcomes"] + sched.counters()["learned"]
    go_on(sched, 70, 10)
    n_lost = sched.counters()["outcomes"] + sched.counters()["learned"] - n_lost
    sched.record(records, every=NEVER, full=0.0)
    go_on(sched, 80, 10)
    sched.recorder.flush()
    twin = restored(rich, snapshots, records)
    assert twin.caught_up.missing == n_lost > 0
    assert sum(twin.state.log.arrays.counters[[N_OUTCOMES, N_LEARNED]]) == sum(
        sched.state.log.arrays.counters[[N_OUTCOMES, N_LEARNED]]
    )


def test_without_a_folder_with_hashed_ids_or_another_fingerprint_it_says_why(world, rich, model, tmp_path):
    sched, snapshots, records = world
    sched.save(snapshots)
    with pytest.raises(RecordError, match="folder of records"):
        restored(rich, snapshots, tmp_path / "nowhere")
    with pytest.raises(InputError, match="another fingerprint"):
        Scheduler.restore(snapshots, models.changed(model), adapt=True, records=records)
    sched.recorder.stop()
    sched.record(tmp_path / "hashed", every=NEVER, key=b"0123456789abcdef")
    go_on(sched, 60, 3)
    sched.recorder.stop()
    with pytest.raises(RecordError, match="hashed"):
        restored(rich, snapshots, tmp_path / "hashed")


class _Meddler:
    """Takes a snapshot's columns, and between them lets the scheduler learn."""

    def __init__(self, sched, told):
        self.sched, self.told, self.columns, self.n = sched, told, {}, 0

    def append(self, name, rows, dtype=None):
        self.columns.setdefault(name, []).append(np.array(rows, dtype))
        if name.partition(".")[0] in ("history", "latent_factors", "change_points") and self.n < len(self.told):
            self.sched.learn(*self.told[self.n][:3], now=self.told[self.n][3])
            self.n += 1


class _Answerer:
    """Takes a snapshot's columns, and answers decisions when the log has been copied and history has not."""

    def __init__(self, sched, open_):
        self.sched, self.open_, self.columns, self.token = sched, open_, {}, None

    def append(self, name, rows, dtype=None):
        self.columns.setdefault(name, []).append(np.array(rows, dtype))
        if name == "log.held" and self.token is None:
            self.sched.observe(self.open_, OK, now=60.0)
            new = self.sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=60.0)
            self.token = self.sched.token(new)
            self.sched.observe(new.id, OK, now=60.5)


@pytest.mark.slow
def test_what_is_answered_between_the_copies_of_log_and_history_is_known_to_be_answered(rich, monkeypatch):
    sched = used(rich, remember=64)
    open_ = sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=50.0)
    sink = _Answerer(sched, open_.id)
    capture.capture(sched.state, sink)
    saved = copy_of(sched.state)._replace(columns={name: np.concatenate(p) for name, p in sink.columns.items()})
    monkeypatch.setattr("scheduler.snapshot.snapshot_control.copy_of", lambda _: saved)
    twin = sched.adapt(rich)
    assert_same_history(twin, sched)
    for decision in (open_.id, sink.token):
        with pytest.raises(DuplicateOutcomeError):
            twin.observe(decision, OK, now=61.0)


def test_an_outcome_that_comes_while_a_snapshot_is_written_counts_once(rich, tmp_path, monkeypatch):
    sched = used(rich, remember=64)
    sched.record(tmp_path / "records", every=NEVER, full=0.0)
    open_ = [sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=50.0 + i) for i in range(3)]
    other = used(rich, n=3, first_id=9_000_000)
    token = other.token(other.decide({"client_id": 17}, [1], now=50.0))
    real = capture.copy_table

    def copy_table(state, name, table, sink):
        real(state, name, table, sink)
        if name == "change_points":  # history was copied before
            after = sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=59.0)
            for decision in (open_[1].id, after.id, token):
                sched.observe(decision, OK, now=60.0)

    monkeypatch.setattr(capture, "copy_table", copy_table)
    sched.save(tmp_path / "snapshots")
    for records in (None, tmp_path / "records"):
        if records is not None:
            sched.recorder.stop()
        twin = Scheduler.restore(tmp_path / "snapshots", rich, records=records)
        assert_same_history(sched, twin)
        assert {n: twin.counters()[n] for n in ("outcomes", "learned")} == {
            n: sched.counters()[n] for n in ("outcomes", "learned")
        }
        for decision in (open_[1].id, token):
            with pytest.raises(DuplicateOutcomeError):
                twin.observe(decision, OK, now=61.0)
        assert twin.fleet.get(1).reserved == pytest.approx(sched.fleet.get(1).reserved)
        twin.observe(open_[2].id, OK, now=61.0)


@pytest.mark.slow
@pytest.mark.parametrize("hold", [1 << 12, 1 << 14])
def test_history_is_copied_as_of_one_moment_while_outcomes_come(rich, monkeypatch, hold):
    monkeypatch.setattr(capture, "HOLD_BYTES", hold)
    monkeypatch.setattr(capture, "FEW", 4)
    told = [
        (request_of(i), f"n{i % 23}", {"ok": i % 3 > 0, "rtt_ms": 9.0 + i % 11, "speed": 3.0}, 41.0 + i / 100)
        for i in range(3_000)
    ]
    # Of one secret, so that both have each key in the same bucket and evict the same.
    sched, twin = (used(rich, history_capacity=256, secret=1) for _ in range(2))
    sink = _Meddler(sched, told)
    capture.capture(sched.state, sink)
    assert sink.n > 20
    saved = copy_of(sched.state)._replace(columns={name: np.concatenate(p) for name, p in sink.columns.items()})
    n_known = int(saved.columns["answered.counters"].sum())
    for one in told[: n_known - sum(twin.state.log.arrays.counters[[N_OUTCOMES, N_LEARNED]])]:
        twin.learn(*one[:3], now=one[3])
    monkeypatch.setattr("scheduler.snapshot.snapshot_control.copy_of", lambda _: saved)
    assert_same_history(sched.adapt(rich), twin)
