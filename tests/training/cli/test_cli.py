"""The command line: exit codes, one JSON object and nothing else, progress on standard error."""

import html
import re
import subprocess
import sys
from types import SimpleNamespace

import msgspec
import polars as pl
import pytest

from scheduler.model.mlflow_client import DEFAULT
from scheduler.model.model import Model
from tests.registries import new_registry
from tests.small_world import UNTIL, fogline, spec_text, write_world
from training.cli import main
from training.evaluation.results import Comparison
from training.policies import BASELINES
from training.telemetry.history_size import auto_capacity

COMMANDS = ["init", "check", "train", "tune", "evaluate", "report", "demo"]
FIGURES = ["mean", "median", "p95", "mean_log", "fail", "gap_closed", "gap_closed_log", "regret", "regret_log"]
POLICIES = {*BASELINES, "greedy_lightgbm", "learned", "oracle"}


@pytest.fixture
def judge(trained):
    """Options of an evaluation of the small world's champion, the first word excepted."""
    return [trained.world.data, "--spec", trained.world.spec_file, "--registry", trained.registry, "-k", 4]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_options_and_is_no_error(command, capfd):
    ran = fogline(capfd, command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert "--json" in re.sub(r"\x1b\[[\d;]*m", "", ran.out)


def test_help_names_the_commands(capfd):
    ran = fogline(capfd, "--help")
    assert ran.code == 0
    assert set(COMMANDS) <= set(re.findall(r"\w+", ran.out))


def test_without_words_it_shows_help_and_says_that_the_call_was_wrong(capfd):
    ran = fogline(capfd)
    assert ran.code == 2
    assert "Usage: fogline" in ran.out + ran.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "No such command 'fly'"),
        (["train", "data"], "Missing option '--spec'"),
        (["check", "--spec", "demo"], "Missing argument '"),
        (["train", "data", "--spec", "demo", "--until", "soon"], "Invalid value for '--until'"),
        (["evaluate", "data", "--spec", "demo", "--candidates", "1"], "Invalid value for '--candidates'"),
        (["demo", "--wings"], "No such option: --wings"),
    ],
)
def test_a_wrong_call_is_told_on_standard_error_and_with_json_also_as_json(words, message, capfd):
    plain, asked = fogline(capfd, *words), fogline(capfd, *words, "--json")
    assert (plain.code, plain.out, asked.code) == (2, "", 2)
    assert "Usage: fogline" in plain.err
    error = asked.json["error"]
    assert error["type"] == "UsageError"
    assert message in error["message"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "nobody",
            "spec: expected a path to a TOML file or one of demo, hbrp, seattle, vpngate, wsdream2, found 'nobody'",
        ),
        ("nobody.toml", "nobody.toml: expected a readable spec file, found No such file or directory"),
    ],
)
@pytest.mark.parametrize("command", ["check", "train", "tune", "evaluate", "report"])
def test_a_spec_that_is_not_there_was_a_wrong_call(command, spec, message, small_world, capfd):
    plain, asked = (fogline(capfd, command, small_world.data, "--spec", spec, *more) for more in ([], ["--json"]))
    assert (plain.code, plain.out, plain.err) == (2, "", f"fogline: {message}\n")
    assert (asked.code, asked.err) == (2, plain.err)
    assert asked.json == {"error": {"type": "SpecError", "message": message}}


@pytest.mark.parametrize("command", ["check", "train", "tune", "evaluate", "report"])
def test_data_that_is_not_there_is_a_failure(command, judge, tmp_path, capfd):
    words = judge[1:-2] if command in ("evaluate", "report") else judge[1:3]
    ran = fogline(capfd, command, tmp_path / "nothing", *words, "--json")
    assert ran.code == 1
    message = f"{tmp_path / 'nothing'}: expected a file or folder of telemetry, found none"
    assert ran.json == {"error": {"type": "DataError", "message": message}}
    assert ran.err == f"fogline: {message}\n"


def test_check_counts(small_world, capfd):
    ran = fogline(capfd, "check", small_world.data, "--spec", small_world.spec_file, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["rows"] == ran.json["accepted"] == 20_000
    assert (ran.json["slices"], ran.json["rejected"]) == (48, {})


def test_check_shows_tables_on_standard_output_and_progress_on_standard_error(small_world, capfd):
    ran = fogline(capfd, "check", small_world.data, "--spec", small_world.spec_file)
    assert ran.code == 0
    assert "20,000 of 20,000 rows accepted: slices 0 to 47" in ran.out
    assert "latency_ms" in ran.out
    assert "read" in ran.err
    assert "read" not in ran.out


def with_capacity(small_world, folder, capacity):
    """Write the small world's spec with another capacity of history."""
    text, before = spec_text(), "[history.keys]"
    assert text.count(before) == 1
    (folder / "sized.toml").write_text(text.replace(before, f"capacity = {capacity}\n{before}"))
    return small_world.data, "--spec", folder / "sized.toml"


def test_check_counts_the_keys_of_history_against_its_room(small_world, tmp_path, capfd):
    rows = pl.read_parquet(small_world.data / "telemetry.parquet").select("client_id", "node_id")
    found = fogline(capfd, "check", *with_capacity(small_world, tmp_path, '"auto"'), "--json").json["tables"]["history"]
    assert found["keys"]["node"] == rows["node_id"].n_unique()
    assert found["keys"]["client_node"] == rows.n_unique()
    assert found["total"] == sum(found["keys"].values())
    assert 1.5 * found["total"] <= found["capacity"] == found["advised"] < 3 * found["total"]
    assert found["auto"]
    small = with_capacity(small_world, tmp_path, 1_000)
    few = fogline(capfd, "check", *small, "--json").json["tables"]["history"]
    assert few == found | {"capacity": 1_000, "auto": False, "enough": False}
    shown = " ".join(fogline(capfd, "check", *small).out.split())
    assert f"Warning: history: {found['total']:,} entries do not fit, as there is room for about 1,000 only" in shown


@pytest.mark.slow
def test_history_without_room_for_the_keys_is_told_by_train_evaluate_and_report(small_world, tmp_path, capfd):
    registry = new_registry(tmp_path, tmp_path / "registry")
    options = (*with_capacity(small_world, tmp_path, 500), "--registry", registry)
    train = ("train", *options, "--until", UNTIL, "--out", tmp_path / "out", "--threads", 1)
    asked, shown = fogline(capfd, *train, "--json"), fogline(capfd, *train)
    use = asked.json["tables"]["history"]
    assert use["share"] > 0.5
    assert use["evicted"] > use["keys"] - use["entries"] > 0
    (line,) = asked.json["warnings"]
    assert line.startswith(f"history: {round(use['share'] * use['keys']):,} of {use['keys']:,} keys (")
    assert f"capacity = {auto_capacity(use['keys'])} under [history]" in line
    assert asked.err == f"Warning: {line}\n"
    assert shown.out.splitlines()[0] == f"Warning: {line}"
    manifest = Model.load(asked.json["artifact"]).manifest
    assert manifest.tables["history"].share == use["share"]
    evaluate = (*options, "--without", "vowpal_wabbit", "-k", 4)
    judged, page = fogline(capfd, "evaluate", *evaluate, "--json"), tmp_path / "page.html"
    assert judged.json["tables"]["training"]["history"] == use
    assert judged.json["tables"]["evaluation"]["history"]["share"] > 0.5
    assert [line.partition(": history: ")[0] for line in judged.json["warnings"]] == ["evaluation", "training"]
    fogline(capfd, "report", *evaluate, "--out", page, "--json")
    assert f"training: {line}" in html.unescape(page.read_text())


def test_train_says_what_it_made(trained):
    result = trained.result
    assert result["model"] == "models:/demo/1"
    assert result["artifact"] == str(trained.artifact)
    assert trained.artifact.name == f"demo-{result['version']}"
    assert result["window"]["last_slice"] == UNTIL - 1
    assert {"failure.auc", "latency.mae", "throughput.rmse"} <= result["metrics"].keys()
    assert (result["promoted"], result["reason"]) == (True, "there was no champion")
    assert result["warnings"] == []
    use = result["tables"]["history"]
    assert (use["capacity"], use["evicted"], use["share"]) == (auto_capacity(use["keys"]), 0, 0.0)


@pytest.mark.slow
def test_train_from_the_command_line(trained, tmp_path, tmp_path_factory, capfd):
    registry = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
    words = [
        *("train", trained.world.data, "--spec", trained.world.spec_file, "--until", UNTIL, "--threads", 1),
        *("--registry", registry, "--out", tmp_path / "artifacts"),
    ]
    asked, shown = fogline(capfd, *words, "--json"), fogline(capfd, *words)
    assert (asked.code, asked.err, shown.code) == (0, "", 0)
    spec = trained.world.spec.evaluation
    assert (asked.json["candidates"], asked.json["requests"]) == (spec.candidates, spec.requests)
    ignored = ("artifact", "run_id", "command", "seed", "versions", "candidates", "requests")
    assert {k: v for k, v in asked.json.items() if k not in ignored} == {
        k: v for k, v in trained.result.items() if k not in ignored
    }
    out = " ".join(shown.out.split())
    assert "models:/demo/1 on the last slices, never fitted on" in out
    assert f"{spec.candidates} candidates, requests = {spec.requests}, seed 0; fogline " in out
    assert "Champion: stays, because version 1 is this very model and the champion already" in out
    assert "fit latency" in shown.err
    assert "fit latency" not in shown.out


@pytest.mark.slow
def test_evaluate_and_report_print_the_same_figures(judge, tmp_path, capfd):
    page = tmp_path / "page.html"
    evaluated = fogline(capfd, "evaluate", *judge, "--json")
    reported = fogline(capfd, "report", *judge, "--out", page, "--json")
    assert (evaluated.code, evaluated.err, reported.code, reported.err) == (0, "", 0, "")
    found = evaluated.json
    conditions = ["candidates", "requests", "seed", "versions", "command"]
    rest = ["policies", "tables", "chosen", "agreeing", "saturated", "warnings", "intervals"]
    assert list(found) == ["data", "spec", "model", "n", *conditions, *rest]
    assert found["policies"].keys() == POLICIES
    assert all(list(row) == FIGURES for row in found["policies"].values())
    assert found["n"] > 500
    assert reported.json == {**found, "report": str(page)}
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.slow
def test_evaluate_shows_a_table_on_standard_output_and_progress_on_standard_error(judge, trained, monkeypatch, capfd):
    monkeypatch.setattr(Comparison, "tuned", "slices 0 to 7")
    without = ("--without", "vowpal_wabbit", "--without", "linucb")
    ran = fogline(capfd, "evaluate", *judge, "--model", trained.artifact, "--requests", 1, "--seeds", 2, *without)
    assert ran.code == 0
    assert all(name[:5] in ran.out for name in POLICIES - {"vowpal_wabbit", "linucb"})
    assert "of 2 seeds" in " ".join(ran.out.split())
    assert "Settings: slices 0 to 7." in ran.out
    assert "linucb" not in ran.out
    assert "evaluate" in ran.err
    assert "evaluate" not in ran.out


def test_cold_decisions_of_a_model_that_met_all_were_a_wrong_call(judge, trained, capfd):
    ran = fogline(capfd, "evaluate", *judge, "--model", trained.artifact, "--cold", "nodes", "--json")
    assert ran.code == 2
    assert "whose training left nodes out (fogline train --cold-nodes)" in ran.json["error"]["message"]


@pytest.mark.slow
def test_what_training_left_out_can_be_decided_by_a_model_that_never_met_it(small_world, tmp_path, capfd):
    registry = new_registry(tmp_path, tmp_path / "registry")
    options = (small_world.data, "--spec", small_world.spec_file, "--registry", registry, "--json")
    shares = ("--cold-nodes", 0.2, "--cold-clients", 0.3)
    made = fogline(capfd, "train", *options, "--until", UNTIL, "--out", tmp_path, "--threads", 1, *shares).json
    assert (made["window"]["cold_nodes"], made["window"]["cold_clients"]) == (0.2, 0.3)
    for group in ("clients", "nodes", "both"):
        ran = fogline(capfd, "evaluate", *options, "--cold", group, "--without", "vowpal_wabbit")
        assert (ran.code, ran.json.get("cold")) == (0, group)
        assert ran.json["policies"]["learned"]["mean"] > 0.0


def test_slices_that_the_model_was_trained_on_were_a_wrong_call(judge, trained, capfd):
    ran = fogline(capfd, "evaluate", *judge, "--model", trained.artifact, "--from", UNTIL - 1, "--json")
    assert ran.code == 2
    message = "start: expected a slice after 39, the last that the model was trained on, found 39"
    assert ran.json == {"error": {"type": "InputError", "message": message}}


def test_a_model_of_another_spec_was_a_wrong_call(judge, trained, tmp_path, capfd):
    other = tmp_path / "other.toml"
    other.write_text(spec_text().replace('half_lives = ["20m", "6h"]', 'half_lives = ["20m", "6h", "7h"]'))
    ran = fogline(capfd, "evaluate", judge[0], "--spec", other, "--model", trained.artifact, "--json")
    assert ran.code == 2
    assert f"found {Model.load(trained.artifact).spec.fingerprint()}" in ran.json["error"]["message"]


@pytest.mark.slow
def test_what_cannot_be_written_is_a_failure_with_a_name(judge, trained, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    words = [*judge, "--model", trained.artifact, "--out", tmp_path / "file" / "page.html"]
    ran = fogline(capfd, "report", *words, "--json")
    assert ran.code == 1
    assert str(tmp_path / "file") in ran.json["error"]["message"]
    assert ran.err.startswith("fogline: ")


LIMITED = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
from training.cli.main import main
for words in json.loads(sys.argv[1]):
    if code := main(words):
        sys.exit(f"{words[0]}: {code}")
"""
"""Runs command lines one after the other in 8 GiB of address space."""


@pytest.mark.slow
def test_slices_numbered_by_the_hour_are_checked_trained_judged_and_tuned_in_little_memory(tmp_path):
    """An array as long as such a number would be 15 GiB."""
    world = write_world(tmp_path)
    rows = pl.read_parquet(world.data / "telemetry.parquet")
    hours = (2024010100 + pl.col("slice") // 4).cast(pl.Int32)
    rows.with_columns(slice=hours).write_parquet(world.data / "telemetry.parquet")
    text = spec_text(compared="").replace("seconds = 900", "seconds = 3600")
    text = text.replace(f"start = {UNTIL}", "start = 2024010110")
    world.spec_file.write_text(text)
    spec = (world.data, "--spec", world.spec_file)
    registry = ("--registry", new_registry(tmp_path, tmp_path / "registry"))
    calls = [
        ("check", *spec),
        ("train", *spec, *registry, "--until", 2024010110, "--out", tmp_path / "out", "--threads", 1),
        ("evaluate", *spec, *registry, "-k", 4, "--without", "vowpal_wabbit"),
        ("train", *spec, *registry, "--until", 2024010111, "--out", tmp_path / "out", "--threads", 1),
        ("tune", *spec, *registry, "--trials", 1, "--folds", 1, "--out", "tuned.toml", "--threads", 1),
    ]
    words = msgspec.json.encode([[*map(str, call), "--json"] for call in calls]).decode()
    ran = subprocess.run([sys.executable, "-c", LIMITED, words], cwd=tmp_path, capture_output=True, check=False)
    assert ran.returncode == 0, (ran.stderr[-500:], ran.stdout[-500:])


@pytest.mark.slow
@pytest.mark.parametrize("words", [["check", "--json"], ["check"]])
def test_standard_output_that_cannot_be_written_is_one_line_and_exit_code_1(words, small_world):
    call = [sys.executable, "-m", "training.cli", *words, small_world.data, "--spec", small_world.spec_file]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        ran = subprocess.run(list(map(str, call)), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    said = ran.stderr.splitlines()[-1]
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert said.startswith("fogline: ")
    assert "No space left on device" in said
    if "--json" in words:
        expected = "expected a place that can be read or written, found: No space left on device"
        assert ran.stderr == f"fogline: standard output: {expected}\n"


@pytest.mark.slow
def test_an_evaluation_is_shown_where_its_registry_cannot_be_written(judge, monkeypatch, capfd):
    def deny(*_args, **_options):
        raise PermissionError(13, "Permission denied", "mlflow.db.lock")

    monkeypatch.setattr("training.evaluation.logged.log_comparison", deny)
    ran = fogline(capfd, "evaluate", *judge, "--requests", 1, "--without", "vowpal_wabbit", "--json")
    assert ran.code == 0
    expected = "expected a place that can be read or written, found: Permission denied"
    assert ran.err.endswith(f"Warning: the evaluation was not logged: mlflow.db.lock: {expected}\n")


INTERRUPTED = {"error": {"type": "KeyboardInterrupt", "message": "interrupted"}}


def interrupt(*_args, **_options):
    raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["in the work", "in loading the command line", "in loading what a command needs"])
def test_an_interrupt_is_one_line_one_json_object_and_exit_code_130(when, small_world, monkeypatch, capfd):
    if when == "in the work":
        monkeypatch.setattr("training.telemetry.check.read_telemetry", interrupt)
    else:
        name = "training.cli.app" if "command line" in when else "training.telemetry"
        monkeypatch.delitem(sys.modules, name)
        finder = SimpleNamespace(find_spec=lambda asked, *_: interrupt() if asked == name else None)
        monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    words = ["check", small_world.data, "--spec", small_world.spec_file]
    plain, asked = fogline(capfd, *words), fogline(capfd, *words, "--json")
    assert (plain.code, plain.out, plain.err) == (130, "", "fogline: interrupted\n")
    assert (asked.code, asked.json, asked.err) == (130, INTERRUPTED, plain.err)


def test_the_demo_refuses_a_folder_that_holds_other_things(tmp_path, capfd):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    ran = fogline(capfd, "demo", "--out", tmp_path, "--json")
    assert ran.code == 2
    message = f"{tmp_path}: expected an empty folder or that of an earlier demo, found thesis.tex"
    assert ran.json == {"error": {"type": "InputError", "message": message}}
    assert (tmp_path / "thesis.tex").read_text() == "ten years of work"


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return monkeypatch, tmp_path


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, DEFAULT),
        ({"MLFLOW_TRACKING_URI": "sqlite:///a.db"}, "sqlite:///a.db"),
        ({"MLFLOW_TRACKING_URI": "sqlite:///a.db", "MLFLOW_REGISTRY_URI": "sqlite:///b.db"}, "sqlite:///b.db"),
    ],
)
def test_which_registry_is_asked_follows_mlflows_variables(
    environment, expected, small_world, monkeypatch, tmp_path, capfd
):
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
        if name in environment:
            monkeypatch.setenv(name, environment[name])
    ran = fogline(capfd, "evaluate", small_world.data, "--spec", "demo", "--json")
    assert ran.code == 1
    database = tmp_path / expected.removeprefix("sqlite:///")
    assert ran.json["error"]["message"].startswith(
        f"registry sqlite:///{database}: expected a database, found no such file"
    )


def test_without_the_training_packages_it_says_what_to_install(monkeypatch, capfd):
    monkeypatch.delitem(sys.modules, "training.cli.app")
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.setitem(sys.modules, "typer", None)
    assert main.main(["check"]) == 1
    assert capfd.readouterr().err == "fogline: expected the packages of fogline[training], found no typer\n"


@pytest.mark.slow
def test_the_module_runs_as_a_program(small_world):
    words = [sys.executable, "-m", "training.cli", "check", str(small_world.data), "--spec", "demo", "--json"]
    ran = subprocess.run(words, check=True, capture_output=True)
    assert msgspec.json.decode(ran.stdout)["rows"] == 20_000
    assert ran.stderr == b""
