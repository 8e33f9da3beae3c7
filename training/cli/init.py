"""``fogline init``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from scheduler.errors import InputError
from training.cli.init_tables import columns_table, decisions, figures
from training.cli.options import Data, Json, Wide
from training.cli.output import print_json
from training.cli.table import print_sentence, print_table, print_text


def init(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The spec to write.")] = Path("mine.toml"),
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of spec and model. Default: that of the file to write.")
    ] = None,
    client: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Who asks; empty if nobody is named. Default: found.")
    ] = None,
    node: Annotated[str | None, typer.Option(metavar="COLUMN", help="Who serves. Default: found.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="When. Default: found.")] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The number that a request costs. Default: found.")
    ] = None,
    success: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What tells success; empty for none. Default: found.")
    ] = None,
    better: Annotated[
        Literal["low", "high"] | None, typer.Option(metavar="low|high", help="Of the outcome. Default: by its name.")
    ] = None,
    slice_seconds: Annotated[
        float | None, typer.Option(min=0.001, metavar="SECONDS", help="How long a slice lasts. Default: found.")
    ] = None,
    failure_cost: Annotated[
        float | None, typer.Option(min=0.0, metavar="COST", help="What a failure costs. Default: by the successes.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, also at a terminal.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a spec that is there.")] = False,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Draft a spec from raw telemetry: Parquet or CSV files of any layout."""
    from scheduler.runtime.durable import write_text
    from training.draft.draft import DraftOptions, draft, likely
    from training.draft.spec_text import spec_text
    from training.telemetry import data_of

    if out.exists() and not force:
        raise InputError(f"{out}: expected no file there yet (--force writes over it), found one")
    higher = None if better is None else better == "high"
    options = DraftOptions(client, node, time, success, outcome, higher, slice_seconds, failure_cost)
    asking = not (yes or json) and _at_terminal()
    made = draft(data_of(data), options, _ask if asking else likely)
    text = spec_text(made, name or _name_of(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    if json:
        print_json({"spec": str(out), **decisions(made), **figures(made)})
        return
    print_table(columns_table(made), wide=wide)
    for title, decided in decisions(made).items():
        print_sentence(f"{title}: {decided}")
    words = " ".join(map(str, data))
    print_text(
        f"\nSpec: {out}\nCheck it: fogline check {words} --spec {out}\nTrain: fogline train {words} --spec {out}"
    )


def _at_terminal() -> bool:
    """Tell whether a person is there to ask."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _ask(question: str, answers: Sequence[str], default: str) -> str:
    """Ask at the terminal; Enter takes what is likely."""
    from rich.prompt import Prompt

    signal.siginterrupt(signal.SIGINT, True)  # noqa: FBT003 - Polars has set that reading goes on after Ctrl-C
    return Prompt.ask(f"{question}?", choices=[*dict.fromkeys([*answers, default])], default=default)


def _name_of(out: Path) -> str:
    from training.draft.draft import spec_name

    return spec_name(out.stem)
