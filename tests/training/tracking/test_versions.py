"""A version stands in the registry with all that is said of it, or not at all, whatever fails and whoever is killed."""

import subprocess
import sys
import zlib

import pytest
from mlflow import MlflowClient

from scheduler.errors import RegistryError
from scheduler.model.registry import fetch
from tests import registries
from tests.artifacts import write_tiny
from tests.registries import new_registry
from training.pipeline.promotion import CHAMPION, champion, promote
from training.tracking.versions import CANNOT_BE_TOLD, KEPT, MOVED, PENDING, Promotion

pytestmark = pytest.mark.slow

WINS, LOSES = Promotion(MOVED, "it is better"), Promotion(KEPT, "it is worse")
WRITES = ["create_model_version", "set_registered_model_alias", "set_model_version_tag"]
INTERRUPTED = "the process that registered it ended before it was decided"


@pytest.fixture
def registry(tmp_path, tmp_path_factory) -> str:
    return new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")


def register(registry, folder, **changes):
    """Register another model for each name of a folder."""
    return registries.register(registry, folder, seed=zlib.crc32(folder.name.encode()), **changes)


def client_of(registry):
    return MlflowClient(tracking_uri=registry, registry_uri=registry)


def standing(registry):
    """What a reader sees: the alias, and each version's promotion."""
    client = client_of(registry)
    models = client.search_registered_models()
    versions = {str(v.version): v.tags.get("promotion") for v in client.search_model_versions("name = 'tiny'")}
    aliases = [model.aliases.get(CHAMPION) for model in models]
    return [None if alias is None else str(alias) for alias in aliases], versions


def failing(monkeypatch, method, error, *, after=False):
    """Let a method of mlflow's client fail, after it has done its work or instead of it."""
    real = getattr(MlflowClient, method)

    def fail(*args, **kwargs):
        if after:
            real(*args, **kwargs)
        raise error

    monkeypatch.setattr(MlflowClient, method, fail)


def test_a_version_is_made_with_its_promotion_and_all_other_tags(registry, tmp_path, monkeypatch):
    made = register(registry, tmp_path / "a", decide=lambda current: WINS if current is None else LOSES)
    assert made.promotion == WINS
    for method in WRITES[1:]:
        failing(monkeypatch, method, AssertionError("a version that stays a candidate needs nothing after it is made"))
    assert register(registry, tmp_path / "b", decide=lambda current: WINS if current is None else LOSES).version == "2"
    assert standing(registry) == (["1"], {"1": MOVED, "2": KEPT})
    tags = client_of(registry).get_model_version("tiny", "2").tags
    assert tags["promotion_reason"] == "it is worse"
    assert {"artifact_version", "artifact_digest", "fingerprint", "data_digest"} <= tags.keys()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", WRITES)
def test_a_registration_that_fails_leaves_nothing_of_a_new_model(method, after, registry, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        failing(patch, method, OSError("connection lost"), after=after)
        with pytest.raises(RegistryError, match="connection lost"):
            register(registry, tmp_path / "a", decide=lambda _: WINS)
    assert standing(registry) == ([], {})
    assert register(registry, tmp_path / "b", decide=lambda _: WINS).promotion == WINS


@pytest.mark.parametrize("error", [OSError("connection lost"), KeyboardInterrupt("stop")])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", WRITES)
def test_a_registration_that_fails_leaves_the_champion_as_it_was(method, after, error, registry, tmp_path, monkeypatch):
    register(registry, tmp_path / "a", decide=lambda _: WINS)
    with monkeypatch.context() as patch:
        calls = []
        if method == "set_registered_model_alias":  # only the first call, so that the alias can be moved back
            real = MlflowClient.set_registered_model_alias

            def fail_once(*args):
                if after or calls:
                    real(*args)
                calls.append(args)
                if len(calls) == 1:
                    raise error

            patch.setattr(MlflowClient, method, fail_once)
        else:
            failing(patch, method, error, after=after)
        with pytest.raises((RegistryError, KeyboardInterrupt)):
            register(registry, tmp_path / "b", decide=lambda _: WINS)
    assert standing(registry) == (["1"], {"1": MOVED})
    runs = client_of(registry).search_runs([client_of(registry).get_experiment_by_name("tiny").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]
    assert fetch("models:/tiny@champion", registry, cache=tmp_path / "cache").version == "1"


def test_what_cannot_be_taken_back_is_said_and_settled_by_the_next_process(registry, tmp_path, monkeypatch):
    register(registry, tmp_path / "a", decide=lambda _: WINS)
    with monkeypatch.context() as patch:
        for method in ("set_registered_model_alias", "delete_model_version"):
            failing(patch, method, OSError("connection lost"))
        with pytest.raises(RegistryError, match="connection lost") as caught:
            register(registry, tmp_path / "b", decide=lambda _: WINS)
    notes = getattr(caught.value.__cause__, "__notes__", [])
    assert notes == ["what was registered of tiny could not be taken back (connection lost)"]
    assert standing(registry) == (["1"], {"1": MOVED, "2": PENDING})
    register(registry, tmp_path / "c", decide=lambda _: LOSES)
    assert standing(registry) == (["1"], {"1": MOVED, "2": CANNOT_BE_TOLD, "3": KEPT})


KILLED = """
import os, sys
from mlflow import MlflowClient
from tests.registries import register
from training.tracking.versions import Promotion
method, when, registry, folder = sys.argv[1:]
real = getattr(MlflowClient, method)
def killed(*args, **kwargs):
    if when == "after":
        real(*args, **kwargs)
    os._exit(9)
setattr(MlflowClient, method, killed)
register(registry, folder, decide=lambda _: Promotion("moved", "it is better"))
"""


@pytest.mark.parametrize(
    ("method", "when", "seen", "settled"),
    [
        ("create_model_version", "before", (["1"], {"1": MOVED}), (["1"], {"1": MOVED, "2": KEPT})),
        (
            "create_model_version",
            "after",
            (["1"], {"1": MOVED, "2": PENDING}),
            (["1"], {"1": MOVED, "2": CANNOT_BE_TOLD, "3": KEPT}),
        ),
        (
            "set_registered_model_alias",
            "after",
            (["2"], {"1": MOVED, "2": PENDING}),
            (["2"], {"1": MOVED, "2": MOVED, "3": KEPT}),
        ),
    ],
)
def test_a_process_that_is_killed_leaves_what_the_next_one_settles(method, when, seen, settled, registry, tmp_path):
    register(registry, tmp_path / "a", decide=lambda _: WINS)
    write_tiny(tmp_path / "b")
    words = [sys.executable, "-c", KILLED, method, when, registry, str(tmp_path / "b2")]
    assert subprocess.run(words, check=False).returncode == 9
    assert standing(registry) == seen
    assert fetch("models:/tiny@champion", registry, cache=tmp_path / "cache").version == seen[0][0]
    register(registry, tmp_path / "c", decide=lambda _: LOSES)
    assert standing(registry) == settled
    for version in client_of(registry).search_model_versions("name = 'tiny'"):
        assert version.tags["promotion_reason"] in (WINS.reason, LOSES.reason, INTERRUPTED)


def test_a_version_that_is_registered_alone_says_that_nobody_has_decided(registry, tmp_path):
    assert register(registry, tmp_path / "a").promotion.outcome == PENDING
    assert standing(registry) == ([None], {"1": PENDING})
    assert promote("tiny", "1", registry=registry).moved
    assert standing(registry) == (["1"], {"1": MOVED})


@pytest.mark.parametrize("method", WRITES[1:])
def test_a_promotion_that_fails_leaves_the_alias_where_it_was(method, registry, tmp_path, monkeypatch):
    for name in "ab":
        register(registry, tmp_path / name)
    promote("tiny", "1", registry=registry)
    with monkeypatch.context() as patch:
        failing(patch, method, OSError("connection lost"))
        with pytest.raises(RegistryError, match="connection lost"):
            promote("tiny", "2", force=True, registry=registry)
    assert champion("tiny", registry) == "1"


TOGETHER = """
import sys
import zlib
from pathlib import Path
from scheduler.model.mlflow_client import load_mlflow
from scheduler.model.registry import fetch
from tests.registries import register
from training.pipeline.promotion import decide, promote
registry, folder = sys.argv[1:]
load_mlflow()
print("ready", flush=True)
sys.stdin.readline()
for number in range(2):
    seed = zlib.crc32(f"{folder} {number}".encode())
    made = register(registry, Path(folder) / str(number), seed=seed, decide=decide)
    promote("tiny", made.version, force=True, registry=registry)
    fetch("models:/tiny@champion", registry, cache=Path(folder) / "cache")
"""


def test_processes_that_register_promote_and_read_together_do_not_fail(tmp_path):
    registry = f"sqlite:///{tmp_path / 'fresh' / 'mlflow.db'}"
    commands = [[sys.executable, "-c", TOGETHER, registry, str(tmp_path / name)] for name in "abc"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for command in commands]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=400)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    (alias,), versions = standing(registry)
    assert sorted(versions, key=int) == [str(number) for number in range(1, 7)]
    assert set(versions.values()) == {MOVED}
    assert alias in versions
