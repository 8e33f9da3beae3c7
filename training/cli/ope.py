"""``fogline ope``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.options import Json, Registry, Seed, Wide
from training.cli.output import made_by, made_by_in_words, print_json, print_warnings, progress_bar
from training.cli.places import registry_of
from training.cli.table import Cell, Column, FigureTable, Row, decimals, fixed, number, print_sentence, print_table
from training.specs.builtin import find_spec

if TYPE_CHECKING:
    from training.evaluation.paired_intervals import Interval
    from training.pipeline.off_policy import Estimated

NAMES = {
    "ips": "inverse propensity",
    "snips": "self-normalised",
    "dm": "direct method",
    "dr": "doubly robust",
    "switch_dr": "switch-DR",
}


def ope(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECORDS...",
            help="Folder of records, or telemetry with propensities in any layout that the spec reads.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="CHALLENGER",
            help="Artifact folder, or models:/NAME@ALIAS or models:/NAME/VERSION.",
        ),
    ],
    spec: Annotated[
        str | None,
        typer.Option("--spec", "-s", metavar="SPEC", help="Policy and columns. Default: those of the model."),
    ] = None,
    propensity: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of the propensities. Default: telemetry.propensity of the spec."),
    ] = None,
    start: Annotated[
        int | None,
        typer.Option(
            "--from",
            metavar="SLICE",
            help="First slice; of records, as fogline dataset numbers them. Default: the first that the model has not "
            "seen.",
        ),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(min=1.0, metavar="WEIGHT", help="Largest weight. Default: root of the number of decisions."),
    ] = None,
    registry: Registry = None,
    seed: Seed = 0,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Estimate what a model would have cost on a log that another one wrote, or say why the log cannot tell."""
    from training.pipeline.off_policy import OffPolicyOptions, estimate_challenger
    from training.telemetry import data_of

    options = OffPolicyOptions(
        spec=None if spec is None else find_spec(spec),
        propensity=propensity,
        start=start,
        clip=clip,
        seed=seed,
        registry=registry_of(registry),
    )
    with progress_bar(json) as progress:
        found = estimate_challenger(data_of(data), model, options, progress)
    print_warnings(found.warnings, json)
    if json:
        print_json({**found.to_json(), **made_by(seed)})
        return
    print_table(estimates_table(found), wide=wide)
    print_sentence(support_in_words(found))
    if found.left_out:
        print_sentence(left_out_in_words(found))
    print_sentence(found.verdict())
    print_sentence(made_by_in_words(seed))


def estimates_table(found: Estimated) -> FigureTable:
    """Return the estimates with their intervals, beside what was logged."""
    rows = {"as logged": found.found.logged} | {NAMES[name]: one for name, one in found.found.estimates.items()}
    changes = {NAMES[name]: one for name, one in found.found.change.items()}
    places = decimals([one.value for one in rows.values()])
    unit = f"; cost in {found.unit}" if found.unit else ""
    return FigureTable(
        f"{found.found.support.decisions:,} decisions on {found.data}, model {found.model}{unit}",
        "estimate",
        (
            Column("mean"),
            Column("mean from", 1),
            Column("mean to", 1),
            Column("change %"),
            Column("change from", 2),
            Column("change to", 2),
        ),
        tuple(Row(name, (*_cells(one, places), *_cells(changes.get(name), 1, 100.0))) for name, one in rows.items()),
    )


def _cells(one: Interval | None, places: int, scale: float = 1.0) -> tuple[Cell, ...]:
    if one is None:
        return Cell(""), Cell(""), Cell("")
    return tuple(Cell(fixed(scale * value, places)) for value in one)


def support_in_words(found: Estimated) -> str:
    """Return how much of what the model does the log has seen."""
    support, clip = found.found.support, found.found.clip
    return (
        f"Weights are worth {support.effective:,.0f} of {support.decisions:,} decisions. Their mean is "
        f"{support.overlap.value:.2f} ({support.overlap.low:.2f} to {support.overlap.high:.2f}), where 1 is a log that "
        f"draws all that the model would. The largest is {number(support.largest)}; one decision in a hundred has "
        f"{100.0 * support.in_largest:.0f} % of all weight; {100.0 * support.clipped:.1f} % of the weights were cut to "
        f"{number(clip)}."
    )


def left_out_in_words(found: Estimated) -> str:
    """Return how many recorded decisions were left out, and why."""
    return "Left out: " + "; ".join(f"{n:,} {reason}" for reason, n in found.left_out.items()) + "."
