"""Evaluate a spec by several trainings, so that the figures vary as trainings do and not by draws alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scheduler.spec import Spec
from training.evaluation.evaluate import first_batch, first_slice, run_evaluation, split_telemetry
from training.evaluation.measured_requests import measured_requests
from training.evaluation.metrics import LEARNED, RETRAINED
from training.evaluation.results import Comparison
from training.pipeline.retrain import Retrained
from training.pipeline.train import train_model
from training.policies import Learned, Policy, Setting
from training.progress import ProgressCallback, silent
from training.telemetry import Data, read_telemetry


def evaluate_trainings(  # noqa: PLR0913 - what a command line may say
    data: Data,
    spec: Spec,
    trainings: int,
    *,
    start: int | None = None,
    seed: int = 0,
    threads: int = 0,
    every: int | None = None,
    progress: ProgressCallback = silent,
    **options: Any,  # noqa: ANN401 - those of `run_evaluation`
) -> Comparison:
    """Train a model a seed on the slices before the first that is decided; each decides the draws of its own seed.

    Parameters
    ----------
    trainings
        How many, with ``seed``, ``seed`` + 1 and so on.
    start
        First slice to decide; by default the spec's.
    every
        After how many slices each model is also trained anew, see `training.pipeline.retrain`; None for never.
    options
        ``candidates``, ``requests`` and ``without`` of `training.evaluation.evaluate.run_evaluation`.

    Raises
    ------
    InputError
        If no start is known, or there is no slice before or from it on.
    DataError
        If there is nothing to decide.
    """
    first = first_slice(spec, start)
    telemetry = read_telemetry(data, spec)
    past, _ = split_telemetry(telemetry, first)
    # Raises where there is nothing to decide, before anything is trained.
    first_batch(measured_requests(telemetry, spec, start=first, requests=1, candidates=2, seed=seed))
    with TemporaryDirectory() as scratch:
        made = {}
        for number in range(seed, seed + trainings):
            tell = _of_training(progress, number)
            folder = Path(scratch) / str(number)
            made[number] = train_model(past, spec, folder, seed=number, threads=threads, progress=tell)

        def policies(setting: Setting) -> Mapping[str, Policy]:
            model = made[setting.seed].model
            found: dict[str, Policy] = {LEARNED: Learned(setting, model)}
            if every is not None:
                found[RETRAINED] = Retrained(setting, model, telemetry, start=first, every=every, threads=threads)
            return found

        found = run_evaluation(
            data,
            spec,
            made[seed].folder,
            start=first,
            seed=seed,
            seeds=trainings,
            policies=policies,
            progress=progress,
            **options,
        )
    note = f"learned is {trainings} models, trained with seeds {seed} to {seed + trainings - 1} before slice {first}"
    return replace(found, notes=(*found.notes, note))


def _of_training(progress: ProgressCallback, number: int) -> ProgressCallback:
    return lambda what, done, of: progress(f"training {number}: {what}", done, of)
