"""Rehearsal: a model serves the end of the training window, and history sees only the outcomes of its picks.

The rehearsal is cross-fitted: no slice is served by a model that was fitted on it, which would know its outcomes by
heart and pick as no model in service can. So two models serve in turn, each what it was not fitted on.

A model is fitted on histories that know a random share of all outcomes. In service, history knows the model's own
picks: much about a few nodes, little and old about the others. So a first model serves the last slices of the training
window, and the next model is also fitted on what the first one saw when it chose. This is one iteration of dataset
aggregation (Ross, Gordon, Bagnell: A reduction of imitation learning and structured prediction to no-regret online
learning, AISTATS 2011), with the measured outcomes of all candidates in the place of an expert.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.history.outcomes import outcome_names
from scheduler.model.model import Model
from scheduler.spec import COST, FAILED, Spec
from training.evaluation.measured_requests import RequestBatch, measured_requests, node_state
from training.evaluation.runner import PolicyRun, question_of
from training.features.dataset import Dataset, assemble
from training.features.split import first_served, fitted_slices, split_slices, without_embargo
from training.features.targets import RowOutcomes
from training.policies import Learned, Question, Setting
from training.progress import ProgressCallback, silent
from training.telemetry import Columns, Entities, Telemetry
from training.telemetry.slice_starts import slice_starts

BLOCKS = 2
"""Models that serve in turn: with two, each is fitted on half of what is served and all that is not."""

Serving: TypeAlias = "Sequence[tuple[int, Model]]"
"""Models in the order in which they serve, each with its first slice."""


class Parts(NamedTuple):
    """Telemetry in the order of time, a part at a time, so that not all of it need be in memory.

    Attributes
    ----------
    slices
        The slices there are, each once, in order.
    clients, nodes
        The two tables.
    before
        What comes before the first slice that is served, see `training.features.split.first_served`.
    served
        The rest, with or without earlier slices, which only provide the state of the nodes.
    """

    slices: NDArray[np.int32]
    clients: Entities
    nodes: Entities
    before: Iterable[Telemetry]
    served: Iterable[Telemetry]


class _Seen(NamedTuple):
    """The kept candidates of one batch: feature rows, their request's draw, their slice, their outcomes."""

    x: NDArray[np.float32]
    draw: NDArray[np.float64]
    slice: NDArray[np.int32]
    ok: NDArray[np.bool_]
    outcomes: dict[str, NDArray[np.float32]]

    def below(self, share: float) -> _Seen:
        """Return the rows of the requests that drew less than a share."""
        keep = self.draw < share
        outcomes = {name: values[keep] for name, values in self.outcomes.items()}
        return _Seen(self.x[keep], self.draw[keep], self.slice[keep], self.ok[keep], outcomes)


class _Recorder(Learned):
    """The learned policy, which keeps what the model sees of the candidates of a random share of its requests.

    Each request draws a number. Those below the share are kept, and the share falls as rows become too many: how many
    there will be is known only at the end. Other models take over from their slices on; history goes on.
    """

    def __init__(self, setting: Setting, model: Model, most: int, later: Serving) -> None:
        super().__init__(setting, model)
        self._later = list(later)
        self._rng, self._share, self._most = np.random.default_rng(setting.seed), 1.0, most
        self._n_rows = 0
        self._seen: list[_Seen] = []
        self.batch: RequestBatch | None = None

    def pick(self, question: Question) -> NDArray[np.integer]:
        """Keep some rows of the batch that is asked, and pick."""
        while self.batch is not None and self._later and self.batch.slice >= self._later[0][0]:
            self.scheduler.release(self.scheduler.swap(self._later.pop(0)[1], self._setting.spec))
        self.report(question)
        draw = self._rng.random(len(question.client))
        rows = np.flatnonzero(draw < self._share)
        if self.batch is not None and rows.size:
            self._seen.append(_seen(self.batch, rows, draw[rows], self.features(question.take(rows))))
            self._n_rows += len(self._seen[-1].x)
        if self._n_rows > 2 * self._most:
            self._thin()
        return self.decide(question)

    def seen(self) -> list[_Seen]:
        """Return what is kept at the end, about as many rows as are wanted at most."""
        if self._n_rows > self._most:
            self._thin()
        return self._seen

    def _thin(self) -> None:
        """Keep as many rows as are wanted, those of the requests that drew least."""
        self._share *= self._most / self._n_rows
        self._seen = [part for part in (one.below(self._share) for one in self._seen) if len(part.x)]
        self._n_rows = sum(len(one.x) for one in self._seen)


class Block(NamedTuple):
    """Slices that one model serves: the first of them, those held out for it, and all that its fit leaves out.

    That are those held out and an embargo on either side of them. The last model goes on through the slices that no
    model is fitted on.
    """

    start: int
    held_out: NDArray[np.int32]
    left_out: NDArray[np.int32]


def blocks(slices: NDArray[np.int32], spec: Spec) -> list[Block]:
    """Return the blocks of a rehearsal in order; ``slices`` are distinct and sorted.

    There are `BLOCKS`, or one where a single fitted slice is served.
    """
    start, fitted = first_served(slices, spec), fitted_slices(slices, spec)
    served = fitted[fitted >= start]
    parts = np.array_split(served, min(BLOCKS, served.size))
    return [Block(int(part[0]), part, _with_embargo(part, slices, spec.training.embargo)) for part in parts]


def _with_embargo(held_out: NDArray[np.int32], slices: NDArray[np.int32], embargo: int) -> NDArray[np.int32]:
    """Return slices that are held out with all from ``embargo`` slices before them up to as many after them."""
    first, last = np.searchsorted(slices, held_out[[0, -1]]).tolist()
    return slices[max(first - embargo, 0) : last + embargo + 1]


def serve_on_policy(
    telemetry: Telemetry, spec: Spec, models: Serving, *, seed: int, progress: ProgressCallback = silent
) -> Dataset:
    """Serve the last slices of telemetry with a model, and return what it saw of all candidates.

    The measured rows of a slice are its candidates' outcomes, as in an evaluation.

    Parameters
    ----------
    telemetry
        What the models were trained on.
    models
        Those that serve, each from a slice on, in order; see `blocks`.
    spec
        ``training.rehearse`` sets how many slices, ``evaluation.requests`` how many batches in each, and
        ``evaluation.candidates`` among how many nodes.

    Returns
    -------
    Dataset
        At most about ``training.rows`` rows; split as `training.features.dataset.build_dataset` splits.

    Raises
    ------
    DataError
        If no row is left to fit or to validate on.
    """
    slices = np.unique(telemetry.slice)
    before = telemetry.where(telemetry.slice < first_served(slices, spec))
    parts = Parts(slices, telemetry.clients, telemetry.nodes, [before], [telemetry])
    return serve_parts(parts, spec, models, seed=seed, progress=progress)


def serve_parts(
    parts: Parts, spec: Spec, models: Serving, *, seed: int, progress: ProgressCallback = silent
) -> Dataset:
    """Do what `serve_on_policy` does with telemetry that is read as it is needed.

    If slices do not overlap in time, the parts do not change the result, with one exception: late outcomes of a part
    are applied before any outcome of the next.
    """
    start = first_served(parts.slices, spec)
    n_batches = int((parts.slices >= start).sum()) * spec.evaluation.requests
    setting, (_, model) = Setting(spec, parts.clients, parts.nodes, seed), models[0]
    recorder = _Recorder(setting, model, spec.training.rows, models[1:])
    served = iter(parts.served)
    first = next(served)
    begin = slice_starts(first, spec)[start]
    known: Columns | None = None
    n_parts = 0
    for n_parts, telemetry in enumerate(parts.before, 1):
        progress("rehearse: warm up", n_parts - 1, n_parts)
        recorder.warm(telemetry.where(telemetry.arrival < begin))
        known = node_state(telemetry, known)
    progress("rehearse: warm up", n_parts, n_parts)
    _serve(recorder, _batches(chain([first], served), spec, start, seed, known), n_batches, progress)
    seen, stop = recorder.seen(), split_slices(parts.slices, spec).stop
    if not any((one.slice < stop).any() for one in seen):
        raise DataError(
            f"training.rehearse: expected clients with two nodes or more in slices {start} to {stop - 1}, found none"
        )
    return _dataset(seen, parts.slices, spec, model)


def _batches(
    served: Iterable[Telemetry], spec: Spec, start: int, seed: int, known: Columns | None
) -> Iterator[RequestBatch]:
    requests, candidates = spec.evaluation.requests, spec.evaluation.candidates
    for telemetry in served:
        yield from measured_requests(
            telemetry, spec, start=start, requests=requests, candidates=candidates, seed=seed, known=known
        )
        known = node_state(telemetry, known)


def _serve(recorder: _Recorder, batches: Iterable[RequestBatch], n_batches: int, progress: ProgressCallback) -> None:
    run, asked, done = PolicyRun("rehearsal", recorder, time.perf_counter), 0, 0
    for done, one in enumerate(batches, 1):
        recorder.batch = one
        run.play(one, question_of(one, asked))
        asked += len(one.client)
        progress("rehearse: serve", done, max(n_batches, done))
    progress("rehearse: serve", done, done)  # slices without a request make fewer


def _dataset(seen: list[_Seen], slices: NDArray[np.int32], spec: Spec, model: Model) -> Dataset:
    measured = RowOutcomes(
        np.concatenate([part.slice for part in seen]),
        np.concatenate([part.ok for part in seen]),
        {name: np.concatenate([part.outcomes[name] for part in seen]) for name in outcome_names(spec)},
    )
    keep = without_embargo(measured.slice, slices, spec)
    measured = RowOutcomes(measured.slice[keep], measured.ok[keep], {n: y[keep] for n, y in measured.outcomes.items()})
    x, bounds = np.concatenate([part.x for part in seen])[keep], split_slices(slices, spec).bounds
    return assemble(spec, bounds, model.features, dict(model.manifest.vocabulary), x, measured)


def _seen(one: RequestBatch, rows: NDArray[np.intp], draw: NDArray[np.float64], x: NDArray[np.float32]) -> _Seen:
    real = one.candidates[rows] >= 0
    ok = one.ok[rows][real]
    outcomes = {name: values[rows][real] for name, values in one.outcomes.items()}
    derived = {FAILED: (~ok).astype(np.float32), COST: one.cost[rows][real]}
    draws = np.broadcast_to(draw[:, None], real.shape)[real]
    return _Seen(x[real], draws, np.full(ok.size, one.slice, np.int32), ok, outcomes | derived)
