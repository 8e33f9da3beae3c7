"""The policy that is trained anew every so often, which shows what ageing costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import FoglineError
from scheduler.model.model import Model
from scheduler.spec import Spec
from training.artifacts.locate import artifact_folder
from training.evaluation.evaluate import first_slice
from training.evaluation.metrics import LEARNED, RETRAINED, log_cost, regret
from training.evaluation.results import Comparison
from training.pipeline.train import train_model
from training.policies import Learned, Policy, Question, Setting
from training.telemetry import Data, Telemetry, read_telemetry
from training.telemetry.slice_starts import slice_starts


class Retrained(Learned):
    """The learned policy whose model is replaced every so many slices by one trained on all slices before.

    The new model takes over without losing history; it was trained on all measured outcomes, as the first one was.
    Where it cannot be trained, the former one goes on, as in operation, and ``notes`` say so.

    Parameters
    ----------
    telemetry
        All of it, with the slices that are decided.
    start, every
        The first slice that is decided, and after how many slices with requests a new model takes over.
    """

    def __init__(
        self, setting: Setting, model: Model, telemetry: Telemetry, *, start: int, every: int, threads: int = 0
    ) -> None:
        super().__init__(setting, model)
        self._telemetry, self._threads = telemetry, threads
        starts = slice_starts(telemetry, setting.spec)
        self._ahead = [(begin, number) for number, begin in starts.items() if number >= start]
        self._every, self._n_asked = every, 0

    def pick(self, question: Question) -> NDArray[np.integer]:
        """Take a new model where one is due, and pick."""
        number = None
        while self._ahead and question.time >= self._ahead[0][0]:
            _, number = self._ahead.pop(0)
        if number is not None:  # a slice that asks for the first time; in others there is nothing to decide
            if self._n_asked and self._n_asked % self._every == 0:
                self._renew(number)
            self._n_asked += 1
        return super().pick(question)

    def _renew(self, number: int) -> None:
        """Let a model that is trained on all before a slice take over."""
        try:
            model = self._trained(number)
        except FoglineError as error:
            seed, former = self._setting.seed, self.scheduler.model.version
            self.notes.append(f"training before slice {number} with seed {seed} failed, {former} went on: {error}")
            return
        self.scheduler.release(self.scheduler.swap(model, self._setting.spec))

    def _trained(self, number: int) -> Model:
        before, spec = self._telemetry.where(self._telemetry.slice < number), self._setting.spec
        with TemporaryDirectory() as folder:
            return train_model(before, spec, Path(folder), seed=self._setting.seed, threads=self._threads).model


def retrained(
    data: Data, spec: Spec, source: str | Path, registry: str, *, start: int | None, every: int
) -> Callable[[Setting], dict[str, Policy]]:
    """Return what makes the policy for an evaluation of a model, see `training.evaluation.evaluate.run_evaluation`."""
    model = Model.load(artifact_folder(source, registry))
    first = first_slice(spec, start)
    telemetry = read_telemetry(data, spec)

    def make(setting: Setting) -> dict[str, Policy]:
        return {RETRAINED: Retrained(setting, model, telemetry, start=first, every=every)}

    return make


class Age(NamedTuple):
    """Regret of slices that are equally old: of the model, and of the one that is trained anew.

    ``first_slice`` is the first of them, ``n`` how many requests they have. The last two are the regret in the log.
    """

    first_slice: int
    n: int
    learned: float
    retrained: float
    learned_log: float
    retrained_log: float


def ageing(comparison: Comparison, every: int) -> list[Age]:
    """Return the regret of both models by stretches of as many slices as lie between two trainings."""
    present = np.unique(comparison.slice)
    found = []
    for at in range(0, len(present), every):
        rows = np.isin(comparison.slice, present[at : at + every])
        costs = {policy: one.cost[rows].astype(np.float64) for policy, one in comparison.picks.items()}
        means = {policy: float(cost.mean()) for policy, cost in costs.items()}
        logs = {policy: float(log_cost(cost).mean()) for policy, cost in costs.items()}
        regrets = (regret(figures, name) for figures in (means, logs) for name in (LEARNED, RETRAINED))
        found.append(Age(int(present[at]), int(rows.sum()), *regrets))
    return found
