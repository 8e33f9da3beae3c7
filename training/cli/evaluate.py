"""``fogline evaluate`` and ``fogline report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.errors import RegistryError
from scheduler.runtime.durable import check_writable
from training.cli.comparison_table import ageing_table, comparison_table
from training.cli.options import (
    Cold,
    Data,
    Json,
    Log,
    ModelName,
    NCandidates,
    NRequests,
    Registry,
    Seed,
    Seeds,
    SpecName,
    Start,
    Wide,
    Without,
)
from training.cli.output import command_line, in_words, print_json, print_warnings, progress_bar
from training.cli.places import registry_of
from training.cli.table import print_sentence, print_table, print_text
from training.specs.builtin import find_spec

if TYPE_CHECKING:
    from training.evaluation.results import Comparison
    from training.explanation.model_rules import ModelRules
    from training.pipeline.retrain import Age


def evaluate(
    data: Data,
    spec: SpecName,
    model: ModelName = None,
    start: Start = None,
    candidates: NCandidates = None,
    requests: NRequests = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    without: Without = None,
    cold: Cold = "",
    retrain: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="EVERY", help="Also train a model anew every so many slices, to see what ageing costs."
        ),
    ] = None,
    trainings: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Train N models on the slices before --from, a seed each, and let each decide its own draws: figures "
            "then vary as trainings do. In place of --model and --seeds; nothing is logged.",
        ),
    ] = None,
    registry: Registry = None,
    log: Log = True,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Replay measured data through the scheduler and the baselines and compare what they picked."""
    if trainings is not None:
        _refuse_beside_trainings(model=model, seeds=seeds, cold=cold)
        comparison = _compare_trainings(
            data, spec, trainings, start, candidates, requests, seed, without, retrain, json=json
        )
    else:
        _refuse_cold_beside_retrain(cold, retrain)
        comparison = _compare(
            data, spec, model, start, candidates, requests, seed, seeds, without, cold, registry, json, retrain
        )
    ages = [] if retrain is None else _ages(comparison, retrain)
    problems = _log(comparison, spec, model, registry) if log and trainings is None else []
    print_warnings([*comparison.warnings(), *problems], json)
    if json:
        print_json(
            {
                **comparison.to_json(),
                "intervals": _intervals(comparison),
                **({"ageing": [age._asdict() for age in ages]} if ages else {}),
            }
        )
    else:
        _print(comparison, wide=wide)
        if ages:
            print_table(ageing_table(ages), wide=wide)


def _refuse_cold_beside_retrain(cold: str, retrain: int | None) -> None:
    """Raise `InputError` for both: a model that is trained anew would know what is to be new."""
    from scheduler.errors import InputError

    if cold and retrain is not None:
        raise InputError(f"retrain: expected none beside --cold, as models trained anew would know it, found {retrain}")


def _refuse_beside_trainings(*, model: str | None, seeds: int, cold: str) -> None:
    """Raise `InputError` for options that would not do what they say beside ``--trainings``."""
    from scheduler.errors import InputError

    for name, given in (("model", model), ("seeds", seeds if seeds > 1 else None), ("cold", cold or None)):
        if given is not None:
            raise InputError(f"{name}: expected none beside --trainings, which trains models itself, found {given}")


def _compare_trainings(
    data: list[Path],
    spec: str,
    trainings: int,
    start: int | None,
    candidates: int | None,
    requests: int | None,
    seed: int,
    without: list[str] | None,
    retrain: int | None,
    *,
    json: bool,
) -> Comparison:
    from training.pipeline.trainings import evaluate_trainings
    from training.telemetry import data_of

    with progress_bar(json) as progress:
        found = evaluate_trainings(
            data_of(data),
            find_spec(spec),
            trainings,
            start=start,
            seed=seed,
            every=retrain,
            progress=progress,
            candidates=candidates,
            requests=requests,
            without=without or (),
        )
    return found.by_command(command_line())


def _ages(comparison: Comparison, every: int) -> list[Age]:
    from training.pipeline.retrain import ageing

    return ageing(comparison, every)


def report(
    data: Data,
    spec: SpecName,
    model: ModelName = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")] = Path("fogline-report.html"),
    start: Start = None,
    candidates: NCandidates = None,
    requests: NRequests = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    without: Without = None,
    cold: Cold = "",
    registry: Registry = None,
    log: Log = True,
    wide: Wide = False,
    json: Json = False,
) -> None:
    """Evaluate like [bold]evaluate[/bold] and write a self-contained HTML page about it."""
    from training.report.page import write_report

    check_writable(out, "the report")
    comparison = _compare(data, spec, model, start, candidates, requests, seed, seeds, without, cold, registry, json)
    page = write_report(comparison, out, rules=_rules(data, spec, model, registry, seed))
    problems = _log(comparison, spec, model, registry, page) if log else []
    print_warnings([*comparison.warnings(), *problems], json)
    if json:
        print_json({**comparison.to_json(), "intervals": _intervals(comparison), "report": str(page)})
    else:
        _print(comparison, wide=wide)
        print_text(f"Report: {page}")


def _rules(data: list[Path], spec: str, model: str | None, registry: str | None, seed: int) -> ModelRules:
    """Explain the evaluated model as rules, on the telemetry of the evaluation."""
    from training.explanation.model_rules import model_rules

    parsed = find_spec(spec)
    source = model or f"models:/{parsed.name}@champion"
    return model_rules(source, registry_of(registry), data=data, spec=parsed, seed=seed)


def _intervals(comparison: Comparison) -> dict[str, dict[str, tuple[float, float]]]:
    """Return by policy the 95 % intervals of its mean cost, and of that and its log less the learned one's."""
    from training.evaluation.intervals import intervals

    found = intervals(comparison)
    if found is None:
        return {}
    differences = {"difference": found.difference, "difference_log": found.difference_log}
    return {
        name: {"mean": one[1:]} | {what: of[name][1:] for what, of in differences.items() if name in of}
        for name, one in found.mean.items()
    }


def _print(comparison: Comparison, *, wide: bool) -> None:
    from training.evaluation.intervals import intervals, sureness

    print_table(comparison_table(comparison), wide=wide)
    said = sureness(comparison, intervals(comparison))
    if said:
        print_sentence(said)
    if comparison.tuned:
        print_sentence(f"Settings: {comparison.tuned}.")
    if comparison.conditions is not None:
        print_sentence(comparison.conditions.in_words())


def _log(
    comparison: Comparison, spec: str, model: str | None, registry: str | None, page: Path | None = None
) -> list[str]:
    """Log an evaluation to the version; return why that could not be, as the figures stand all the same."""
    from training.evaluation.logged import log_comparison

    source = model or f"models:/{find_spec(spec).name}@champion"
    try:
        log_comparison(comparison, source, registry=registry_of(registry), page=page)
    except (RegistryError, OSError) as error:
        return [f"the evaluation was not logged: {in_words(error)}"]
    return []


def _compare(
    data: list[Path],
    spec: str,
    model: str | None,
    start: int | None,
    candidates: int | None,
    requests: int | None,
    seed: int,
    seeds: int,
    without: list[str] | None,
    cold: str,
    registry: str | None,
    json: bool,  # noqa: FBT001
    retrain: int | None = None,
) -> Comparison:
    from training.evaluation.evaluate import run_evaluation
    from training.telemetry import data_of

    parsed = find_spec(spec)
    source, place = model or f"models:/{parsed.name}@champion", registry_of(registry)
    further = None
    if retrain is not None:
        from training.pipeline.retrain import retrained

        further = retrained(data_of(data), parsed, source, place, start=start, every=retrain)
    with progress_bar(json) as progress:
        found = run_evaluation(
            data_of(data),
            parsed,
            source,
            start=start,
            candidates=candidates,
            requests=requests,
            seed=seed,
            seeds=seeds,
            without=without or (),
            cold=cold,
            registry=place,
            policies=further,
            progress=progress,
        )
    return found.by_command(command_line())
