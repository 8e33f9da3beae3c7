"""A registry's SQLite file: made once however many processes open it, upgraded whole, and named where it is broken."""

import sqlite3
import subprocess
import sys
import threading
import warnings
from contextlib import closing

import pytest

from scheduler.errors import RegistryBrokenError, RegistryBusyError, RegistryDownError
from scheduler.model import sqlite_registry
from scheduler.model.mlflow_client import connect, registry_call
from scheduler.model.registry_lock import exclusive, lock_file
from scheduler.model.sqlite_registry import prepare_database
from tests.registries import new_registry
from tests.waiting import wait_for

EARLIER = "a8c4a736bde6"
"""A schema from before model versions had aliases."""

STEP_BACK = f"UPDATE alembic_version SET version_num = '{EARLIER}'"  # noqa: S608 - of constants


@pytest.fixture
def file(tmp_path, tmp_path_factory):
    """A whole database without content."""
    return tmp_path / new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry").removeprefix("sqlite:///")


def make(file, revision="head"):
    """Make a database of a schema, as an mlflow of its day did."""
    from alembic import command  # noqa: PLC0415
    from mlflow.store.db import utils  # noqa: PLC0415
    from mlflow.store.tracking.dbmodels.initial_models import Base  # noqa: PLC0415

    with registry_call("x", "y"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy warns of mlflow's tables
        engine = utils.create_sqlalchemy_engine(f"sqlite:///{file}")
        Base.metadata.create_all(engine)
        config = utils._get_alembic_config(f"sqlite:///{file}")  # noqa: SLF001
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        engine.dispose()


def run_sql(file, *statements):
    with closing(sqlite3.connect(file)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def content(file):
    with closing(sqlite3.connect(file)) as database:
        return list(database.iterdump())


PREPARE = """
import sys, time
from pathlib import Path
from scheduler.model.mlflow_client import registry_call, connect, load_mlflow
from scheduler.model.sqlite_registry import prepare_database
load_mlflow()
print("ready", flush=True)
sys.stdin.readline()
file = Path(sys.argv[1])
with registry_call(f"sqlite:///{file}", "a database"):
    prepare_database(file, create=True)
print(len(connect(f"sqlite:///{file}").search_experiments()))
"""


def start(*words):
    command = [sys.executable, "-c", *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def all_at_once(processes):
    """Let processes that wait for a line on standard input go on together; return what they printed."""
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), [error for _, error in answers]
    return [out.split() for out, _ in answers]


@pytest.mark.slow
def test_processes_that_open_a_fresh_registry_together_find_one_whole_database(tmp_path):
    file = tmp_path / "mlflow.db"
    assert all_at_once([start(PREPARE, file) for _ in range(3)]) == [["1"]] * 3
    prepare_database(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.slow
def test_processes_that_open_a_registry_of_an_older_schema_together_upgrade_it_once(tmp_path):
    file = tmp_path / "mlflow.db"
    make(file, EARLIER)
    before = content(file)
    assert all_at_once([start(PREPARE, file) for _ in range(3)]) == [["1"]] * 3
    prepare_database(file)
    assert content(tmp_path / f"mlflow.db.schema-{EARLIER}") == before


@pytest.mark.slow
def test_an_upgrade_keeps_what_is_registered(tmp_path):
    file = tmp_path / "mlflow.db"
    make(file, EARLIER)
    run_sql(
        file,
        "INSERT INTO registered_models (name, creation_time, last_updated_time) VALUES ('tiny', 1, 1)",
        "INSERT INTO model_versions (name, version, creation_time, status, current_stage) "
        "VALUES ('tiny', 1, 1, 'READY', 'None')",
    )
    client = connect(f"sqlite:///{file}")
    assert [model.name for model in client.search_registered_models()] == ["tiny"]
    client.set_registered_model_alias("tiny", "champion", "1")


@pytest.mark.slow
def test_readers_beside_the_first_use_see_no_registry_or_a_whole_one(tmp_path):
    file, seen = tmp_path / "mlflow.db", []
    stop = threading.Event()

    def read():
        while not stop.is_set():
            try:
                seen.append(len(connect(f"sqlite:///{file}").search_registered_models()))
            except RegistryDownError as error:
                seen.append(str(error).partition("found ")[2])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with registry_call(f"sqlite:///{file}", "a database"):
            prepare_database(file, create=True)
        wait_for(lambda: 0 in seen)
    finally:
        stop.set()
        reader.join()
    assert set(seen) == {0, "no such file; train a model or name another registry"}


@pytest.mark.slow
def test_what_a_killed_process_left_of_a_database_is_no_database(tmp_path):
    left = tmp_path / ".mlflow.db.part-abc"
    left.mkdir()
    (left / "mlflow.db").write_bytes(b"half made")
    with pytest.raises(RegistryDownError, match="no such file"):
        connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with registry_call("x", "y"):
        prepare_database(tmp_path / "mlflow.db", create=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.slow
def test_a_creation_that_fails_leaves_no_database(tmp_path, monkeypatch):
    monkeypatch.setattr("mlflow.store.db.utils._upgrade_db", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare_database(tmp_path / "mlflow.db", create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db.lock"]


def test_an_upgrade_that_fails_changes_nothing(tmp_path, monkeypatch):
    file = tmp_path / "mlflow.db"
    make(file, EARLIER)
    before = content(file)

    def fail(path):
        run_sql(path, "DROP TABLE runs")
        raise OSError("disk full")

    monkeypatch.setattr(sqlite_registry, "_upgrade_to_latest", fail)
    with pytest.raises(RegistryBrokenError, match=rf"schema {EARLIER}, which cannot be upgraded: .* \(disk full\)"):
        prepare_database(file)
    assert content(file) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.slow
@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (["DELETE FROM alembic_version"], r"tables without a schema: its creation was broken off"),
        (["UPDATE alembic_version SET version_num = 'ffff'"], "schema ffff, which is of another version of MLflow"),
        (["DROP TABLE registered_model_aliases"], "none of the tables registered_model_aliases"),
        ([STEP_BACK], f"schema {EARLIER}, which cannot be upgraded"),
    ],
)
def test_a_database_that_was_left_half_made_is_named_with_a_way_out(file, damage, found, create):
    run_sql(file, *damage)
    before = content(file)
    for _ in range(2):
        with (
            registry_call("x", "y"),
            pytest.raises(RegistryBrokenError, match=rf"sqlite:///{file}.*{found}.*move it away"),
        ):
            prepare_database(file, create=create)
    assert content(file) == before


def test_a_file_that_is_no_database_is_named(tmp_path):
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"SQLite format 3\0" + b"\xff" * 5_000)
    with pytest.raises(RegistryBrokenError, match=f"expected a SQLite database, found .*; move {file} away"):
        connect(f"sqlite:///{file}")


def test_pages_that_are_damaged_inside_are_named_when_they_are_met(file):
    with closing(sqlite3.connect(file)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'experiments'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as stream:
        stream.seek((page - 1) * size)
        stream.write(b"\xff" * size)
    with pytest.raises(RegistryBrokenError, match=r"expected an MLflow registry, found no answer .*malformed"):
        connect(f"sqlite:///{file}")


@pytest.mark.slow
def test_an_empty_file_is_made_a_database_by_who_may_and_named_by_who_reads(tmp_path):
    file = tmp_path / "mlflow.db"
    file.touch()
    with pytest.raises(RegistryDownError, match="expected a database, found an empty one; train a model"):
        connect(f"sqlite:///{file}")
    with registry_call("x", "y"):
        prepare_database(file, create=True)
    assert connect(f"sqlite:///{file}").search_registered_models() == []


def test_a_whole_database_is_opened_without_a_lock(file):
    with exclusive(file):
        thread = threading.Thread(target=prepare_database, args=(file,))
        thread.start()
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_the_lock_may_be_taken_again_by_its_owner_and_is_waited_for_by_others(tmp_path):
    file, told = tmp_path / "mlflow.db", []

    def take(wait):
        try:
            with exclusive(file, wait=wait):
                told.append("held")
        except RegistryBusyError as error:
            told.append(str(error))

    with exclusive(file), exclusive(file, wait=0.0):
        other = threading.Thread(target=take, args=(0.1,))
        other.start()
        other.join()
    take(0.0)
    busy, held = told
    expected = f"expected other processes to let go of {lock_file(file)} within 0.1 s, found it held"
    assert (busy, held) == (f"registry sqlite:///{file}: {expected}", "held")


HOLD = """
import sys
from pathlib import Path
from scheduler.model.registry_lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
def test_the_lock_of_another_process_is_waited_for_and_freed_when_it_is_killed(tmp_path):
    file = tmp_path / "mlflow.db"
    holder = start(HOLD, file)
    try:
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(RegistryBusyError, match=r"within 0\.2 s, found it held"), exclusive(file, wait=0.2):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with exclusive(file, wait=10.0):
        assert lock_file(file).exists()
