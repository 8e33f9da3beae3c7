"""``fogline why``, ``why-not``, ``what-if`` over records of a scheduler, and ``explain-model``."""

from types import SimpleNamespace

import pytest

from scheduler import Model
from scheduler.audit.words import feature_value
from tests import schedulers
from tests.models import write_small
from tests.small_world import fogline
from training.cli.explain import _changes, _value
from training.cli.explain_tables import SHOWN
from training.explanation.model_rules import model_rules


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """An artifact, records of its decisions, and one of those with the explanation that the scheduler gave."""
    pytest.importorskip("nanoarrow")
    folder = tmp_path_factory.mktemp("recorded")
    artifact = write_small(folder / "small")
    sched = schedulers.new(Model.load(artifact))
    recorder = sched.record(folder / "records", full=1.0)
    made = [sched.decide({"client_id": client}, now=0.0) for client in (17, "tv", 17)]
    found = sched.explain(made[1])
    recorder.stop()
    where = ("--records", folder / "records", "--model", artifact)
    return SimpleNamespace(id=made[1].id, found=found, where=where, folder=folder)


def test_why_prints_what_the_scheduler_says(recorded, capfd):
    ran = fogline(capfd, "why", recorded.id, *recorded.where)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(recorded.found.headline + "\n")
    assert f"{recorded.found.chosen} against {recorded.found.other}" in ran.out
    spec = Model.load(recorded.where[-1]).spec
    for part in recorded.found.parts[:SHOWN]:
        assert feature_value(spec, part.feature, part.chosen) in ran.out
    asked = fogline(capfd, "why", recorded.id, *recorded.where, "--json").json
    assert asked["headline"] == asked["sentences"][0] == recorded.found.headline
    assert [part["share"] for part in asked["parts"]] == [part.share for part in recorded.found.parts]


def test_why_not_finds_nodes_by_text(recorded, capfd):
    for node, stage in ((recorded.found.other, "lost"), ("nobody", "not_a_candidate"), (4711, "not_a_candidate")):
        asked = fogline(capfd, "why-not", recorded.id, node, *recorded.where, "--json").json
        assert (asked["node"], asked["stage"]) == (node, stage)
    ran = fogline(capfd, "why-not", recorded.id, recorded.found.other, *recorded.where)
    assert ran.out.startswith(f"{recorded.found.other} lost to {recorded.found.chosen} by ")


def test_what_if_takes_changes_policies_and_versions(recorded, tmp_path, capfd):
    same = fogline(capfd, "what-if", recorded.id, *recorded.where, "--json").json
    assert not same["changed"]
    change = f"{recorded.found.chosen}:load=1"
    asked = fogline(capfd, "what-if", recorded.id, *recorded.where, "--set", change, "--json").json
    assert asked["after"]["utility"] != same["after"]["utility"]
    other = write_small(tmp_path / "other", seed=2)
    ran = fogline(capfd, "what-if", recorded.id, *recorded.where, "--other", other)
    assert (ran.code, ran.err) == (0, "")
    assert "as it would be" in ran.out


def test_what_cannot_be_answered_is_a_wrong_call_or_failed_work(recorded, tmp_path, capfd):
    assert fogline(capfd, "what-if", recorded.id, *recorded.where, "--set", "load").code == 2
    unknown = fogline(capfd, "why", recorded.id + 1_000, *recorded.where, "--json")
    assert unknown.json["error"]["type"] == "NotRecordedError"
    other = write_small(tmp_path / "other", seed=2)
    refused = fogline(capfd, "why", recorded.id, *recorded.where[:2], "--model", other, "--json")
    assert "model: expected small-" in refused.json["error"]["message"]


def test_a_replay_of_nothing_has_failed(recorded, tmp_path, capfd):
    ran = fogline(capfd, "replay", tmp_path, *recorded.where[2:], "--json")
    assert ran.code == 1
    assert ran.json["error"]["message"].endswith("expected decisions that were recorded in full, found none")


def test_changes_are_read_as_json_has_values():
    record = SimpleNamespace(nodes=[1, "a:b"])
    given = ["1:load=0.5", "1:same_isp=true", "a:b:node_isp=mobile", "a:b:km="]
    assert _changes(record, given) == {1: {"load": 0.5, "same_isp": True}, "a:b": {"node_isp": "mobile", "km": None}}
    assert [_value(text) for text in ("7", "[1]", '"7"')] == [7, "[1]", "7"]


@pytest.mark.slow
def test_explain_model_shows_importance_dependence_and_rules(trained, capfd):
    data = ("--data", trained.world.data, "--spec", trained.world.spec_file)
    ran = fogline(capfd, "explain-model", trained.artifact, *data)
    assert ran.code == 0
    for said in (
        "Importance: share of the gain",
        "Means with each value of",
        "The nearest rules",
        "These rules explain",
    ):
        assert said in ran.out
    asked = fogline(capfd, "explain-model", trained.artifact, *data, "--json").json
    assert asked["rows"] == 4_000
    assert asked["surrogate"]["r2"] > 0.3
    assert asked["surrogate"]["order"] > 0.7
    assert fogline(capfd, "explain-model", trained.artifact).code == 0


@pytest.mark.slow
def test_a_model_is_explained_on_its_golden_rows_by_default(trained):
    found = model_rules(str(trained.artifact))
    assert found.source == "golden rows of the artifact"
    assert {len(one.values) == len(one.utility) for one in found.dependence} == {True}
