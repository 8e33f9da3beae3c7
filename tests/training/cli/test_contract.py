"""What every subcommand promises: exit codes, one JSON object, help that fits and teaches, tables that fit."""

import os
import re
import shlex
import sys
import threading
from contextlib import contextmanager
from itertools import chain
from types import SimpleNamespace

import pytest
import typer

from tests.registries import new_registry
from tests.sightings_world import write_sightings
from tests.small_world import UNTIL, fogline, shrink_demo, shrink_draft, write_logged
from training.cli.app import app, run
from training.cli.examples import EXAMPLES
from training.specs.builtin import find_spec

GROUPS = {name: one for name, one in typer.main.get_command(app).commands.items() if hasattr(one, "commands")}
COMMANDS = {name: one for name, one in typer.main.get_command(app).commands.items() if name not in GROUPS} | {
    f"{group} {name}": one for group, many in GROUPS.items() for name, one in many.commands.items()
}
CALLED = [pytest.param(name, marks=pytest.mark.slow) if name == "compile" else name for name in COMMANDS]
"""To compile, even in vain, is to start another process for each call."""

WIDTH = 80

ABSENT = ("nothing", "--spec", "demo")
NOWHERE = ("--registry", "sqlite:///nothing.db")
UNKNOWN = ("nothing", "--spec", "nobody")
RECORDED = ("--records", "nothing", "--model", "nothing")
FAILING = {
    **dict.fromkeys(("check", "train", "tune", "evaluate", "report"), ABSENT),
    "lifetime": ("nothing",),
    "demo": ("--out", "file/below"),
    "compile": ("--model", "nothing"),
    "init": ("nothing",),
    "ope": ("nothing", "--model", "nothing"),
    "models list": NOWHERE,
    "models show": ("demo", *NOWHERE),
    "models promote": ("demo", *NOWHERE),
    "models compare": ("demo/1", "demo/2", *NOWHERE),
    "why": ("1", *RECORDED),
    "why-not": ("1", "2", *RECORDED),
    "what-if": ("1", *RECORDED),
    "explain-model": ("nothing",),
    "records": ("nothing",),
    "replay": ("nothing", "--model", "nothing"),
    "dataset": ("nothing", "--out", "out"),
}
"""Words with which a subcommand fails, in a folder with a file ``file`` and a registry that has a model ``demo``."""

MISUSED = {
    **dict.fromkeys(("check", "train", "tune", "evaluate", "report", "lifetime"), UNKNOWN),
    "demo": ("--out", "."),
    "compile": ("--cpu", "z80"),
    "init": ("nothing", "--out", "file"),
    "ope": ("nothing", "--model", "nothing", "--spec", "nobody"),
    "models list": ("demo",),
    "models show": (),
    "models promote": (),
    "models compare": ("demo",),
    "why": ("first", *RECORDED),
    "why-not": ("1", *RECORDED),
    "what-if": ("first", *RECORDED),
    "explain-model": (),
    "records": (),
    "replay": ("nothing",),
    "dataset": ("nothing",),
}
"""Words that each command takes for a wrong call, in the same folder."""

WITHOUT_TABLES = {"compile", "models promote"}

LONG = {"compile", "why", "why-not", "what-if", "records", "replay", "dataset"}
"""The first takes two minutes, the others need records; `tests/training/cli/test_compile.py`, `test_explain.py` and
`tests/training/telemetry/test_records.py` run them."""


@pytest.fixture
def folder(tmp_path, tmp_path_factory, monkeypatch):
    """A working directory with an empty default registry, a file, sightings, and the small world as ``demo``."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    new_registry(tmp_path_factory.getbasetemp(), tmp_path / ".fogline")
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.fixture
def small(folder, small_world, monkeypatch):
    """The same, with the small world's spec in place of the demo's, and its telemetry where a demo leaves it."""
    for module in ("data", "train", "evaluate", "ope"):
        monkeypatch.setattr(
            f"training.cli.{module}.find_spec", lambda name: small_world.spec if name == "demo" else find_spec(name)
        )
    shrink_demo(monkeypatch)
    shrink_draft(monkeypatch)
    write_sightings(folder / "sightings")
    write_logged(folder / "logged")
    return folder


def test_the_cases_cover_every_subcommand():
    assert FAILING.keys() == MISUSED.keys() == COMMANDS.keys() == EXAMPLES.keys() - {"", *GROUPS}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", CALLED)
def test_failed_work_is_exit_code_1_and_one_json_object(command, trained, capfd):
    words = FAILING[command]
    if command in ("evaluate", "report"):
        words = ["nothing", "--spec", trained.world.spec_file, "--model", trained.artifact]
    plain, asked = fogline(capfd, *command.split(), *words), fogline(capfd, *command.split(), *words, "--json")
    assert (plain.code, plain.out, asked.code) == (1, "", 1)
    assert asked.json.keys() == {"error"}
    assert asked.json["error"].keys() == {"type", "message"}
    assert plain.err == f"fogline: {asked.json['error']['message']}\n"


@pytest.mark.parametrize("command", CALLED)
def test_a_wrong_call_is_exit_code_2_and_one_json_object(command, folder, capfd):
    for words in (MISUSED[command], ["--wings"]):
        plain, asked = fogline(capfd, *command.split(), *words), fogline(capfd, *command.split(), *words, "--json")
        assert (plain.code, plain.out, asked.code) == (2, "", 2)
        assert plain.err
        assert asked.json.keys() == {"error"}
    assert folder.joinpath("file").is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_subcommand_can_print_json_and_every_figure(command):
    options = {option for parameter in COMMANDS[command].params for option in parameter.opts}
    assert "--json" in options
    assert "--wide" in options or command in WITHOUT_TABLES


SEEDED = {"seed", "command", "versions"}
MADE_BY = {
    **dict.fromkeys(("demo", "train", "tune", "evaluate", "report"), SEEDED | {"candidates", "requests"}),
    **dict.fromkeys(("ope", "lifetime", "explain-model"), SEEDED),
}
"""Keys of JSON that say how its figures were made."""


@pytest.mark.slow
def test_done_work_is_exit_code_0_and_one_json_object(small, capfd):
    data = [".fogline/demo/telemetry", "--spec", "demo"]
    quick = ["--without", "vowpal_wabbit", "--requests", 1]
    words = {
        "demo": ["--threads", 1],
        "check": data,
        "train": [*data, "--threads", 1],
        "tune": [*data, "--trials", 1, "--folds", 1, "--objective", "loss", "--threads", 1],
        "evaluate": [*data, *quick],
        "report": [*data, *quick],
        "ope": ["logged", "--model", "models:/demo/1", "--propensity", "propensity"],
        "lifetime": ["sightings", "--horizon", 1, "--threads", 1],
        "init": [".fogline/demo/telemetry"],
        "models list": [],
        "models show": ["demo"],
        "models promote": ["demo/1"],
        "models compare": ["demo/1", "demo@champion"],
        "explain-model": ["models:/demo@champion"],
    }
    assert words.keys() == COMMANDS.keys() - LONG
    for command, given in words.items():
        ran = fogline(capfd, *command.split(), *given, "--json")
        assert (ran.code, ran.err) == (0, ""), command
        assert "error" not in ran.json
        assert MADE_BY.get(command, set()) <= ran.json.keys()
    assert (small / "fogline-report.html").is_file()


def plain(text):
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@pytest.mark.parametrize("command", ["", *GROUPS, *COMMANDS])
def test_help_fits_80_columns_cuts_nothing_and_ends_with_its_examples(command, monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    ran = fogline(capfd, *command.split(), "--help")
    lines = [line.rstrip() for line in plain(ran.out).splitlines()]
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, lines)) <= WIDTH
    assert "…" not in ran.out
    shown = [line.strip() for line in lines[lines.index(" Examples") + 1 :] if line]
    assert shown == list(chain.from_iterable((f"# {example.does}", example.command) for example in EXAMPLES[command]))


@pytest.mark.parametrize("command", ["", *GROUPS, *COMMANDS])
def test_every_example_is_a_right_call_of_its_subcommand(command):
    assert EXAMPLES[command]
    for example in EXAMPLES[command]:
        program, name, *words = shlex.split(example.command)
        assert program == "fogline"
        if name in GROUPS:
            name = f"{name} {words.pop(0)}"
        COMMANDS[name].make_context(name, words)
    assert EXAMPLES[command][0].command.startswith(f"fogline {command}".rstrip())


def test_the_version_is_that_of_the_package(capfd):
    ran = fogline(capfd, "--version")
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r"fogline \d+\.\d+\.\d+\n", ran.out)


@contextmanager
def terminal(monkeypatch):
    """Let standard output be a pseudo terminal of `WIDTH` columns, and yield what it has shown once it is closed."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = os.openpty()
    shown, got = SimpleNamespace(text=""), bytearray()

    def read():
        try:
            while part := os.read(ours, 65_536):
                got.extend(part)
        except OSError:  # what reading a terminal ends with when its last writer has closed it
            return

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield shown
    reader.join()
    os.close(ours)
    shown.text = plain(got.decode()).replace("\r\n", "\n")


def tables(text):
    """Return the lines of text that belong to a table: those without a path or command, which are never broken."""
    return [
        line
        for line in text.splitlines()
        if not re.match(r"(Model|Report|Artifact|Tuned spec|Train with it|Models and)", line)
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_the_examples_run_one_after_the_other_and_their_tables_fit_a_terminal(monkeypatch):
    models = ["models list", "models show", "models promote", "models compare"]
    order = [
        "demo",
        "init",
        "check",
        "train",
        "tune",
        "evaluate",
        "report",
        *models,
        "explain-model",
        "ope",
        "lifetime",
    ]
    assert sorted(order) == sorted(COMMANDS.keys() - LONG)
    for example in chain.from_iterable(EXAMPLES[command] for command in order):
        words = shlex.split(example.command.replace("--trials 10", "--trials 2"))[1:]
        with terminal(monkeypatch) as shown:
            code = run(words)
        assert code == 0, example.command
        assert "…" not in shown.text
        if "--wide" not in words:
            assert max(map(len, tables(shown.text))) <= WIDTH, example.command
        if words[0] in ("demo", "evaluate", "report", "lifetime"):
            assert re.search(r"^\* (learned|model)\b", shown.text, re.MULTILINE), example.command


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_train_leaves_what_evaluate_judges_and_all_leaves_nothing(small_world, capfd):
    data = [small_world.data, "--spec", "demo"]
    made = fogline(capfd, "train", *data, "--threads", 1, "--json").json
    assert made["window"]["last_slice"] == UNTIL - 1
    judged = fogline(capfd, "evaluate", *data, "--without", "vowpal_wabbit", "--requests", 1, "--json")
    assert judged.code == 0
    whole = fogline(capfd, "train", *data, "--threads", 1, "--until", "all", "--json").json
    assert whole["window"]["last_slice"] == 47
    assert whole["warnings"] == []
    late = fogline(capfd, "train", *data, "--threads", 1, "--until", 9_999, "--json")
    warning = "--until 9999: the last slice with rows before it is 47, so it may have kept nothing back"
    assert (late.json["window"], late.json["warnings"]) == (whole["window"], [warning])
    assert late.err == f"Warning: {warning}\n"
    refused = fogline(capfd, "evaluate", *data, "--model", whole["artifact"], "--json")
    assert refused.code == 2


@pytest.mark.usefixtures("folder")
def test_models_that_are_trained_anew_would_know_what_is_to_be_new(capfd):
    ran = fogline(capfd, "evaluate", "nothing", "--spec", "demo", "--cold", "nodes", "--retrain", 2, "--json")
    assert ran.code == 2
    assert ran.json["error"]["message"].startswith("retrain: expected none beside --cold, ")


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_tune_warns_of_an_end_that_the_data_do_not_reach(small_world, capfd):
    few = ["--trials", 1, "--folds", 1, "--objective", "loss", "--threads", 1, "--json"]
    ran = fogline(capfd, "tune", small_world.data, "--spec", "demo", "--until", 9_999, *few)
    warning = "--until 9999: the last slice with rows before it is 47, so it may have kept nothing back"
    assert ran.json["warnings"] == [warning]
    assert ran.err == f"Warning: {warning}\n"
    assert fogline(capfd, "tune", small_world.data, "--spec", "demo", "--until", 48, *few).json["warnings"] == []


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("given", ["soon", "-1", "1.5", ""])
@pytest.mark.parametrize("command", ["train", "tune"])
def test_until_is_a_slice_or_all(command, given, capfd):
    ran = fogline(capfd, command, "nothing", "--spec", "demo", f"--until={given}", "--json")
    assert ran.code == 2
    assert f"expected the number of a slice, or all, found {given!r}" in ran.json["error"]["message"]


def test_until_has_one_default_in_all_commands():
    found = {name: [p for p in c.params if "--until" in p.opts] for name, c in COMMANDS.items()}
    with_until = {name: parameters[0] for name, parameters in found.items() if parameters}
    assert with_until.keys() == {"train", "tune"}
    assert {(p.metavar, p.default) for p in with_until.values()} == {("SLICE|all", None)}
    assert len({p.help for p in with_until.values()}) == 1
    assert "Default: evaluation.start of the spec" in with_until["train"].help
