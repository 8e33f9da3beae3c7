"""``fogline demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.comparison_table import comparison_table
from training.cli.options import Json, Seed, Threads, Wide
from training.cli.output import command_line, print_json, progress_bar
from training.cli.places import check_folder
from training.cli.table import print_sentence, print_table, print_text


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where telemetry, registry, artifact and report go.")] = Path(
        ".fogline/demo"
    ),
    seed: Seed = 0,
    threads: Threads = 0,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Do the main job once on a small made-up fleet: telemetry, training, registry, 100,000 decisions, report."""
    from training.cli.demo_run import run_demo

    check_folder(out, "what a demo makes")
    with progress_bar(json) as progress:
        result = run_demo(out, seed=seed, threads=threads, command=command_line(), progress=progress)
    if json:
        print_json(result.to_json())
        return
    print_table(comparison_table(result.comparison), wide=wide)
    if result.comparison.conditions is not None:
        print_sentence(result.comparison.conditions.in_words())
    print_text(f"Model: {result.uri}\nReport: {result.report}")
