"""`fogline init` on the command line: what it shows, asks, writes and refuses."""

import os
import re
import signal
import subprocess
import sys

import polars as pl
import pytest

from scheduler.spec import load_spec, seconds
from tests.raw_world import deliveries, iso, pings
from tests.small_world import fogline
from training.cli import init as command
from training.cli import init_tables

FRAME = pings().select(When=iso(pings()["seconds"]), place="asker", resolver="answerer", rtt="ms", kind="kind")


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FRAME.write_csv("asked.csv", separator=";")
    return "asked.csv"


def test_it_shows_every_column_with_what_it_is_taken_for_and_says_what_comes_next(file, capfd):
    ran = fogline(capfd, "init", file)
    assert (ran.code, ran.err) == (0, "")
    shown = {line.split()[0]: line for line in ran.out.splitlines() if line.strip()}
    for column, use in {"When": "time", "place": "client", "resolver": "node", "kind": "request category"}.items():
        assert use in shown[column]
    assert "udp (" in shown["kind"]
    assert f"time: When, texts such as {FRAME['When'][0]}\n" in ran.out
    assert "slices: 48 of 30m, " in ran.out
    assert re.search(r"^half-lives: (\d[\d.]*[smhd], )+\d[\d.]*[smhd]: ", ran.out, re.MULTILINE)
    assert ran.out.endswith(
        "Spec: mine.toml\nCheck it: fogline check asked.csv --spec mine.toml\n"
        "Train: fogline train asked.csv --spec mine.toml\n"
    )
    assert load_spec("mine.toml").name == "mine"


def test_programs_read_columns_and_numbers_instead_of_words(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    frame = deliveries().drop("user_net", "server_net").rename({"server_place": "server_pop"})
    frame = frame.with_columns(bytes=pl.int_range(pl.len()) % 977 * 1_000)
    frame.write_csv("raw.csv")
    told = fogline(capfd, "init", "raw.csv", "--json", "--slice-seconds", 1_800).json
    assert told["roles"] == {
        "client": "user", "node": "server", "time": "seconds", "slice": None, "outcome": "ms", "success": "ok",
    }  # fmt: skip
    assert told["also_likely"] == {"client": ["user_place"], "node": ["server_pop"]}
    assert (told["columns"]["server_pop"], told["columns"]["user"]) == ("node category", "client")
    assert list(told["columns"]) == frame.columns
    assert (told["columns"]["bytes"], list(told["not_used"])) == (None, ["bytes"])
    assert (told["rows"], told["clients"], told["nodes"], told["slice_seconds"]) == (len(frame), 60, 40, 1_800.0)
    assert (told["unit"], told["median"]) == ("ms", pytest.approx(frame["ms"].median()))
    assert told["failed"] == pytest.approx(1.0 - frame["ok"].mean())
    spec = load_spec("mine.toml")
    assert told["half_lives_seconds"] == [seconds(life) for life in spec.history.half_lives]


@pytest.mark.parametrize(
    ("duration", "text"),
    [(1_800.0, "30m"), (129_600.0, "1.5d"), (4_500.0, "75m"), (90.5, "90.5s"), (342_544.0, "about 4d")],
)
def test_durations_are_said_in_one_unit(duration, text):
    assert init_tables._duration(duration) == text  # noqa: SLF001 - what stands on the screen


@pytest.mark.slow
def test_what_else_is_likely_is_said(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    deliveries().drop("user_net", "server_net").rename({"server_place": "server_pop"}).write_csv("raw.csv")
    said = "server (40); also likely: server_pop (6)"
    assert f"\nnode: {said}\n" in fogline(capfd, "init", "raw.csv").out
    assert fogline(capfd, "init", "raw.csv", "--json", "--force").json["node"] == said


def test_the_cost_is_said_with_its_unit(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    FRAME.with_columns(rtt=pl.col("rtt") / 1e3).rename({"rtt": "rtt_s"}).write_csv("asked.csv")
    median = f"{FRAME['rtt'].median():.4g} ms"
    said = f"cost: rtt_s is a duration in s by its name, better low; median {median}, 99 in 100 below "
    assert re.search(re.escape(said) + r"[\d.]+ ms\n", fogline(capfd, "init", "asked.csv").out)
    assert f"The median success costs {median}." in " ".join((tmp_path / "mine.toml").read_text().split())


def test_what_it_wrote_is_checked_without_a_rejected_row(file, capfd):
    assert fogline(capfd, "init", file, "--out", "a.toml").code == 0
    ran = fogline(capfd, "check", file, "--spec", "a.toml", "--json")
    assert (ran.code, ran.json["accepted"], ran.json["rejected"]) == (0, len(FRAME), {})
    assert ran.json["failed"] == pytest.approx(FRAME["rtt"].is_null().mean())
    assert ran.json["nodes_a_client_and_slice"]["median"] >= 2
    assert ran.json["categories"]["request.kind"]["values"] == 2
    assert dict(ran.json["categories"]["request.kind"]["common"]).keys() == {"udp", "tcp"}
    assert ran.json["advice"] == []


def test_a_spec_that_is_there_is_written_over_only_on_demand(file, tmp_path, capfd):
    (tmp_path / "mine.toml").write_text("mine")
    ran = fogline(capfd, "init", file, "--json")
    assert (ran.code, ran.json["error"]["type"]) == (2, "InputError")
    assert "mine.toml: expected no file there yet (--force writes over it), found one" in ran.err
    assert (tmp_path / "mine.toml").read_text() == "mine"
    assert fogline(capfd, "init", file, "--force").code == 0


def test_a_spec_that_cannot_be_written_stays_as_it_was(file, tmp_path, capfd, monkeypatch):
    (tmp_path / "mine.toml").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert fogline(capfd, "init", file, "--force").code == 1
    assert (tmp_path / "mine.toml").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_options_say_what_columns_are(file, capfd):
    words = [
        "--client",
        "resolver",
        "--node",
        "place",
        "--better",
        "high",
        "--slice-seconds",
        1_800,
        "--failure-cost",
        9,
    ]
    ran = fogline(capfd, "init", file, *words, "--name", "turned", "--json")
    assert ran.code == 0
    assert ran.json["client"].startswith("resolver")
    spec = load_spec("mine.toml")
    assert (spec.name, spec.telemetry.client, spec.telemetry.node) == ("turned", "resolver", "place")
    assert (spec.telemetry.slice.seconds, spec.cost.failure) == (1_800.0, 9.0)
    assert spec.raw[spec.cost.success].inverse is not None


def test_bad_data_is_a_failure_and_a_bad_option_a_wrong_call(file, tmp_path, capfd):
    (tmp_path / "numbers.csv").write_text("a,b\n1.5,2.5\n3.5,4.5\n")
    for words, code, message in (
        (["numbers.csv"], 1, "telemetry: expected a column of times, or of numbers of rounds (--time COLUMN), found a"),
        (["nothing.csv"], 1, "nothing.csv: expected a file or folder of telemetry, found none"),
        ([file, "--node", "wings"], 2, "--node: expected one of the columns When, place, resolver, rtt, kind"),
    ):
        ran = fogline(capfd, "init", *words)
        assert (ran.code, ran.out) == (code, "")
        assert message in ran.err
        assert ran.err.count("\n") == 1
    assert not (tmp_path / "mine.toml").exists()


def test_a_person_at_the_terminal_is_asked(file, monkeypatch, capfd):
    asked = []

    def answer(question, answers, default):
        assert default in answers
        asked.append((question, default))
        return "resolver" if "client" in question else "place" if "node" in question else default

    monkeypatch.setattr(command, "_ask", answer)
    monkeypatch.setattr(command, "_at_terminal", lambda: True)
    assert fogline(capfd, "init", file).code == 0
    assert asked[0] == ("Which column names the client, who asks", "place")
    assert load_spec("mine.toml").telemetry.client == "resolver"
    asked.clear()
    assert fogline(capfd, "init", file, "--yes", "--force").code == 0
    assert asked == []


def test_enter_takes_what_is_likely(monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "")
    assert command._ask("Which", ["a", "b"], "b") == "b"  # noqa: SLF001 - what stands at the terminal


def test_an_interrupt_ends_a_question(file):
    terminal, child = os.openpty()
    words = [sys.executable, "-m", "training.cli", "init", file]
    with subprocess.Popen(words, stdin=child, stdout=child, stderr=child) as ran:
        shown = b""
        while b"?" not in shown:
            shown += os.read(terminal, 1_000)
        ran.send_signal(signal.SIGINT)
        try:
            assert ran.wait(60) == 130
        finally:
            ran.kill()
    os.close(child)
    os.close(terminal)
