"""`fogline ope`: estimates with their support, or the reason why a log cannot tell."""

import re

import polars as pl
import pytest

from scheduler import Model
from scheduler.spec import Policy
from tests import models
from tests.schedulers import new
from tests.small_world import fogline, spec_text, write_logged

pytestmark = pytest.mark.slow

COLUMN = ("--propensity", "propensity")


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged")
    write_logged(folder)
    return folder


def test_estimates_and_support_come_as_a_table_and_as_json(trained, logged, capfd):
    words = ["ope", logged, "--model", trained.artifact, *COLUMN]
    asked, shown = fogline(capfd, *words, "--json"), fogline(capfd, *words)
    assert (asked.code, shown.code) == (0, 0), shown.err
    found = asked.json
    assert found["refused"] is None
    assert set(found["estimates"]) == {"ips", "snips", "dm", "dr", "switch_dr"}
    for one in found["estimates"].values():
        assert one["low"] <= one["value"] <= one["high"]
    assert 100 < found["support"]["effective"] < found["support"]["decisions"]
    assert found["support"]["overlap"]["low"] < 1.0 < found["support"]["overlap"]["high"]
    assert found["seed"] == 0
    assert found["command"].startswith("fogline")
    assert "Seed 0; fogline " in " ".join(shown.out.split())
    assert "numpy" in found["versions"]
    for words in (
        "as logged",
        "self-normalised",
        "doubly robust",
        "switch-DR",
        "Weights are worth",
        "Against what was",
    ):
        assert words in shown.out


def test_a_log_that_draws_one_node_alone_does_not_say_what_another_policy_costs(trained, logged, tmp_path, capfd):
    one = tmp_path / "one"
    one.mkdir()
    for name in ("nodes.parquet", "clients.parquet"):
        pl.read_parquet(logged / name).write_parquet(one / name)
    telemetry = pl.read_parquet(logged / "telemetry.parquet")
    rare = pl.int_range(pl.len()) % 100 == 0
    first = telemetry["node_id"].mode()[0]
    telemetry = telemetry.filter((pl.col("node_id") == first) | rare).with_columns(propensity=pl.lit(1.0))
    telemetry.write_parquet(one / "telemetry.parquet")
    words = ["ope", one, "--model", trained.artifact, *COLUMN, "--from", 10]
    ran, asked = fogline(capfd, *words), fogline(capfd, *words, "--json")
    assert (ran.code, ran.out, asked.code) == (1, "", 1)
    assert "does not say what demo-" in asked.json["error"]["message"]
    assert "support is too thin" in ran.err or "the log lacks what the model would choose" in ran.err


def test_a_log_without_propensities_and_slices_that_it_does_not_have_are_named(trained, logged, capfd):
    words = ["ope", logged, "--model", trained.artifact, "--json"]
    without = fogline(capfd, *words)
    assert without.code == 1
    expected = "expected telemetry.propensity in the spec, or --propensity COLUMN, found none"
    assert expected in without.json["error"]["message"]
    late = fogline(capfd, *words, *COLUMN, "--from", 900)
    assert late.code == 1
    assert "expected slice 900 or later, found 47 at most" in late.json["error"]["message"]


def test_a_spec_of_other_features_is_a_wrong_call(trained, logged, tmp_path, capfd):
    (tmp_path / "other.toml").write_text(re.sub(r"(?m)^regions_latency = .*$", "", spec_text()))
    ran = fogline(
        capfd, "ope", logged, "--model", trained.artifact, "--spec", tmp_path / "other.toml", *COLUMN, "--json"
    )
    assert ran.code == 2
    assert "fingerprint" in ran.json["error"]["message"]


WITHOUT_PRICES = re.sub(r"(?s)price = \"price\"\n.*?(?=\[candidates\])", "", models.SPEC)


def record(model, folder):
    """Decide 400 times, every 10 seconds, and tell what came of all but the last."""
    sched = new(model, policy=Policy(explore="epsilon", epsilon=0.3))
    recorder = sched.record(folder, full=1.0, every=1e5)
    for t in range(400):
        made = sched.decide({"client_id": [17, "tv"][t % 2], "kind": "live", "kbps": 0}, now=10.0 * t)
        if t < 399:
            sched.observe(made.id, {"ok": True, "rtt_ms": 10.0 + t % 7, "speed": 5.0}, now=10.0 * t, node=made.nodes[0])
        if t % 50 == 0:
            recorder.flush()
    recorder.stop()


def test_records_are_judged_from_where_the_model_has_not_seen_them(tmp_path, capfd):
    window = {"last_slice": 30, "first_judged_slice": 20, "seen_until": 1_195.0}
    artifact = models.write_small(tmp_path / "small", WITHOUT_PRICES, window=window)
    record(Model.load(artifact), tmp_path / "records")
    words = ["ope", tmp_path / "records", "--model", artifact]
    asked, shown = fogline(capfd, *words, "--json"), fogline(capfd, *words)
    assert (asked.code, shown.code) == (0, 0), shown.err
    assert asked.json["support"]["decisions"] == 276
    assert asked.json["warnings"] == []
    left_out = {
        "from the time that the model was trained or tuned on": 120,
        "an outcome is not due yet": 4,
    }
    assert asked.json["left_out"] == left_out
    assert "120 from the time that the model was trained" in " ".join(shown.out.split())
    told = fogline(capfd, *words, "--from", 10, "--json").json
    assert told["support"]["decisions"] == 336
    assert told["left_out"]["in slices before the first one asked for"] == 60


def test_an_artifact_that_does_not_say_what_it_has_seen_is_judged_on_all_records_with_a_warning(tmp_path, capfd):
    artifact = models.write_small(tmp_path / "small", WITHOUT_PRICES, window={"last_slice": 30})
    record(Model.load(artifact), tmp_path / "records")
    words = ["ope", tmp_path / "records", "--model", artifact]
    asked, shown = fogline(capfd, *words, "--json"), fogline(capfd, *words)
    assert asked.json["support"]["decisions"] == 396
    assert len(asked.json["warnings"]) == 1
    assert "does not say at what time its training data end" in asked.json["warnings"][0]
    assert asked.json["warnings"][0] in asked.err
    assert "Warning: " in shown.out
    assert fogline(capfd, *words, "--from", 0, "--json").json["warnings"] == []
