"""The soak agrees with its slow model, and notices when the two differ."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.soak_twin import Twin
from scheduler.engine.state import State

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_three_seconds_pass():
    command = [sys.executable, "-m", "benchmarks.soak", "--seconds", "3", "--threads", "3"]
    result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["ok"]
    assert len(report["processes"]) == 2
    assert all(one["counters"]["outcomes"] > 100 for one in report["processes"])


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soak") / "bench-roomy"
    soak.build(folder, soak.ROOMY)
    return folder


def run(artifact):
    return soak.soak(artifact, seed=5, n_threads=2, until=0.0)


@pytest.mark.slow
def test_the_same_seed_makes_the_same_calls(artifact):
    def one_thread():
        subject = soak.Subject(artifact, 7)
        subject.run_round(7, 1)
        return subject.scheduler.counters(), subject.twin.refused

    assert one_thread() == one_thread()


@pytest.mark.slow
def test_without_a_fault_there_is_no_violation(artifact):
    assert "violation" not in run(artifact)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["late outcome lands on a new node", "stale row", "lost reservation", "early expiry"])
def test_a_fault_is_noticed_with_the_seed(artifact, monkeypatch, fault):
    if fault == "late outcome lands on a new node":
        monkeypatch.setattr(Twin, "_give_back", _careless(Twin._give_back))  # noqa: SLF001
    elif fault == "stale row":
        monkeypatch.setattr(State, "_nodes_changed", _index_only)
    elif fault == "lost reservation":
        monkeypatch.setattr(Twin, "_expire", lambda *_: None)
    else:
        monkeypatch.setattr(soak, "seconds", lambda _: 0.9 * 20.0)
    found = run(artifact)
    assert found["violation"]
    assert found["seed"] == 5


def _careless(give_back):
    def without_life(twin, place):
        node = twin.nodes.get(place.node)
        if node is not None:
            place.life = node.life
        return give_back(twin, place)

    return without_life


def _index_only(state, slots):
    state.index.put(slots, state.fleet.arrays.columns.keys, state.fleet.arrays.listed)
