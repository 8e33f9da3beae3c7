"""Judge a trial's settings on a fold."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from scheduler.errors import DataError
from scheduler.spec import Head, Spec
from training.evaluation.evaluate import evaluate, split_telemetry
from training.evaluation.measured_requests import RequestBatch, measured_requests
from training.evaluation.metrics import LEARNED, RANDOM, SATURATED, Score
from training.evaluation.on_policy import serve_on_policy
from training.evaluation.results import saturated
from training.features.dataset import Dataset, build_dataset
from training.features.split import split_slices
from training.heads.fit import FittedHead, fit_heads
from training.heads.metrics import constant_loss, head_loss
from training.pipeline.champion import CONTEST
from training.pipeline.train import fit_rehearsed, read_window, write_model
from training.policies import BASELINES, SIMPLE, Learned, Policy, Random, Setting
from training.telemetry import Telemetry
from training.telemetry.history_size import shortages
from training.tuning.folds import Fold

Objective: TypeAlias = Literal["gap_closed", "gap_closed_log", "loss"]

CACHE_BYTES = 1 << 30
"""Replayed feature rows cached for further trials: 60 MB a fold and `reveal` on the measured sets. Of the
folds' batches as much; what is more is drawn anew in every trial, which gives the same."""


class Judge:
    """Fits and judges settings on folds, and keeps replays that later settings can reuse.

    Attributes
    ----------
    replays
        How many feature sets were replayed so far.
    warnings
        What made the models of the last such replay worse than they need be, a line each.
    """

    def __init__(self, telemetry: Telemetry, spec: Spec, objective: Objective, *, seed: int, threads: int) -> None:
        self._telemetry, self._spec, self._objective = telemetry, spec, objective
        self._seed, self._threads = seed, threads
        self._datasets: OrderedDict[tuple[int, float], Dataset] = OrderedDict()
        self._batches: dict[int, list[RequestBatch]] = {}
        self.replays = 0
        self.warnings: list[str] = []

    def score(self, fold: Fold, spec: Spec) -> float:
        """Train with a spec's settings on a fold's past and return the objective on its slices."""
        past = self._past(fold)
        split = self._split(fold, spec, past)
        dataset, fitted = fit_rehearsed(
            self._dataset(fold, split, past),
            split,
            read_window(past),
            slices=np.unique(past.slice),
            fit=lambda rows: fit_heads(rows, split, seed=self._seed, threads=self._threads),
            serve=lambda first: serve_on_policy(
                past, split, [(start, one.model) for start, one in first], seed=self._seed
            ),
            threads=self._threads,
        )
        return prediction_loss(fitted, spec) if self._objective == "loss" else self._gap(fold, spec, dataset, fitted)

    def check(self, folds: Sequence[Fold]) -> None:
        """Raise `DataError` where a fold's past cannot be split as the spec says, before anything is trained."""
        for fold in folds:
            past = self._past(fold)
            split_slices(past.slice, self._split(fold, self._spec, past))

    def saturated(self, folds: Sequence[Fold]) -> str:
        """Return that simple averages leave nothing to win on the folds, in words; empty where they do leave some."""
        if self._objective == "loss":
            return ""
        found = [self._simple(fold) for fold in folds]
        best = max(SIMPLE, key=lambda name: sum(scores[name].gap_closed for scores in found))
        closed = float(np.mean([scores[best].gap_closed for scores in found]))
        return saturated(best, closed) if closed >= SATURATED else ""

    def _simple(self, fold: Fold) -> dict[str, Score]:
        until = self._telemetry_before(fold.stop)
        before, n_slices = split_telemetry(until, fold.start)
        setting = Setting(self._spec, until.clients, until.nodes, self._seed)
        policies: dict[str, Policy] = {RANDOM: Random(setting), **{name: BASELINES[name](setting) for name in SIMPLE}}
        return evaluate(self._fold_batches(fold, until, n_slices), policies, self._spec, before).policies

    def _past(self, fold: Fold) -> Telemetry:
        return self._telemetry_before(fold.stop if self._objective == "loss" else fold.start)

    def _dataset(self, fold: Fold, spec: Spec, past: Telemetry) -> Dataset:
        """Return the replayed rows of a fold, which of all settings only ``reveal`` changes."""
        key = fold.number, spec.training.reveal
        if key in self._datasets:
            self._datasets.move_to_end(key)
            return self._datasets[key]
        dataset = build_dataset(past, spec, seed=self._seed)
        self.replays += 1
        if dataset.memory is not None:
            self.warnings = shortages(dataset.memory.tables) or self.warnings
        self._datasets[key] = dataset
        while len(self._datasets) > 1 and sum(one.x.nbytes for one in self._datasets.values()) > CACHE_BYTES:
            self._datasets.popitem(last=False)
        return dataset

    def _split(self, fold: Fold, spec: Spec, past: Telemetry) -> Spec:
        """Where predictions are judged, let the rows that only judge be the fold's slices.

        As many slices are fitted and served in a rehearsal as in training.
        """
        if self._objective != "loss":
            return spec
        present = np.unique(past.slice)
        share = 2.0 * float((present >= fold.start).sum()) / present.size
        training = spec.training
        served = min(max(training.rehearse + share - training.validation, 1.0 / present.size), 1.0)
        rehearse = served if training.rehearse else 0.0
        split = msgspec.structs.replace(training, validation=share, rehearse=rehearse)
        return msgspec.structs.replace(spec, training=split)

    def _telemetry_before(self, end: int) -> Telemetry:
        return self._telemetry.where(self._telemetry.slice < end)

    def _gap(self, fold: Fold, spec: Spec, dataset: Dataset, fitted: dict[str, FittedHead]) -> float:
        """Let the model decide the fold's requests beside a random policy; see `training.evaluation.evaluate`."""
        until = self._telemetry_before(fold.stop)
        before, n_slices = split_telemetry(until, fold.start)
        with TemporaryDirectory() as folder:
            model = write_model(dataset, fitted, spec, Path(folder), read_window(before)).model
        setting = Setting(spec, until.clients, until.nodes, self._seed)
        policies: dict[str, Policy] = {RANDOM: Random(setting), LEARNED: Learned(setting, model)}
        batches = self._fold_batches(fold, until, n_slices)
        scores = evaluate(batches, policies, spec, before).policies[LEARNED]
        return scores.gap_closed_log if self._objective == "gap_closed_log" else scores.gap_closed

    def _fold_batches(self, fold: Fold, until: Telemetry, n_slices: int) -> Iterable[RequestBatch]:
        """Return a fold's batches, and keep them for the next trial while they take little memory."""
        if fold.number in self._batches:
            return self._batches[fold.number]
        requests = min(self._spec.evaluation.requests, max(1, CONTEST // (n_slices * len(until.clients))))
        batches = measured_requests(
            until,
            self._spec,
            start=fold.start,
            requests=requests,
            candidates=self._spec.evaluation.candidates,
            seed=self._seed,
        )
        cached: list[RequestBatch] = []
        size = sum(one.nbytes for others in self._batches.values() for one in others)
        for one in batches:
            cached.append(one)
            size += one.nbytes
            if size > CACHE_BYTES:
                return chain(cached, batches)
        self._batches[fold.number] = cached
        return cached


def prediction_loss(fitted: dict[str, FittedHead], spec: Spec) -> float:
    """Return the mean over the heads of their loss on the judged rows, as a share of the best constant's.

    Each head is judged by the loss that it is fitted by: the pinball loss of a head with a quantile, the log loss with
    the link ``logistic``, else the squared error of the fitted target. 1 is no knowledge, 0 a perfect prediction. The
    constant's loss is that on the rows that calibrate and those that judge, as the latter may be all alike. A head
    whose rows are alike in both does not count.

    Raises
    ------
    DataError
        If no head counts.
    """
    found = [_relative_loss(spec.heads[name], head) for name, head in fitted.items()]
    told = [loss for loss in found if np.isfinite(loss)]
    if not told:
        raise DataError(f"tuning: expected outcomes that differ, found the same in all rows of {', '.join(fitted)}")
    return float(np.mean(told))


def _relative_loss(meant: Head, head: FittedHead) -> float:
    """Return the loss of a head as a share of a constant's; NaN where all outcomes are alike."""
    judged, known = (
        np.log1p(rows.outcome) if meant.link == "log" else rows.outcome for rows in (head.judge, head.calibration)
    )
    both = np.concatenate([known, judged])
    if np.ptp(both) == 0.0:
        return np.nan
    return head_loss(meant, head.judge.raw, judged) / constant_loss(meant, both)
