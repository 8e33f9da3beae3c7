"""A small made-up fleet on disk, the demo's spec cut down to it, and the command line in-process."""

import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from scheduler.spec import Spec, load_spec, parse_spec
from training.cli import demo_run
from training.cli.main import main
from training.draft import sections
from training.simulator import World, write_telemetry

DEMO = Path(__file__).resolve().parents[1] / "models" / "specs" / "demo.toml"

UNTIL = 40
"""Slices from here on are for evaluation; the world has 48."""

FIT = "rounds = 15\npatience = 5\nlightgbm = { num_leaves = 8, learning_rate = 0.2, min_data_in_leaf = 50 }\n"
POOR = "rounds = 1\npatience = 5\nlightgbm = { num_leaves = 2, learning_rate = 0.001, min_data_in_leaf = 50 }\n"


class SmallWorld(NamedTuple):
    """A telemetry directory and the spec's file."""

    data: Path
    spec_file: Path

    @property
    def spec(self) -> Spec:
        """The parsed spec."""
        return load_spec(self.spec_file)


class Trained(NamedTuple):
    """What ``fogline train`` has made of it; nobody may change this."""

    world: SmallWorld
    registry: str
    artifact: Path
    result: dict[str, Any]


class Ran(NamedTuple):
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output; anything besides it is an error."""
        value = msgspec.json.decode(self.out)
        assert isinstance(value, dict)
        assert self.out.count("\n") == 1
        return value


def spec_text(fit: str = FIT, compared: str = "latency") -> str:
    """Return the demo's spec with little to fit and little to evaluate.

    Only the head that is named compares starts, as each is another fit. With a single round none does: to start from an
    average would make a model as good as the average.
    """
    text, count = DEMO.read_text(encoding="utf-8"), 0
    training = text[text.index("rounds = 200") : text.index("[evaluation]")]
    for old, new in ((training, fit + "\n"), ("start = 144", f"start = {UNTIL}"), ("requests = 5", "requests = 1")):
        count += text.count(old)
        text = text.replace(old, new)
    assert count == 3
    compared = "" if "rounds = 1\n" in fit else compared
    return re.sub(r"\[heads\.(\w+)\]\n", lambda m: m[0] + ("" if m[1] == compared else 'offset = "none"\n'), text)


def write_world(folder: Path) -> SmallWorld:
    """Write half a day of telemetry, 20,000 rows, and the spec."""
    write_telemetry(World(0), folder / "data", hours=12.0, requests=20_000)
    (folder / "small.toml").write_text(spec_text(), encoding="utf-8")
    return SmallWorld(folder / "data", folder / "small.toml")


def write_logged(folder: Path, explore: float = 1.0) -> None:
    """Write half a day of telemetry with propensities; every request may go to any of 20 nodes."""
    world = World(1, n_nodes=20, n_clients=40)
    write_telemetry(world, folder, hours=12.0, requests=12_000, explore=explore, propensities=True)


def fogline(capfd, *arguments: object) -> Ran:
    """Run a command line in this process."""
    capfd.readouterr()
    code = main([str(a) for a in arguments])
    return Ran(code, *capfd.readouterr())


def shrink_demo(monkeypatch) -> None:
    """Let ``fogline demo`` make half a day of telemetry and 1,000 decisions, by the small spec."""
    monkeypatch.setattr(demo_run, "HOURS", 12.0)
    monkeypatch.setattr(demo_run, "N_BATCHES", 50)
    monkeypatch.setattr(demo_run, "N_REQUESTS", 20)
    monkeypatch.setattr(demo_run, "write_telemetry", partial(write_telemetry, requests=20_000))
    monkeypatch.setattr(demo_run, "find_spec", lambda _: parse_spec(spec_text()))


def shrink_draft(monkeypatch) -> None:
    """Let specs that ``fogline init`` drafts have little to rehearse, to fit and to evaluate."""
    monkeypatch.setattr(sections, "MOST_REQUESTS", 2)
    monkeypatch.setattr(sections, "ROUNDS", 15)
