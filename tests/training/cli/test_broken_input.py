"""Broken input, and the message that a user sees of each kind."""

import shutil
import socket

import polars as pl
import pytest

from scheduler import ClockError, InputError, Scheduler
from scheduler.errors import RegistryDownError
from scheduler.model.manifest import MANIFEST, file_names
from scheduler.model.model import Model
from tests.registries import new_registry
from tests.small_world import UNTIL, SmallWorld, fogline
from training.pipeline.options import TrainingOptions
from training.pipeline.pipeline import train_and_register

NAN, INF = float("nan"), float("inf")
LATENCY, LOAD = pl.col("latency_ms"), pl.col("load")
FILES = [*file_names(["failure", "latency", "throughput", "typical"], means=False), MANIFEST]


@pytest.fixture
def broken(small_world, tmp_path):
    """Write the small world with one file changed."""

    def write(table, change):
        folder = tmp_path / "data"
        shutil.copytree(small_world.data, folder)
        file = folder / f"{table}.parquet"
        change(pl.read_parquet(file)).write_parquet(file)
        return SmallWorld(folder, small_world.spec_file)

    return write


def first(n, value, column):
    """Return the column with its first ``n`` values replaced."""
    return pl.when(pl.int_range(pl.len()) < n).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)


REFUSED = {
    "missing column": (
        "telemetry",
        lambda frame: frame.drop("latency_ms"),
        "{data}/telemetry.parquet: column 'latency_ms': expected a number, found no such column; there are slice, ts, ",
    ),
    "wrong type": (
        "telemetry",
        lambda frame: frame.with_columns(LOAD.cast(pl.String)),
        "{data}/telemetry.parquet: column 'load': expected a number, found String",
    ),
    "wrong type of time": (
        "telemetry",
        lambda frame: frame.with_columns(pl.col("ts").cast(pl.String)),
        "{data}/telemetry.parquet: column 'ts': expected a datetime or a number of seconds, found String",
    ),
    "missing column of a table": (
        "nodes",
        lambda frame: frame.drop("isp"),
        "{data}/nodes.parquet: column 'isp': expected an integer or a string, found no such column; there are id, ",
    ),
    "empty telemetry": (
        "telemetry",
        lambda frame: frame.clear(),
        "{data}: expected telemetry rows, found none in the slices asked for",
    ),
    "empty table": (
        "nodes",
        lambda frame: frame.clear(),
        "{data}/nodes.parquet: expected at least one row, found none",
    ),
    "all-null outcome": (
        "telemetry",
        lambda frame: frame.with_columns(pl.lit(None, pl.Float32).alias("latency_ms")),
        "{data}: outcome 'latency_ms': expected a value where a request succeeded, found null in all ",
    ),
    "duplicate node ids": (
        "nodes",
        lambda frame: pl.concat([frame, frame.head(1)]),
        "{data}/nodes.parquet: column 'id': expected every id once, found twice or more: ",
    ),
    "NaN in a table": (
        "nodes",
        lambda frame: frame.with_columns(first(1, NAN, "uplink_kbps")),
        "{data}/nodes.parquet: column 'uplink_kbps': expected finite numbers from 0 to inf, or null, found nan",
    ),
    "infinity in a table": (
        "nodes",
        lambda frame: frame.with_columns(first(1, INF, "uplink_kbps")),
        "{data}/nodes.parquet: column 'uplink_kbps': expected finite numbers from 0 to inf, or null, found inf",
    ),
    "all rows bad": (
        "telemetry",
        lambda frame: frame.with_columns(pl.lit(NAN).alias("load")),
        "{data}: expected at least one good row, found ",
    ),
}


@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize("kind", REFUSED)
def test_broken_data_is_named(kind, command, broken, tmp_path, capfd):
    table, change, message = REFUSED[kind]
    world = broken(table, change)
    out = ["--out", tmp_path / "artifacts", "--registry", f"sqlite:///{tmp_path}/mlflow.db"]
    ran = fogline(capfd, command, world.data, "--spec", world.spec_file, "--json", *(out if command == "train" else []))
    assert ran.code == 1
    error = ran.json["error"]
    assert error["type"] == "DataError"
    assert error["message"].startswith(message.format(data=world.data))
    assert ran.err == f"fogline: {error['message']}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]  # nothing was made


COUNTED = {
    "NaN": (lambda frame: frame.with_columns(first(7, NAN, "latency_ms")), {"latency_ms: not finite": 7}),
    "infinity": (lambda frame: frame.with_columns(first(5, -INF, "load")), {"load: not finite": 5}),
    "out of range": (lambda frame: frame.with_columns(first(3, 1.5, "load")), {"load: out of range": 3}),
    "time going backwards": (
        lambda frame: frame.with_columns(first(9, frame["ts"].max(), "ts")),
        {"time: against the order of slices": 9},
    ),
    "unknown node": (lambda frame: frame.with_columns(first(2, -1, "node_id")), {"node: unknown": 2}),
}


@pytest.mark.parametrize(("change", "rejected"), COUNTED.values(), ids=COUNTED)
def test_bad_rows_are_counted_and_kept_with_their_reasons(change, rejected, broken, tmp_path, capfd):
    world = broken("telemetry", change)
    aside = tmp_path / "aside"
    ran = fogline(capfd, "check", world.data, "--spec", world.spec_file, "--rejected", aside, "--json")
    assert ran.code == 0
    ((rule, count),) = rejected.items()
    assert ran.json["rejected"] == rejected
    assert (ran.json["rows"], ran.json["accepted"]) == (20_000, 20_000 - count)
    kept = pl.read_parquet(aside / "rejected.parquet")
    assert kept["reasons"].to_list() == [[rule]] * count
    shown = fogline(capfd, "check", world.data, "--spec", world.spec_file)
    assert rule in shown.out


@pytest.mark.slow
def test_training_goes_on_without_the_bad_rows_and_says_how_many(broken, tmp_path, tmp_path_factory):
    world = broken("telemetry", lambda frame: frame.with_columns(first(7, NAN, "latency_ms")))
    registry = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
    options = TrainingOptions(registry=registry, until=UNTIL, out=tmp_path / "artifacts", threads=1)
    assert train_and_register(world.data, world.spec, options).summary.window["rejected"] == 7


@pytest.mark.parametrize("file", FILES)
def test_an_artifact_with_a_flipped_byte_is_refused(file, trained, tmp_path, capfd):
    folder = tmp_path / "artifact"
    shutil.copytree(trained.artifact, folder)
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 0x01
    (folder / file).write_bytes(data)
    ran = fogline(capfd, "evaluate", trained.world.data, "--spec", trained.world.spec_file, "--model", folder, "--json")
    assert ran.code == 1
    error = ran.json["error"]
    assert error["type"] == "ArtifactError"
    assert error["message"].startswith(f"{folder / file}: expected ")
    assert ", found " in error["message"]
    assert ran.err == f"fogline: {error['message']}\n"


def test_every_file_of_an_artifact_was_flipped(trained):
    assert sorted(path.name for path in trained.artifact.iterdir()) == sorted(FILES)


def closed_port():
    """A port at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_registry_without_a_database_is_named(command, small_world, tmp_path, capfd):
    registry = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = [small_world.data, "--spec", small_world.spec_file, "--registry", registry]
    ran = fogline(capfd, command, *words, "--json")
    assert ran.code == 1
    message = f"registry {registry}: expected a database, found no such file; train a model or name another registry"
    assert (
        ran.json == {"error": {"type": "RegistryError", "message": message}} or ran.json["error"]["message"] == message
    )
    assert ran.err == f"fogline: {message}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_registry_at_a_closed_port_is_named(small_world, capfd):
    registry = f"http://127.0.0.1:{closed_port()}"
    words = [small_world.data, "--spec", small_world.spec_file, "--registry", registry]
    ran = fogline(capfd, "evaluate", *words, "--json")
    assert ran.code == 1
    message = ran.json["error"]["message"]
    assert message.startswith(f"registry {registry}: expected models:/demo@champion, found no answer (")
    assert ran.err == f"fogline: {message}\n"


@pytest.mark.slow
def test_with_the_registry_down_a_trained_artifact_is_kept(small_world, tmp_path):
    registry = f"http://127.0.0.1:{closed_port()}"
    options = TrainingOptions(until=UNTIL, registry=registry, out=tmp_path / "artifacts", threads=1)
    with pytest.raises(RegistryDownError, match=f"registry {registry}: expected an MLflow server that takes a run"):
        train_and_register(small_world.data, small_world.spec, options)
    (artifact,) = (tmp_path / "artifacts").iterdir()
    assert Model.load(artifact).name == "demo"


SCHEMES = "sqlite, postgresql, mysql, mssql, http, https, file, databricks"
WORDS = {
    "train": ["--out", "made"],
    "tune": ["--out", "tuned.toml"],
    "evaluate": [],
    "report": ["--out", "page.html"],
    "lifetime": ["--out", "made"],
    "ope": ["--model", "models:/demo/1"],
}
"""By command, words that it would write by."""


@pytest.fixture
def unread(monkeypatch, tmp_path):
    """An empty working directory, where reading telemetry fails the test: a call is refused before."""

    def read(*_args, **_options):
        pytest.fail("telemetry was read")

    monkeypatch.setattr("training.telemetry.data_of", read)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused_early(capfd, command, folder, *words):
    """Return the error of a call that is refused before anything is read or written."""
    spec = [] if command in ("ope", "lifetime") else ["--spec", "demo"]
    ran = fogline(capfd, command, "data", *spec, *words, "--json")
    assert list(folder.iterdir()) == []
    assert ran.err == f"fogline: {ran.json['error']['message']}\n"
    return ran


@pytest.mark.parametrize("command", WORDS)
def test_a_registry_of_an_unknown_kind_is_refused_before_the_work(command, unread, capfd):
    ran = refused_early(capfd, command, unread, *WORDS[command], "--registry", "nonsense://me:secret@x")
    assert ran.code == 2
    expected = f"expected a URI that begins with {SCHEMES}, found 'nonsense'"
    assert ran.json["error"] == {"type": "InputError", "message": f"registry nonsense://***@x: {expected}"}


@pytest.mark.parametrize("command", ["train", "tune", "lifetime"])
def test_a_folder_as_registry_is_refused_before_the_work_where_mlflow_takes_none(command, unread, capfd, monkeypatch):
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    ran = refused_early(capfd, command, unread, *WORDS[command], "--registry", "mlruns")
    assert ran.code == 1
    assert ran.json["error"]["message"].startswith("registry mlruns: expected an MLflow registry, found ")


@pytest.mark.parametrize("command", ["train", "tune", "lifetime"])
def test_a_registry_that_is_to_take_runs_and_is_down_is_told_before_the_work(command, unread, capfd):
    registry = f"http://127.0.0.1:{closed_port()}"
    ran = refused_early(capfd, command, unread, *WORDS[command], "--registry", registry)
    assert ran.code == 1
    message = f"registry {registry}: expected an MLflow server that takes a run, found no answer (Connection refused)"
    assert ran.json["error"] == {"type": "RegistryDownError", "message": message}


@pytest.mark.parametrize(
    ("command", "option", "what"),
    [
        ("train", "--out", "the artifact"),
        ("tune", "--out", "the tuned spec"),
        ("tune", "--storage", "the trials"),
        ("report", "--out", "the report"),
        ("lifetime", "--out", "models and pictures"),
        ("demo", "--out", "what a demo makes"),
        ("dataset", "--out", "telemetry"),
        ("train", "--registry", "the registry"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_before_the_work(command, option, what, unread, capfd):
    place = f"sqlite:////proc/x.{command}" if option == "--registry" else f"/proc/x.{command}"
    if command == "demo":
        ran = fogline(capfd, command, option, place, "--json")
    elif command == "dataset":
        ran = fogline(capfd, command, "records", option, place, "--json")
    else:
        ran = refused_early(capfd, command, unread, option, place)
    assert ran.code == 1
    message = f"/proc/x.{command}: expected a place to write {what} to, found: No such file or directory, in /proc"
    assert ran.json["error"]["message"] == message


def test_where_rejected_rows_cannot_be_written_that_place_is_named(small_world, capfd):
    words = ["--spec", small_world.spec_file, "--rejected", "/proc/rejected"]
    ran = fogline(capfd, "check", small_world.data, *words, "--json")
    assert ran.code == 1
    expected = "expected a place to write rejected rows to, found: No such file or directory, in /proc"
    assert ran.json["error"] == {"type": "OSError", "message": f"/proc/rejected: {expected}"}


def test_what_the_system_says_is_a_sentence_about_a_place(small_world, monkeypatch, capfd):
    def deny(*_args, **_options):
        raise PermissionError(13, "Permission denied", ".fogline")

    monkeypatch.setattr("training.telemetry.check.read_telemetry", deny)
    ran = fogline(capfd, "check", small_world.data, "--spec", small_world.spec_file)
    message = "fogline: .fogline: expected a place that can be read or written, found: Permission denied\n"
    assert (ran.code, ran.err) == (1, message)


@pytest.fixture
def sched(trained):
    sched = Scheduler(Model.load(trained.artifact), seed=0)
    sched.fleet.upsert(["a", "b"], {"isp": ["north", "south"], "uplink_kbps": [8_000, 4_000]})
    return sched


def request(**changes):
    return {"client_id": 17, "workload": "live", "bitrate_kbps": 1_000.0, **changes}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.fleet.upsert(["a", "a"], {}), "row 1, id 'a': node ids: expected distinct ids, found 'a' twice"),
        (
            lambda s: s.fleet.upsert(["a"], {"load": [INF]}),
            "row 0, id 'a': column 'load': expected a finite number from 0 to 1, found inf",
        ),
        (
            lambda s: s.fleet.upsert(["a"], {"speed": [1]}),
            "column: expected one of isp, region, nat, disk, lat, lon, uplink_kbps, price_per_gb, load, found 'speed'",
        ),
        (lambda s: s.decide(request(), ["a", "a"], now=1.0), "candidates: expected distinct ids, found 'a' twice"),
        (
            lambda s: s.decide(request(bitrate_kbps=INF), ["a"], now=1.0),
            "column 'bitrate_kbps': expected a finite number from 0 to inf, found inf",
        ),
        (
            lambda s: s.decide(request(bitrate_kbps="fast"), ["a"], now=1.0),
            "column 'bitrate_kbps': expected a number, found 'fast' (str)",
        ),
        (lambda s: s.decide(request(), ["a"], now=NAN), "now: expected a finite time in seconds, found nan"),
        (
            lambda s: s.decide({"workload": "live"}, ["a"], now=1.0),
            "request: expected the client's id as 'client_id', found only workload",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_call_is_named_and_changes_nothing(call, message, sched):
    before = sched.counters()
    with pytest.raises(InputError) as caught:
        call(sched)
    assert str(caught.value) == message
    assert sched.counters() == before


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ({"ok": True, "latency_ms": NAN}, "outcome: expected 'latency_ms' where ok is true, found none"),
        (
            {"ok": True, "latency_ms": INF},
            "outcome 'latency_ms': expected a finite 32-bit number from 0 to 120000, found inf",
        ),
        ({"latency_ms": 3.0}, "outcome: expected ok, found only latency_ms"),
    ],
)
def test_a_broken_outcome_is_named_and_the_right_one_may_still_come(outcome, message, sched):
    decision = sched.decide(request(), ["a", "b"], now=1.0)
    with pytest.raises(InputError) as caught:
        sched.observe(decision.id, outcome, now=1.1)
    assert str(caught.value) == message
    sched.observe(decision.id, {"ok": True, "latency_ms": 30.0}, now=1.1)
    assert sched.counters()["outcomes"] == 1


def test_a_time_in_milliseconds_is_named_and_right_times_go_on(sched):
    now = 1_704_300_000.0
    sched.decide(request(), now=now)
    with pytest.raises(ClockError, match=r"found 1704300001000\.0; are these milliseconds"):
        sched.decide(request(), now=(now + 1) * 1_000)
    sched.decide(request(), now=now + 2)
