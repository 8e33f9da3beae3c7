"""How good decisions could become at best: ``python -m benchmarks.bounds DATA MODEL --spec NAME``.

Policies that know what no scheduler can know decide the requests of an evaluation beside the model and its baselines:
a model that is told of every outcome of all earlier slices, whoever was asked, and two that pick by what each pair of
client and node came to at all other times, in the future too. What the first leaves above the oracle no exploration
takes away, and what the others leave no better knowledge of how good the pairs are.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.arguments import add_requests, parse_requests
from scheduler.model.model import Model
from training.evaluation.evaluate import evaluate, split_telemetry
from training.evaluation.measured_requests import RequestBatch, measured_requests
from training.evaluation.metrics import ORACLE
from training.evaluation.results import Comparison
from training.policies import BASELINES, Learned, Question, Seen, Setting, all_policies
from training.policies.pair_numbers import PairNumbers
from training.policies.protocol import Policy, least
from training.telemetry import Telemetry, read_telemetry

COST, LOG = "mean", "mean_log"


class Told(Learned):
    """The model, told of all outcomes of a slice as soon as the next one begins, besides those of its own picks."""

    def __init__(self, setting: Setting, model: Model, telemetry: Telemetry, start: int) -> None:
        super().__init__(setting, model)
        self._telemetry, self._told, self._slice = telemetry, start, start

    def show(self, one: RequestBatch) -> None:
        """Note which slice it is."""
        self._slice = one.slice

    def pick(self, question: Question) -> NDArray[np.integer]:
        """Learn what is over, and pick."""
        if self._slice > self._told:
            slices = self._telemetry.slice
            self.warm(self._telemetry.where((slices >= self._told) & (slices < self._slice)))
            self._told = self._slice
        return super().pick(question)


class Hindsight:
    """Picks the pair whose other rows, earlier and later ones, were best: by mean cost, or by mean log of it."""

    def __init__(self, setting: Setting, telemetry: Telemetry, figure: str) -> None:
        self._figure, self._numbers = figure, PairNumbers(len(setting.nodes))
        pair = self._numbers.add(telemetry.client, telemetry.node)
        places = len(self._numbers) + 1  # the last one is that of pairs without a row
        self._n = np.bincount(pair, minlength=places)
        self._sum = np.bincount(pair, self._of(telemetry.outcomes["cost"]), places)
        self._drawn: NDArray[np.float64] | None = None

    def show(self, one: RequestBatch) -> None:
        """Note what the batch drew."""
        self._drawn = self._of(one.cost)

    def warm(self, telemetry: Telemetry) -> None:
        """Learn nothing: everything is known."""

    def learn(self, seen: Seen) -> None:
        """Learn nothing: everything is known."""

    def pick(self, question: Question) -> NDArray[np.integer]:
        """Return the columns of the least means of all rows but those that the batch drew."""
        if self._drawn is None:
            raise RuntimeError("expected the batch that is asked, found none")
        pair = self._numbers.find(question.client[:, None], np.maximum(question.candidates, 0))
        n, others = self._n[pair] - 1, self._sum[pair] - self._drawn
        return least(np.where(n > 0, others / np.maximum(n, 1), np.nan), question.candidates)

    def _of(self, cost: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.log1p(cost.astype(np.float64)) if self._figure == LOG else cost.astype(np.float64)


def shown(batches: Iterable[RequestBatch], knowing: Collection[Told | Hindsight]) -> Iterator[RequestBatch]:
    """Give batches on, each shown first to those who know more."""
    for one in batches:
        for policy in knowing:
            policy.show(one)
        yield one


def compared(
    telemetry: Telemetry, setting: Setting, model: Model, informed: Model, *, start: int, without: Collection[str]
) -> Comparison:
    """Let baselines, the model, and those who know more decide the same requests."""
    spec = setting.spec
    knowing: dict[str, Told | Hindsight] = {
        "told all": Told(setting, informed, telemetry, start),
        **{f"hindsight, {figure}": Hindsight(setting, telemetry, figure) for figure in (COST, LOG)},
    }
    requests, seed = spec.evaluation.requests, setting.seed
    batches = measured_requests(telemetry, spec, start=start, requests=requests, candidates=20, seed=seed)
    policies: dict[str, Policy] = {**all_policies(setting, model, without), **knowing}
    return evaluate(shown(batches, knowing.values()), policies, spec, split_telemetry(telemetry, start)[0])


def regrets(run: Comparison, figure: str) -> dict[str, tuple[float, float]]:
    """Return of every policy its regret, and that over the best baseline's."""
    above = {
        name: getattr(score, figure) - getattr(run.policies[ORACLE], figure) for name, score in run.policies.items()
    }
    best = min(above[name] for name in BASELINES if name in above)
    return {name: (value, value / best) for name, value in above.items()}


def main() -> None:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bounds", description=about)
    add_requests(parser)
    parser.add_argument("model", type=Path, help="folder of a model trained on slices before the first to decide")
    parser.add_argument(
        "--informed", type=Path, help="folder of a model trained with reveal = 1 to be told all; default: MODEL"
    )
    parser.add_argument("--without", nargs="*", default=[], help="baselines to leave out")
    options = parse_requests(parser)
    evaluation = msgspec.structs.replace(options.spec.evaluation, requests=options.requests)
    spec = msgspec.structs.replace(options.spec, evaluation=evaluation)
    telemetry = read_telemetry(options.data, spec)
    model, informed = Model.load(options.model), Model.load(options.informed or options.model)
    settings = [Setting(spec, telemetry.clients, telemetry.nodes, seed) for seed in range(options.seeds)]
    runs = [compared(telemetry, one, model, informed, start=options.start, without=options.without) for one in settings]
    print(f"{sum(run.n for run in runs):,} decisions each, {options.seeds} seeds\n")
    print("| policy | regret | over the best baseline's | log regret | over the best baseline's |")
    print("| --- | ---: | ---: | ---: | ---: |")
    found = {figure: [regrets(run, figure) for run in runs] for figure in (COST, LOG)}
    for name in sorted(found[COST][0], key=lambda name: found[COST][0][name]):
        cells = []
        for figure in (COST, LOG):
            value, ratio = np.transpose([run[name] for run in found[figure]])
            cells.append(f"{value.mean():.4g} | {ratio.mean():.3f} ± {ratio.std():.3f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
