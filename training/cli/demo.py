"""``fogline demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from training.cli.options import Json, Seed
from training.cli.output import print_comparison, print_json, progress_bar

if TYPE_CHECKING:
    pass


def demo(
    out: Annotated[Path, typer.Option(help="Where telemetry, registry, artifact and report go.")] = Path(
        ".fogline/demo"
    ),
    seed: Seed = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads for LightGBM; 0 for one a core.")] = 0,
    json: Json = False,
) -> None:
    """Do the main job once on a small made-up fleet: telemetry, training, registry, 100,000 decisions, report."""
    from training.cli.demo_run import run_demo

    with progress_bar(json) as progress:
        result = run_demo(out, seed=seed, threads=threads, progress=progress)
    if json:
        print_json(result.to_json())
        return
    print_comparison(result.comparison)
    Console().print(f"Model: {result.uri}\nReport: {result.report}")
