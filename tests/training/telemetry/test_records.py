"""A telemetry directory made of records says what the scheduler was told, and training sees what it saw."""

import heapq
import json
import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from scheduler import Model, Scheduler
from scheduler.decisions.record.folder import segment_paths
from scheduler.decisions.record.read import read_segments
from scheduler.decisions.record.segment import MANIFEST
from scheduler.errors import DataError, InputError, RecordError
from scheduler.history.store import new_history
from scheduler.spec import Policy
from tests import models
from tests.registries import new_registry
from tests.schedulers import OK
from tests.small_world import fogline
from training.features.replay import replay
from training.features.targets import head_targets
from training.features.warm import warm
from training.simulator import START, World
from training.telemetry import Categories, Frames, check_telemetry, read_telemetry
from training.telemetry.records.dataset import write_dataset

NEVER = 1e5
NODES = {
    "isp": ["mobile", "fibre", "mobile", "cable", None, "fibre"],
    "lat": [0.0, 10, 20, 30, 40, None],
    "lon": [0.0, 10, 20, 30, 40, 50],
    "taste": [[1.0, 2, 3], [0, 1, 0], [0, 0, 9], [3, 2, 1], [1, 1, 1], [2, 0, 2]],
    "uplink": [5e3, 4e3, 3e3, 2e3, 1e3, 9e3],
    "price": [1.0, 2, 3, 4, 5, 6],
    "load": [0.0, 0.25, 0.5, None, 1.0, 0.75],
}
CLIENTS = {"isp": ["mobile", "fibre"], "lat": [1.0, 2], "lon": [3.0, None], "taste": [[1.0, 0, 0], [0, 2, 0]]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model.load(models.write_small(tmp_path_factory.mktemp("records") / "small", models.EXTENDED))


def started(model, folder, window="365d", **settings):
    watch = msgspec.structs.replace(model.spec.watch, window=window)
    policy = Policy(explore="epsilon", epsilon=0.5, max_nodes=1, alternatives=1)
    sched = Scheduler(models.changed(model, policy=policy, watch=watch), seed=1, first_id=1_000)
    sched.fleet.upsert(range(6), NODES)
    sched.clients.upsert([17, 18], CLIENTS)
    sched.record(folder, **{"every": NEVER, "full": 0.5} | settings)
    return sched


def serve(sched, n, first=1_000_000.0):
    """Decide, tell loads and outcomes as they come; what each decision was and what came of it."""
    random, waiting, told = np.random.default_rng(3), [], []
    now = first
    for i in range(n):
        now += float(random.exponential(5.0))
        while waiting and waiting[0][0] <= now:
            at, id_, outcome, node = heapq.heappop(waiting)
            sched.observe(id_, outcome, now=at, node=node)
        request = {"client_id": [17, 18, 99][i % 3], "kind": ["live", "odd", None][i % 3], "kbps": [100.5, None][i % 2]}
        if i % 4 == 0:
            sched.fleet.update([i % 6], {"load": [i % 8 / 8]})
        decision = sched.decide(request, now=now)
        rtt = float(np.float32(random.exponential(3_000.0)))
        outcome = {"ok": i % 5 > 0} | ({"rtt_ms": rtt} if i % 10 else {}) | ({"speed": 2.0} if i % 2 else {})
        if i % 7:
            heapq.heappush(waiting, (now + rtt / 1000, decision.id, outcome, decision.nodes[0]))
        told.append((decision, request, outcome if i % 7 else None, now))
        if i % 20 == 19:
            sched.recorder.flush()
    for at, id_, outcome, node in sorted(waiting, key=lambda one: one[:2]):
        sched.observe(id_, outcome, now=at, node=node)
    return told


def served(model, folder, **settings):
    """A scheduler's records, what it was told, and the telemetry directory made of them."""
    sched = started(model, folder / "records", **settings)
    told = serve(sched, 150)
    sched.recorder.stop()
    report = write_dataset(folder / "records", folder / "out")
    return sched, told, folder, report


@pytest.fixture(scope="module")
def world(model, tmp_path_factory):
    return served(model, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def impatient(model, tmp_path_factory):
    """The same with timeouts and late outcomes."""
    return served(model, tmp_path_factory.mktemp("impatient"), window="3s")


@pytest.mark.slow
def test_rows_are_what_was_told(world):
    _, told, folder, report = world
    rows = pl.read_parquet(folder / "out" / "telemetry.parquet")
    answered = [one for one in told if one[2] is not None]
    assert (report.decisions, report.rows, report.missing) == (len(told), len(answered), len(told) - len(answered))
    assert report.skipped == {}
    assert report.unnamed == report.nodes_unknown == report.timeouts == report.late == 0
    for row, (decision, request, outcome, now) in zip(rows.iter_rows(named=True), answered, strict=True):
        assert (row["decision"], row["client_id"], row["node_id"]) == (
            decision.id,
            request["client_id"],
            decision.nodes[0],
        )
        assert (row["t"], row["ok"], row["propensity"]) == (now, outcome["ok"], decision.propensity)
        assert (row["kind"], row["kbps"]) == (request["kind"], request["kbps"])
        assert row["rtt_ms"] == outcome.get("rtt_ms")
        assert row["speed"] == outcome.get("speed")
        assert row["slice"] == (now - 1_000_000 // 60 * 60) // 60
        if row["candidates"] is not None:
            assert str(decision.nodes[0]) in row["candidates"]
    assert 0 < rows["candidates"].null_count() < rows.height


def test_tables_are_what_the_scheduler_was_told(world):
    _, _, folder, report = world
    nodes = pl.read_parquet(folder / "out" / "nodes.parquet").sort("id")
    for name in ("isp", "lat", "lon", "taste", "uplink", "price"):
        assert nodes[name].to_list() == NODES[name]
    clients = pl.read_parquet(folder / "out" / "clients.parquet").sort("id")
    assert clients["id"].to_list() == [17, 18, 99]
    for name, column in CLIENTS.items():
        assert clients[name].to_list() == [*column, None]
    assert (report.clients, report.nodes) == (3, 6)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["world", "impatient"])
def test_training_replays_the_features_that_the_scheduler_saw(which, request):
    sched, _, folder, report = request.getfixturevalue(which)
    assert (report.timeouts > 10, report.late > 10) == (which == "impatient",) * 2
    spec, features = sched.model.spec, sched.model.features
    assert check_telemetry(folder / "out", spec).rejected == {}
    telemetry = read_telemetry(folder / "out", spec)
    x = replay(telemetry, spec, features, new_history(spec))
    batches = [b for segment in read_segments(folder / "records") for b in segment.batches("decisions")]
    seen = {float(t): row for b in batches for t, row in zip(b["time"], b["chosen_features"], strict=True)}
    expected = np.stack([seen[t] for t in telemetry.time.tolist()])
    np.testing.assert_array_equal(x, expected)
    assert isinstance(telemetry.request["kind"], Categories)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["world", "impatient"])
def test_a_scheduler_that_is_warmed_from_records_knows_what_the_one_that_served_knew(which, request):
    sched, told, folder, _ = request.getfixturevalue(which)
    again = Scheduler(sched.model, seed=1)
    again.fleet.upsert(range(6), NODES)
    again.clients.upsert([17, 18], CLIENTS)
    warm(again, folder / "out")
    asked = {"client_id": [17, 18, 99], "kind": ["live", "odd", None], "kbps": [100.5, None, 3.0]}
    sched.fleet.update(range(6), {"load": NODES["load"]})
    nodes, now = np.tile(np.arange(6), (3, 1)), told[-1][3] + 1_000.0
    expected, found = (one.features(asked, nodes, now=now) for one in (sched, again))
    np.testing.assert_array_equal(found, expected)
    failed = expected.reshape(18, -1)[:, list(sched.model.features.names).index("pair_failed")]
    assert np.unique(failed[~np.isnan(failed)]).size > 1


def test_timeouts_are_failures_that_heads_are_fitted_to_and_that_no_history_learns(impatient):
    sched, _, folder, report = impatient
    telemetry = read_telemetry(folder / "out", sched.model.spec)
    never = np.isinf(telemetry.arrival)
    assert never.sum() == report.timeouts > 10
    every = np.ones(len(telemetry), bool)
    targets, _ = head_targets(telemetry, sched.model.spec, every)
    assert (targets["failure"][never] == 1.0).all()
    assert not telemetry.ok[never].any()
    spec, features = sched.model.spec, sched.model.features
    x = replay(telemetry, spec, features, new_history(spec))
    np.testing.assert_array_equal(x, replay(telemetry, spec, features, new_history(spec), revealed=~never))
    others = replay(telemetry.where(~never), spec, features, new_history(spec))
    np.testing.assert_array_equal(x[~never], others)


def test_frames_and_texts_of_records_say_when_outcomes_were_known(impatient, tmp_path):
    sched, _, folder, _ = impatient
    tables = {name: pl.read_parquet(folder / "out" / f"{name}.parquet") for name in ("telemetry", "clients", "nodes")}
    expected = read_telemetry(folder / "out", sched.model.spec)
    assert np.isinf(expected.arrival).any()
    shutil.copytree(folder / "out", tmp_path / "texts")
    (tmp_path / "texts" / "telemetry.parquet").unlink()
    tables["telemetry"].drop("candidates").write_csv(tmp_path / "texts" / "telemetry.csv")
    for data in (Frames(**tables), tmp_path / "texts"):
        np.testing.assert_array_equal(read_telemetry(data, sched.model.spec).arrival, expected.arrival)


def test_a_timeout_is_a_failure_until_a_late_outcome_comes(model, tmp_path):
    sched = started(model, tmp_path / "records", window="10s")
    made = [sched.decide({"client_id": 17}, now=now) for now in (1_000.0, 1_001.0, 1_002.0, 1_100.0)]
    sched.observe(made[0].id, OK, now=1_003.0, node=made[0].nodes[0])
    sched.recorder.flush()
    sched.observe(made[1].id, OK, now=1_101.0, node=made[1].nodes[0])
    sched.recorder.stop()
    report = write_dataset(tmp_path / "records", tmp_path / "out")
    rows = pl.read_parquet(tmp_path / "out" / "telemetry.parquet")
    assert rows["decision"].to_list() == [one.id for one in made[:3]]
    assert rows.select("ok", "rtt_ms", "timeout", "late", "known_after_s").rows() == [
        (True, 30.0, False, False, 3.0),
        (True, 30.0, False, True, 100.0),
        (False, None, True, False, np.inf),
    ]
    telemetry = read_telemetry(tmp_path / "out", model.spec)
    assert telemetry.arrival.tolist() == [1_003.0, 1_101.0, np.inf]
    assert (report.timeouts, report.late, report.missing) == (1, 1, 1)


def asked(model, folder, extra):
    """Records of decisions among nodes 0 to 2, with another node that is never chosen."""
    sched = started(model, folder)
    sched.fleet.upsert([extra], {"load": [0.5]})
    for i in range(6):
        decision = sched.decide({"client_id": 17}, [0, 1, 2], now=100.0 + i)
        sched.observe(decision.id, OK, now=100.5 + i, node=decision.nodes[0])
    sched.recorder.stop()
    return folder


def test_ids_are_of_one_type_in_all_tables(model, tmp_path):
    report = write_dataset(asked(model, tmp_path / "records", "box"), tmp_path / "out")
    assert (report.rows, report.nodes) == (6, 7)
    rows = read_telemetry(tmp_path / "out", model.spec)
    assert len(rows) == 6
    assert set(rows.nodes.ids) == {*map(str, range(6)), "box"}


@pytest.mark.parametrize("side", ["nodes", "clients"])
def test_an_integer_and_its_text_are_two_ids_that_no_table_can_hold(side, model, tmp_path):
    sched = started(model, tmp_path / "records")
    if side == "nodes":
        sched.fleet.upsert(["1"], {})
    serve(sched, 30)
    if side == "clients":
        sched.decide({"client_id": "17"}, now=2_000_000.0)
    sched.recorder.stop()
    pair = {"nodes": "1 and '1'", "clients": "17 and '17'"}[side]
    with pytest.raises(DataError, match=f"ids: expected integers and texts that differ, found both {pair}"):
        write_dataset(tmp_path / "records", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hashed_ids_stay_hashed(model, tmp_path):
    sched = started(model, tmp_path / "records", key=b"0123456789abcdef")
    serve(sched, 10)
    sched.recorder.stop()
    write_dataset(tmp_path / "records", tmp_path / "out")
    rows = pl.read_parquet(tmp_path / "out" / "telemetry.parquet")
    nodes = pl.read_parquet(tmp_path / "out" / "nodes.parquet")
    assert {len(text) for text in rows["client_id"]} == {32}
    assert set(rows["node_id"]) <= set(nodes["id"])


def test_categories_of_different_names_that_a_tier_compares_are_of_one_type(tmp_path, capfd):
    text = models.EXTENDED.replace('match = { isp = "isp" }', 'match = { kind = "price_class" }')
    text = text.replace("price = {", 'price_class = { type = "category", source = "nodes" }\nprice = {')
    vocabulary = models.VOCABULARY | {"node.price_class": (1, 2)}
    model = Model.load(models.write_small(tmp_path / "model", text, vocabulary=vocabulary))
    sched = Scheduler(model, seed=1)
    sched.fleet.upsert(range(6), NODES | {"price_class": [1, 2, None] * 2})
    sched.record(tmp_path / "records", every=NEVER)
    serve(sched, 20)
    sched.recorder.stop()
    assert fogline(capfd, "dataset", tmp_path / "records", "--out", tmp_path / "out").code == 0
    assert pl.read_parquet(tmp_path / "out" / "nodes.parquet")["price_class"].unique().sort().to_list() == [
        None,
        "1",
        "2",
    ]
    assert pl.read_parquet(tmp_path / "out" / "telemetry.parquet")["kind"].dtype == pl.String
    assert len(read_telemetry(tmp_path / "out", model.spec)) > 0


def test_a_disk_that_fills_up_leaves_the_telemetry_that_was_there(world, tmp_path, monkeypatch):
    _, _, folder, _ = world
    shutil.copytree(folder / "out", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write, written = pl.DataFrame.write_parquet, []

    def fill(frame, file):
        written.append(file)
        if len(written) == 3:
            Path(file).write_bytes(b"PAR1")
            raise OSError(28, "No space left on device")
        write(frame[:1], file)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fill)
    with pytest.raises(OSError, match="No space"):
        write_dataset(folder / "records", tmp_path / "out", force=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_torn_rows_and_other_fingerprints_are_left_out_and_counted(model, tmp_path):
    sched = started(model, tmp_path / "records")
    serve(sched, 40)
    sched.recorder.stop()
    segment = segment_paths(tmp_path / "records")[0]
    file = segment / "outcomes.arrows"
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)
    report = write_dataset(tmp_path / "records", tmp_path / "out")
    assert list(report.skipped) == ["torn rows of outcomes"]
    copy = segment.parent / segment.name.replace("-000001", "-000002")
    copy.mkdir()
    for one in segment.iterdir():
        (copy / one.name).write_bytes(one.read_bytes())
    told = json.loads((copy / MANIFEST).read_text())
    told["arms"][0] |= {"fingerprint": "other", "since": 0.0}
    (copy / MANIFEST).write_text(json.dumps(told))
    report = write_dataset(tmp_path / "records", tmp_path / "out", force=True)
    assert report.skipped["decisions of another fingerprint"] == 40


def test_without_records_it_says_so(model, tmp_path):
    with pytest.raises(RecordError):
        write_dataset(tmp_path / "nowhere", tmp_path / "out")
    started(model, tmp_path / "records").recorder.stop()
    with pytest.raises(DataError, match="expected recorded decisions, found none"):
        write_dataset(tmp_path / "records", tmp_path / "out")


def test_what_stands_in_a_folder_is_written_over_only_if_that_is_asked_for(world, tmp_path, capfd):
    _, _, folder, _ = world
    kept = tmp_path / "keep" / "telemetry.parquet"
    kept.parent.mkdir()
    kept.write_bytes(b"mine")
    message = f"{kept.parent}: expected an empty folder (--force writes over it), found telemetry.parquet"
    with pytest.raises(InputError, match=re.escape(message)):
        write_dataset(folder / "records", kept.parent)
    with pytest.raises(InputError, match="expected a folder, found a file"):
        write_dataset(folder / "records", kept, force=True)
    ran = fogline(capfd, "dataset", folder / "records", "--out", kept.parent, "--json")
    assert (ran.code, ran.json["error"]) == (2, {"type": "InputError", "message": message})
    assert [path.read_bytes() for path in kept.parent.iterdir()] == [b"mine"]
    assert fogline(capfd, "dataset", folder / "records", "--out", kept.parent, "--force").code == 0
    assert pl.read_parquet(kept).height > 0


@pytest.mark.slow
def test_the_command_writes_shows_and_replays(world, capfd, tmp_path):
    _, told, folder, _ = world
    ran = fogline(capfd, "dataset", folder / "records", "--out", tmp_path / "out", "--json")
    assert ran.code == 0
    assert ran.json["decisions"] == len(told)
    ran = fogline(capfd, "records", folder / "records", "--json")
    assert ran.json["segments"][0]["rows"]["decisions"] == len(told)
    artifact = models.write_small(tmp_path / "model", models.EXTENDED)
    ran = fogline(capfd, "replay", folder / "records", "--model", artifact, "--json")
    assert ran.code == 0
    assert ran.json["decided"] == ran.json["identical"] > 40
    other = models.write_small(tmp_path / "other", models.EXTENDED, seed=2)
    ran = fogline(capfd, "replay", folder / "records", "--model", other, "--json")
    assert ran.code == 1
    assert "no model" in next(iter(ran.json["skipped"]))
    for command in ("records", "dataset"):
        more = ("--out", tmp_path / "out", "--force") if command == "dataset" else ()
        ran = fogline(capfd, command, folder / "records", *more)
        assert ran.code == 0
    assert "1 segment\n" in fogline(capfd, "records", folder / "records").out
    assert "without its section [raw]" in " ".join(ran.out.split())
    assert fogline(capfd, "replay", folder / "records", "--model", artifact).code == 0
    assert "identical, bit for bit" in fogline(capfd, "replay", folder / "records", "--model", other).out
    assert fogline(capfd, "replay", folder / "records").code == 2


def columns_of(table):
    return {name: c.raw() if isinstance(c, Categories) else c for name, c in table.columns.items()}


def serve_demo(sched, world, n):
    """Decide for the demo's fleet, every few minutes over ten hours, and report what came of it."""
    sched.fleet.upsert(world.nodes.ids, columns_of(world.nodes))
    sched.clients.upsert(world.clients.ids, columns_of(world.clients))
    rng = np.random.default_rng(1)
    for now in np.linspace(START, START + 10 * 3_600.0, n // 50):
        asked = world.requests_at(np.full(50, now), rng)
        sched.fleet.update(world.nodes.ids, {"load": world.reported_load(now)})
        request = {name: c.raw() if isinstance(c, Categories) else c for name, c in asked.columns().items()}
        made = sched.decide_batch({"client_id": world.clients.ids[asked.client], **request}, now=now)
        served = np.flatnonzero(made.position[:, 0] >= 0)
        nodes = made.nodes[served, 0].astype(int)
        found = world.outcomes(type(asked)(*(column[served] for column in asked)), nodes[:, None] - 1_000)
        outcomes = {name: values[:, 0] for name, values in found.items()}
        sched.observe_batch(made.id[served], outcomes, now=now + 3.0, nodes=nodes.tolist())
        sched.recorder.flush()


@pytest.mark.slow
def test_a_model_is_trained_on_what_a_model_decided_and_decides(trained, tmp_path, capfd):
    spec = trained.world.spec
    exploring = msgspec.structs.replace(spec, policy=Policy(explore="epsilon", epsilon=0.2))
    sched = Scheduler(Model.load(trained.artifact), exploring, seed=1)
    sched.record(tmp_path / "records", every=NEVER, full=0.01)
    serve_demo(sched, World(0), 10_000)
    status = sched.recorder.stop()
    assert not any(status.dropped.values())
    written = fogline(capfd, "dataset", tmp_path / "records", "--out", tmp_path / "out", "--json").json
    assert written["rows"] > 8_000
    assert written["unnamed"] == written["nodes_unknown"] == 0
    assert written["skipped"] == {}
    checked = fogline(capfd, "check", tmp_path / "out", "--spec", trained.world.spec_file, "--json").json
    assert checked["accepted"] == checked["rows"] == written["rows"]
    words = ("--spec", trained.world.spec_file, "--until", "all", "--out", tmp_path / "models", "--json")
    ran = fogline(capfd, "train", tmp_path / "out", *words, "--registry", new_registry(tmp_path, tmp_path / "registry"))
    assert ran.code == 0, ran.err
    sched.swap(Model.load(ran.json["artifact"]), exploring)
    decision = sched.decide({"client_id": 3, "workload": "live", "bitrate_kbps": 100.0}, now=START + 40_000.0)
    assert decision.nodes
    assert decision.model_version == ran.json["version"]
