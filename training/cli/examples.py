"""The examples in the help of each subcommand: they run as they stand, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.markup import escape

DEMO = ".fogline/demo/telemetry"
"""The telemetry that ``fogline demo`` leaves."""


class Example(NamedTuple):
    """A command line, and what it is for."""

    does: str
    command: str


EXAMPLES: dict[str, tuple[Example, ...]] = {
    "": (
        Example("See the whole job once, on a made-up fleet", "fogline demo"),
        Example("Train on the telemetry that the demo left", f"fogline train {DEMO} --spec demo"),
        Example("Let the model and the baselines decide what came after", f"fogline evaluate {DEMO} --spec demo"),
    ),
    "demo": (
        Example("Leave everything in .fogline/demo", "fogline demo"),
        Example("Another fleet, in another folder", "fogline demo --seed 7 --out .fogline/seventh"),
    ),
    "init": (
        Example("Draft a spec from files of your own", f"fogline init {DEMO} --out mine.toml"),
        Example("And train with it", f"fogline train {DEMO} --spec mine.toml"),
    ),
    "check": (
        Example("What is in the telemetry that fogline demo left", f"fogline check {DEMO} --spec demo"),
        Example("Keep rejected rows, with the reasons", f"fogline check {DEMO} --spec demo --rejected rejected"),
    ),
    "train": (
        Example("Leave the slices that the spec evaluates for fogline evaluate", f"fogline train {DEMO} --spec demo"),
        Example("Use all slices, for a model that is to serve", f"fogline train {DEMO} --spec demo --until all"),
    ),
    "tune": (
        Example("Ten trials by the cheaper objective", f"fogline tune {DEMO} --spec demo --trials 10 --objective loss"),
        Example("Train with what was found", f"fogline train {DEMO} --spec tuned.toml"),
    ),
    "evaluate": (
        Example("Judge the champion that fogline train registered", f"fogline evaluate {DEMO} --spec demo"),
        Example("The first version over three seeds", f"fogline evaluate {DEMO} -s demo -m models:/demo/1 --seeds 3"),
        Example(
            "Every figure, without one of the baselines", f"fogline evaluate {DEMO} -s demo --wide --without linucb"
        ),
    ),
    "report": (
        Example("A page about the champion that fogline train registered", f"fogline report {DEMO} --spec demo"),
        Example("In a file of your own", f"fogline report {DEMO} --spec demo --out report.html"),
    ),
    "why": (
        Example("Why a decision is what it is", "fogline why 4711 --records records --model models:/demo@champion"),
        Example(
            "All parts and all changes, for a program",
            "fogline why 4711 --records records --model models:/demo@champion --json",
        ),
    ),
    "why-not": (
        Example(
            "Why a node did not serve",
            "fogline why-not 4711 box-17 -r records -m models:/demo@champion",
        ),
    ),
    "what-if": (
        Example(
            "What the first version would have decided",
            "fogline what-if 4711 -r records -m models:/demo/2 --other models:/demo/1",
        ),
        Example(
            "What if a node had been less loaded",
            "fogline what-if 4711 -r records -m models:/demo/2 --set box-17:load=0.1",
        ),
    ),
    "explain-model": (
        Example("The champion, on the rows within its artifact", "fogline explain-model models:/demo@champion"),
        Example(
            "On the telemetry that fogline demo left", f"fogline explain-model models:/demo@champion --data {DEMO}"
        ),
    ),
    "ope": (
        Example(
            "What the first version would have cost on a log of another one",
            "fogline ope logged --model models:/demo/1 --propensity propensity",
        ),
        Example(
            "Under the policy of a spec",
            "fogline ope logged -m models:/demo/1 -s demo --propensity propensity",
        ),
    ),
    "compile": (
        Example("For this machine, into the installed package", "fogline compile"),
        Example(
            "For an image that other machines run, beside the artifact",
            "fogline compile --cpu x86-64-v3 --model models:/demo@champion --out kernels",
        ),
    ),
    "records": (Example("What a scheduler has written down", "fogline records records"),),
    "replay": (
        Example(
            "Decide again what the champion decided, and compare", "fogline replay records -m models:/demo@champion"
        ),
    ),
    "dataset": (
        Example("A telemetry directory from records", "fogline dataset records --out recorded"),
        Example("And what is in it", "fogline check recorded --spec demo"),
    ),
    "models": (
        Example("Every version of every model", "fogline models list"),
        Example("The champion: its window, its figures, and why it was promoted", "fogline models show demo@champion"),
    ),
    "models list": (Example("Every version of every model", "fogline models list"),),
    "models show": (
        Example("The newest version of a model", "fogline models show demo"),
        Example("The champion", "fogline models show demo@champion"),
    ),
    "models promote": (
        Example("The first version is champion again", "fogline models promote demo/1"),
        Example("The newest one is on trial", "fogline models promote demo --alias challenger"),
    ),
    "models compare": (Example("The first version and the champion", "fogline models compare demo/1 demo@champion"),),
    "lifetime": (
        Example(
            "A folder of sightings, one and four snapshots ahead", "fogline lifetime sightings --horizon 1 --horizon 4"
        ),
    ),
}
"""By subcommand, the whole program's under the empty name."""


def epilog(examples: Sequence[Example]) -> str:
    """Return what stands below a subcommand's help."""
    lines = [f"[dim]# {escape(example.does)}[/dim]\n{escape(example.command)}" for example in examples]
    return "\n".join(["[bold]Examples[/bold]", *lines])
