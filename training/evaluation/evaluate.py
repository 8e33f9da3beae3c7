"""Compare policies on the same requests; each learns only from the outcomes of its own picks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from scheduler.errors import DataError, InputError
from scheduler.model.model import Model
from scheduler.spec import Spec
from training.artifacts.locate import artifact_folder
from training.artifacts.write import libraries
from training.evaluation.greedy import GREEDY, fit_greedy
from training.evaluation.measured_requests import RequestBatch, measured_requests
from training.evaluation.metrics import LEARNED, ORACLE, RANDOM
from training.evaluation.model_card import model_card
from training.evaluation.recorder import Log
from training.evaluation.results import Comparison, Conditions
from training.evaluation.runner import PolicyRun
from training.evaluation.seeds import pooled
from training.policies import KeyAverage, Learned, Policy, Setting, all_policies
from training.policies.protocol import least
from training.progress import ProgressCallback, silent
from training.telemetry import Data, Telemetry, count_keys, data_id, data_name, read_telemetry
from training.telemetry.cold_start import ColdShares, cold_start


def run_evaluation(  # noqa: PLR0913 - what a command line may say
    data: Data,
    spec: Spec,
    model_source: str | Path,
    *,
    start: int | None = None,
    candidates: int | None = None,
    requests: int | None = None,
    seed: int = 0,
    seeds: int = 1,
    registry: str | None = None,
    policies: Callable[[Setting], Mapping[str, Policy]] | None = None,
    without: Collection[str] = (),
    cold: str = "",
    progress: ProgressCallback = silent,
) -> Comparison:
    """Replay measured data from a slice on; every policy first learns all earlier rows.

    Parameters
    ----------
    data
        A telemetry directory, or other files or frames that the spec reads.
    spec
        What the data's columns mean; the model must have been trained for the same.
    model_source, registry
        As for `scheduler.Model.load`.
    start
        First slice to decide; by default the spec's.
    candidates, requests, seed
        As for `training.evaluation.measured_requests.measured_requests`; the first two by default the spec's.
    seeds
        Number of repetitions with new draws, with ``seed``, ``seed`` + 1 and so on.
    policies
        Makes further policies, which replace those of the same name.
    without
        Names of baselines to leave out.
    cold
        Only decisions among what the model's training left out, one of `training.telemetry.cold_start.COLD_SIDES`;
        no policy knows anything of it at the start. Empty for all decisions.
    progress
        Called as it goes.

    Returns
    -------
    Comparison
        With several seeds as `training.evaluation.seeds.pooled` returns it.

    Raises
    ------
    InputError
        If no start is known, there is no slice before or from it on, or model and spec differ in what a
        feature row means, or the model was trained on slices it should decide, or did not hold out what
        should be cold.
    DataError, ArtifactError, RegistryError
        If the data or the model cannot be read, or there is nothing to decide.
    """
    folder = artifact_folder(model_source, registry)
    model = Model.load(folder)
    first = first_slice(spec, start)
    _check_model(model, spec, first)
    requests = spec.evaluation.requests if requests is None else requests
    candidates = spec.evaluation.candidates if candidates is None else candidates
    telemetry = read_telemetry(data, spec, progress=lambda done, of: progress("read", done, of))
    among = None
    if cold:
        telemetry, among = cold_start(telemetry, ColdShares.of(model.manifest.window), cold, first)
    before, n_slices = split_telemetry(telemetry, first)
    keys = count_keys(telemetry, spec)
    greedy, notes = _greedy(before, spec, without, progress)
    others = [name for name in without if name != GREEDY]

    def decide(number: int) -> Comparison:
        setting = Setting(spec, telemetry.clients, telemetry.nodes, number)
        everyone: dict[str, Policy] = {**all_policies(setting, model, others)}
        if greedy is not None:
            everyone[GREEDY] = Learned(setting._replace(spec=greedy.spec), greedy)
        everyone |= policies(setting) if policies else {}
        batches = measured_requests(
            telemetry, spec, start=first, requests=requests, candidates=candidates, seed=number, among=among
        )
        tell = progress if seeds == 1 else _of_seed(progress, number)
        found = evaluate(batches, everyone, spec, before, n_batches=n_slices * requests, progress=tell)
        learned = everyone[LEARNED]
        used = learned.tables(keys) if isinstance(learned, Learned) else {}
        tables = {"evaluation": used, "training": model.manifest.tables}
        return dataclasses.replace(found, notes=(*notes, *found.notes), tables=tables)

    return dataclasses.replace(
        pooled([decide(number) for number in range(seed, seed + seeds)]),
        data=f"{data_name(data)}@{data_id(data)[:12]}",
        model=f"{model.name}-{model.version}",
        card=model_card(model),
        cold=cold,
        conditions=Conditions(candidates, requests, seed, libraries()),
    )


def first_slice(spec: Spec, start: int | None) -> int:
    """Return the first slice to decide, by default the spec's; raise `InputError` if that names none."""
    first = spec.evaluation.start if start is None else start
    if first is None:
        raise InputError(f"start: expected a slice, as the spec {spec.name} names none, found none")
    return first


def _greedy(
    before: Telemetry, spec: Spec, without: Collection[str], progress: ProgressCallback
) -> tuple[Model | None, tuple[str, ...]]:
    """Fit the greedy baseline, or say why it is left out."""
    if GREEDY in without:
        return None, ()
    progress(f"fit {GREEDY}", 0, 1)
    try:
        return fit_greedy(before, spec), ()
    except DataError as error:
        return None, (f"{GREEDY} is left out: {error}",)
    finally:
        progress(f"fit {GREEDY}", 1, 1)


def _of_seed(progress: ProgressCallback, seed: int) -> ProgressCallback:
    return lambda what, done, of: progress(f"{what}, seed {seed}", done, of)


def _check_model(model: Model, spec: Spec, start: int) -> None:
    if model.spec.fingerprint() != spec.fingerprint():
        raise InputError(
            f"model {model.name}-{model.version}: expected one for spec {spec.name} of fingerprint "
            f"{spec.fingerprint()}, found {model.spec.fingerprint()}"
        )
    last = model.manifest.window.get("last_slice")
    if isinstance(last, int) and last >= start:
        raise InputError(f"start: expected a slice after {last}, the last that the model was trained on, found {start}")


def split_telemetry(telemetry: Telemetry, start: int) -> tuple[Telemetry, int]:
    """Return the telemetry before a slice, and how many slices come from it on."""
    before = telemetry.slice < start
    if before.all() or not before.any():
        low, high = telemetry.slice.min(), telemetry.slice.max()
        raise InputError(f"start: expected a slice after the first ({low}) up to the last ({high}), found {start}")
    return telemetry.where(before), len(np.unique(telemetry.slice[~before]))


def evaluate(  # noqa: PLR0913 - the last three have defaults that rarely change
    batches: Iterable[RequestBatch],
    policies: Mapping[str, Policy],
    spec: Spec,
    telemetry: Telemetry,
    *,
    n_batches: int = 0,
    progress: ProgressCallback = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Ask every policy the same requests.

    Outcomes of picks are learned before the first batch that begins after the outcome has arrived, in order of
    arrival. Telemetry whose outcome arrives only after the first batch began is left out, for all alike.

    Parameters
    ----------
    batches
        In order of time.
    policies
        By name, one of them ``random``; ``oracle`` is added.
    spec
        Gives the length of a slice.
    telemetry
        From before the batches; warms every policy.
    n_batches
        How many batches there will be, for ``progress``.
    progress
        Called as it goes.
    clock
        Seconds.

    Returns
    -------
    Comparison
        With empty ``data`` and ``model``.

    Raises
    ------
    InputError
        If ``random`` is missing, ``oracle`` is given, or a policy picks what is no candidate.
    DataError
        If there is no batch.
    """
    if RANDOM not in policies or ORACLE in policies:
        found = ", ".join(policies) or "none"
        raise InputError(f"policies: expected {RANDOM} and no {ORACLE}, found {found}")
    first, following = first_batch(batches)
    known = telemetry.arrival < first.time
    telemetry = telemetry if known.all() else telemetry.where(known)
    for done, policy in enumerate(policies.values()):
        progress("warm up", done, len(policies))
        policy.warm(telemetry)
    progress("warm up", len(policies), len(policies))
    runs = {name: PolicyRun(name, policy, clock) for name, policy in policies.items()}
    log = Log(spec)
    for done, one in enumerate(chain([first], following)):
        question = log.ask(one)
        for run in runs.values():
            run.play(one, question)
        log.keep(ORACLE, one, least(one.cost, one.candidates))
        for name, run in runs.items():
            log.keep(name, one, run.picked)
        progress("evaluate", done + 1, max(n_batches, done + 1))
    comparison = log.comparison(telemetry, {name: run.seconds for name, run in runs.items()})
    averages = {name: policy for name, policy in policies.items() if isinstance(policy, KeyAverage)}
    comparison = dataclasses.replace(comparison, chosen={n: ", ".join(p.chosen) for n, p in averages.items()})
    models = {name: policy for name, policy in policies.items() if isinstance(policy, Learned)}
    notes = tuple(f"{name}: {note}" for name, policy in models.items() for note in policy.notes)
    predicted = models[LEARNED].expected() if LEARNED in models else comparison.predicted
    return dataclasses.replace(comparison, predicted=predicted, notes=notes)


def first_batch(batches: Iterable[RequestBatch]) -> tuple[RequestBatch, Iterator[RequestBatch]]:
    """Return the first batch and the following ones; raise `DataError` where there is none."""
    following = iter(batches)
    for one in following:
        return one, following
    raise DataError("telemetry: expected a client with outcomes of two nodes in a slice, to choose from, found none")
