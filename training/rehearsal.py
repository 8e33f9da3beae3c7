"""The end of the training window served as the scheduler would serve it: history sees only what a model picks.

A model is fitted on histories that know a random share of all outcomes, but serves on histories that know what it
picked itself: much of a few nodes, little and old things of the others. So a first model serves the last slices of the
training window, and the next one is fitted on what the first one saw when it chose. That is one round of dataset
aggregation (Ross, Gordon, Bagnell: A reduction of imitation learning and structured prediction to no-regret online
learning, AISTATS 2011), with the measured outcomes of all candidates in the place of an expert.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.model import Model
from scheduler.outcomes import outcome_names
from scheduler.spec import COST, FAILED, Spec
from training.baselines import Learned, Question, Random, Setting
from training.dataset import Dataset, Kept, assemble, split_slices
from training.evaluate import evaluate, split_telemetry
from training.ingest import Telemetry, at_rows
from training.progress import Report, silent
from training.rounds import Round, measured_rounds, slice_starts

CANDIDATES = 20
"""Candidates of a rehearsed request, as many as in an evaluation."""


class _Seen(NamedTuple):
    """Candidates of one round that are kept: feature rows, the round's time, and what came of them."""

    x: NDArray[np.float32]
    time: NDArray[np.float64]
    ok: NDArray[np.bool_]
    outcomes: dict[str, NDArray[np.float32]]


class _Recorder(Learned):
    """The learned policy, which keeps what the model sees of the candidates of a random share of its requests."""

    def __init__(self, setting: Setting, model: Model, share: float) -> None:
        super().__init__(setting, model)
        self._rng, self._share = np.random.default_rng(setting.seed), share
        self.seen: list[_Seen] = []
        self._round: Round | None = None

    def pick(self, question: Question) -> NDArray[np.integer]:
        """Keep some requests' rows, and pick."""
        rows = np.flatnonzero(self._rng.random(len(question.client)) < self._share)
        if self._round is not None and rows.size:
            self.seen.append(_seen(self._round, rows, self.features(_part(question, rows))))
        return super().pick(question)

    def watched(self, rounds: Iterator[Round]) -> Iterator[Round]:
        """Pass rounds on, noting which one is being asked."""
        for one in rounds:
            self._round = one
            yield one


def rehearse(telemetry: Telemetry, spec: Spec, model: Model, *, seed: int, progress: Report = silent) -> Dataset:
    """Serve the last slices of telemetry with a model, and return what it saw of all candidates.

    The measured rows of a slice stand for what its candidates would have met, as in an evaluation.

    Parameters
    ----------
    telemetry
        What the model was trained on.
    spec
        ``training.rehearse`` says how many slices, ``evaluation.requests`` how many rounds each.

    Returns
    -------
    Dataset
        At most about ``training.rows`` rows; split as `training.dataset.build_dataset` splits.

    Raises
    ------
    DataError
        If no row is left to fit or to validate on.
    """
    burn, validation, judged = split_slices(telemetry.slice, spec)
    present = np.unique(telemetry.slice)
    start = max(burn, int(present[present.size - max(1, round(spec.training.rehearse * present.size))]))
    before, n_slices = split_telemetry(telemetry, start)
    requests = spec.evaluation.requests
    setting = Setting(spec, telemetry.clients, telemetry.nodes, seed)
    n_rows = n_slices * requests * len(telemetry.clients) * CANDIDATES
    recorder = _Recorder(setting, model, spec.training.rows / n_rows)
    rounds = measured_rounds(telemetry, spec, start=start, requests=requests, candidates=CANDIDATES, seed=seed)
    evaluate(
        recorder.watched(rounds),
        {"random": Random(setting), "learned": recorder},
        spec,
        before,
        n_rounds=n_slices * requests,
        progress=lambda what, done, of: progress(f"rehearse: {what}", done, of),
    )
    seen = recorder.seen
    if not seen:
        raise DataError(f"training: expected candidates in the rehearsal from slice {start} on, found none")
    kept = Kept(
        _slices(telemetry, spec, np.concatenate([part.time for part in seen])),
        np.concatenate([part.ok for part in seen]),
        {name: np.concatenate([part.outcomes[name] for part in seen]) for name in outcome_names(spec)},
    )
    x = np.concatenate([part.x for part in seen])
    return assemble(spec, (validation, judged), model.features, dict(model.manifest.vocabulary), x, kept)


def _part(question: Question, rows: NDArray[np.intp]) -> Question:
    """Return some of the requests of a question."""
    return question._replace(
        number=question.number[rows],
        client=question.client[rows],
        candidates=question.candidates[rows],
        request={name: at_rows(column, rows) for name, column in question.request.items()},
    )


def _seen(one: Round, rows: NDArray[np.intp], x: NDArray[np.float32]) -> _Seen:
    real = one.candidates[rows] >= 0
    ok = one.ok[rows][real]
    outcomes = {name: values[rows][real] for name, values in one.outcomes.items()}
    derived = {FAILED: (~ok).astype(np.float32), COST: one.cost[rows][real]}
    return _Seen(x[real], np.full(ok.size, one.time), ok, outcomes | derived)


def _slices(telemetry: Telemetry, spec: Spec, times: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return the slice that each time falls in."""
    starts = slice_starts(telemetry, spec.telemetry.slice.seconds)
    at = np.searchsorted(list(starts.values()), times, side="right") - 1
    return np.array(list(starts), np.int32)[at]
