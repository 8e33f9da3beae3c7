"""Search for better training settings on time-ordered folds; a killed search can be continued."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from scheduler.errors import DataError, InputError
from scheduler.runtime.durable import write_text
from scheduler.runtime.file_lock import locked
from scheduler.spec import Spec, parse_spec
from training.features.split import fewest_slices, split_slices
from training.heads.lightgbm_params import resolve_lightgbm
from training.progress import ProgressCallback, silent
from training.specs.edit import with_training
from training.specs.to_toml import spec_to_toml
from training.telemetry import Data, data_id, read_telemetry
from training.tracking.trials import TrialRuns
from training.tuning.folds import Fold, time_folds
from training.tuning.gain import Gain
from training.tuning.objective import Judge, Objective
from training.tuning.search_space import Space, Values, own_values, search_space, with_values

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

STORAGE = Path(".fogline/tuning.db")

STARTUP = 8
"""Trials before the sampler learns from them and slow starters are pruned; the first is the spec itself."""

_RUN = "run_id"


class TuningOptions(NamedTuple):
    """Options of a search, besides its data and spec.

    Attributes
    ----------
    registry
        MLflow URI.
    until
        Rows of this slice and later ones are never read; None for the first slice of the spec's evaluation.
    trials
        Finished trials wanted in all, those of earlier calls included.
    folds
        How many; see `training.tuning.folds.time_folds`.
    objective
        ``gap_closed`` or ``gap_closed_log`` of replayed decisions, to be raised, or the prediction ``loss``, to be
        lowered.
    only
        Names to vary; all by default.
    out
        The tuned spec's file.
    text
        The spec's text, whose comments the tuned one keeps; without it the tuned one is written anew.
    storage
        SQLite file of the trials.
    seed
        Fixes every random draw.
    threads
        For LightGBM; 0 for one a core.
    """

    registry: str
    until: int | None = None
    trials: int = 30
    folds: int = 3
    objective: Objective = "gap_closed"
    only: tuple[str, ...] = ()
    out: Path = Path("tuned.toml")
    storage: Path = STORAGE
    seed: int = 0
    threads: int = 0
    text: str | None = None


class TrialResult(NamedTuple):
    """A trial: its number, the objective (mean over the folds) and by fold, and what was tried."""

    number: int
    value: float
    folds: tuple[float, ...]
    params: Values


class TuningResult(NamedTuple):
    """What a search found.

    Attributes
    ----------
    study, run_id
        Names of it in the storage and in MLflow.
    objective, n_trials, n_pruned, n_resumed
        The objective; the numbers of finished trials, of pruned ones among them, and of those from earlier calls.
    first, best
        The spec's own settings, and the best ones; None where simple averages leave nothing to win, so that no settings
        are better than others.
    spec
        The spec with the best settings, or as it was.
    out
        Where it was written, if there are best settings.
    replays
        How many times features were replayed.
    last_slice
        The last slice with rows before the end that was asked for.
    warnings
        What made models worse than they need be, a line each.
    """

    study: str
    run_id: str
    objective: Objective
    n_trials: int
    n_pruned: int
    n_resumed: int
    first: TrialResult
    best: TrialResult | None
    spec: Spec
    out: Path
    replays: int
    last_slice: int
    warnings: tuple[str, ...] = ()

    @property
    def gain(self) -> Gain:
        """By how much the best settings were above the spec's own, fold by fold, and how sure that is."""
        return Gain.of(self.first.folds, (self.best or self.first).folds)

    def to_json(self) -> dict[str, Any]:
        """Return what ``fogline tune --json`` prints."""
        return {
            "study": self.study,
            "run_id": self.run_id,
            "objective": self.objective,
            "trials": self.n_trials,
            "pruned": self.n_pruned,
            "resumed": self.n_resumed,
            "first": self.first._asdict(),
            "best": None if self.best is None else self.best._asdict(),
            "gain": {name: None if math.isnan(value) else value for name, value in self.gain._asdict().items()},
            "spec": None if self.best is None else str(self.out),
            "warnings": list(self.warnings),
        }


def tune(data: Data, spec: Spec, options: TuningOptions, progress: ProgressCallback = silent) -> TuningResult:
    """Search for the settings that do best on time-ordered folds, and write them as a spec.

    The last slices, those that only judge a training on the same data, are left for the comparison with the champion.

    The same call continues where an earlier one ended or was killed. What is tried depends only on the seed and the
    finished trials, so an interrupted search tries the same as an uninterrupted one.

    Raises
    ------
    SpecError
        If LightGBM would not use its parameters as the spec says.
    InputError
        If a name to vary is unknown, or another process is at the same storage.
    DataError
        If the data does not match the spec, or has too few slices.
    RegistryError
        If MLflow cannot be reached.
    """
    spec = resolve_lightgbm(spec)
    space = search_space(spec, options.only)
    until = spec.evaluation.start if options.until is None else options.until
    telemetry = read_telemetry(data, spec, until=until, progress=lambda done, of: progress("read", done, of))
    held, last = split_slices(telemetry.slice, spec).judge, int(telemetry.slice.max())
    telemetry = telemetry.where(telemetry.slice < held)
    folds = time_folds(telemetry, options.folds, fewest_slices(spec))
    judge = Judge(telemetry, spec, options.objective, seed=options.seed, threads=options.threads)
    judge.check(folds)
    saturated = judge.saturated(folds)
    digest = data_id(data)
    identity = [spec, digest, until, held, options.folds, options.objective, options.only, options.seed]
    name = f"{spec.name}-{hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:12]}"
    with _study(name, options) as study:
        tags = {"study": name, "objective": options.objective, "data_digest": digest}
        runs = TrialRuns(spec.name, options.registry, parent=study.user_attrs.get(_RUN, ""), tags=tags)
        study.set_user_attr(_RUN, runs.parent)
        resumed = _close_killed(study, runs)
        search = _Search(study, runs, judge, folds, spec, space, options, saturated)
        trials = 1 if saturated else options.trials
        for done in range(resumed, trials):
            progress("trials", done, trials)
            _try_one(search, done, progress)
        progress("trials", trials, trials)
        result = _result(search, resumed, held, last)
    if result.best is None:
        runs.close({}, {"first": result.first.value})
        return result
    runs.close(result.best.params, {"best": result.best.value, "first": result.first.value})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, _text(result, result.best, options.text))
    return result


class _Search(NamedTuple):
    """What all trials share."""

    study: Study
    runs: TrialRuns
    judge: Judge
    folds: list[Fold]
    spec: Spec
    space: Space
    options: TuningOptions
    saturated: str


@contextmanager
def _study(name: str, options: TuningOptions) -> Iterator[Study]:
    """Open the study of a name; one process at a time, or the trials of a living one would be taken for killed."""
    import optuna
    from optuna.pruners import MedianPruner
    from optuna.storages import RDBStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options.storage.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(options.storage.with_suffix(".lock"), wait=False))
        except BlockingIOError as error:
            raise InputError(f"{options.storage}: expected no other search at it, found one running") from error
        storage = RDBStorage(f"sqlite:///{options.storage.resolve()}")
        try:
            yield optuna.create_study(
                storage=storage,
                study_name=name,
                direction="minimize" if options.objective == "loss" else "maximize",
                pruner=MedianPruner(n_startup_trials=STARTUP),
                load_if_exists=True,
            )
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _close_killed(study: Study, runs: TrialRuns) -> int:
    """Fail the trials that a killed process left unfinished, and return how many finished."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    finished = _finished(study)
    runs.kill_all_but(trial.number for trial in finished)
    return len(finished)


def _finished(study: Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))


def _try_one(search: _Search, done: int, progress: ProgressCallback) -> None:
    """Draw settings and judge them fold by fold, until they are known or fall behind the others' median."""
    from optuna.trial import TrialState

    trial = _ask(search, done)
    values = {name: scale.suggest(trial, name) for name, scale in search.space.items()}
    run = search.runs.begin(trial.number, values)
    spec = with_values(search.spec, values)
    scores: list[float] = []
    pruned = False
    for fold in search.folds:
        progress("folds of the trial", fold.number, len(search.folds))
        scores.append(_score(search, fold, spec))
        trial.report(_mean(scores), fold.number)
        pruned = fold is not search.folds[-1] and trial.should_prune()
        if pruned:
            break
    progress("folds of the trial", len(search.folds), len(search.folds))
    trial.set_user_attr("folds", scores)
    search.runs.end(run, search.options.objective, scores, "pruned" if pruned else "complete")
    if pruned:
        search.study.tell(trial, state=TrialState.PRUNED)
    else:
        search.study.tell(trial, _mean(scores))


def _ask(search: _Search, done: int) -> Trial:
    """Begin a trial: the spec's own settings first, then draws of the sampler, which each trial seeds again."""
    import numpy as np
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    study = search.study
    seed = int(np.random.SeedSequence([search.options.seed, done]).generate_state(1)[0])
    study.sampler = TPESampler(seed=seed, n_startup_trials=STARTUP)
    if done == 0 and not study.get_trials(states=(TrialState.WAITING,)):
        study.enqueue_trial(own_values(search.spec, search.space))
    return study.ask()


def _score(search: _Search, fold: Fold, spec: Spec) -> float:
    value = search.judge.score(fold, spec)
    if not math.isfinite(value):
        where = f"slices {fold.start} to {fold.stop - 1}"
        raise DataError(f"tuning: expected {where} on which candidates differ, found an objective of {value}")
    return value


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _result(search: _Search, resumed: int, held: int, last: int) -> TuningResult:
    from optuna.trial import TrialState

    finished = _finished(search.study)
    saturated = search.saturated
    best, first = _outcome(search.study.best_trial), finished[0]
    warnings = [f"{saturated}; no settings are called best"] if saturated else []
    return TuningResult(
        study=search.study.study_name,
        run_id=search.runs.parent,
        objective=search.options.objective,
        n_trials=len(finished),
        n_pruned=sum(trial.state == TrialState.PRUNED for trial in finished),
        n_resumed=resumed,
        first=_outcome(first),
        best=None if saturated else best,
        spec=search.spec if saturated else _said(with_values(search.spec, best.params), search, best, held),
        out=search.options.out,
        replays=search.judge.replays,
        last_slice=last,
        warnings=(*warnings, *search.judge.warnings),
    )


def _outcome(trial: FrozenTrial) -> TrialResult:
    folds = tuple(trial.user_attrs["folds"])
    return TrialResult(trial.number, _mean(list(folds)), folds, dict(trial.params))


def _said(spec: Spec, search: _Search, best: TrialResult, held: int) -> Spec:
    """Return the tuned spec with a note on what it was tuned on, and with the first slice that tuning has not seen."""
    folds = search.folds
    slices = f"slices {folds[0].start} to {folds[-1].stop - 1}"
    note = f"best of {len(_finished(search.study))} trials by {search.options.objective} ({best.value:.4f}) on {slices}"
    tuned = f"{note} in {len(folds)} folds, study {search.study.study_name}"
    return msgspec.structs.replace(spec, training=msgspec.structs.replace(spec.training, tuned=tuned, tuned_until=held))


def _text(result: TuningResult, best: TrialResult, text: str | None) -> str:
    """Return the tuned spec as text: that of the spec with other settings, comments and all, where it is known."""
    training = result.spec.training
    settings = {"reveal": training.reveal, "rounds": training.rounds, "tuned": training.tuned}
    settings["tuned_until"] = training.tuned_until or 0
    if text is not None:
        made = with_training(text, {**settings, "lightgbm": training.lightgbm}, _comment(result, best).splitlines())
        if parse_spec(made) == result.spec:
            return made
    return spec_to_toml(result.spec, _comment(result, best))


def _comment(result: TuningResult, best: TrialResult) -> str:
    """Return the comment at the head of the tuned spec: its origin, and how sure it is to be better."""
    first = result.first
    return (
        f"Tuned: {result.objective} {best.value:.4f} on the folds, where the settings it came from had "
        f"{first.value:.4f}.\nThe best of {result.n_trials} trials of study {result.study}, so it flatters itself a "
        f"little.\nBest less first, fold by fold: {result.gain.mean:+.4f}"
        f"{'' if math.isnan(result.gain.error) else f' ± {result.gain.error:.4f}'}."
    )
