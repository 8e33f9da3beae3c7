"""The commands and the code of the how-to run as they stand, one after the other, up to a warm scheduler."""

import re
import shlex

import pytest

from tests.pages import ROOT
from tests.registries import new_registry
from tests.small_world import fogline, shrink_draft
from training.simulator import World, write_telemetry

TEXT = (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("\n## Train on your own telemetry\n")[2].partition("\n### Write a spec by hand\n")[0]
STEPS = re.findall(r"^```(sh|python)\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


def test_the_steps_lead_from_a_draft_to_a_scheduler():
    commands = [line.split()[1] for language, text in STEPS if language == "sh" for line in text.splitlines()]
    assert commands == ["init", "check", "train", "evaluate", "report", "models", "train"]
    assert STEPS[-1][0] == "python"


@pytest.mark.slow
def test_every_step_runs(tmp_path, tmp_path_factory, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    shrink_draft(monkeypatch)
    for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    new_registry(tmp_path_factory.getbasetemp(), tmp_path / ".fogline")
    write_telemetry(World(0), tmp_path / ".fogline" / "demo" / "telemetry", hours=8.0, requests=6_000)
    names: dict[str, object] = {}
    for language, text in STEPS:
        if language == "python":
            exec(compile(text, "how-to.md", "exec"), names)  # noqa: S102 - our own document
            continue
        for line in text.splitlines():
            program, *words = shlex.split(line)
            ran = fogline(capfd, *words)
            assert (program, ran.code) == ("fogline", 0), f"{line}: {ran.err}"
    assert names["d"].nodes
    assert names["sched"].counters()["history_entries"] > 100
    assert (tmp_path / "report.html").is_file()
