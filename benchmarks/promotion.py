"""How often contests of a new version with the champion end how: simulated paired costs through the test that promotes.

    python -m benchmarks.promotion                     # 100 contests a row
    python -m benchmarks.promotion --lasting 0.9       # nine tenths of a slice's luck last into the next one

Two versions decide the same requests of ``--clients`` clients. Costs are lognormal, and the versions pick the same node
in ``SAME`` of the requests; where they differ, each cost is a draw of its own. On top, the new version is cheaper or
dearer for single clients and in single slices, by normal shares. Nothing of it is measured: it says how the test
behaves, not how models do.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.spec import PromotionRules
from training.evaluation.metrics import Picks
from training.evaluation.verdict import BETTER, NOT_BETTER, UNTOLD, Asked, judge

SAME, SIGMA = 0.8, 1.0
"""Share of the requests in which both pick the same node; deviation of the logarithm of a cost."""

TRAINING = 0.005
"""Standard deviation of what the luck of a training is worth, as a share of the mean cost."""


class World(NamedTuple):
    """Sizes of a contest, and the standard deviations of a version's advantage over clients and over slices.

    ``lasting`` is the share of a slice's luck that the next one has too.
    """

    clients: int
    slices: int
    requests: int
    of_clients: float
    of_slices: float
    lasting: float = 0.0


def contest(world: World, gain: float, seed: int) -> str:
    """Return the verdict on a version whose mean cost is lower by a share, luck of the training aside."""
    rng = np.random.default_rng(seed)
    client = np.tile(np.repeat(np.arange(world.clients), world.requests), world.slices)
    slices = np.repeat(np.arange(world.slices), world.clients * world.requests)
    base = rng.lognormal(0.0, 0.5, world.clients)[client]
    old, other = (base * rng.lognormal(0.0, SIGMA, client.size) for _ in range(2))
    advantage = gain + TRAINING * rng.normal() + world.of_clients * rng.normal(size=world.clients)[client]
    advantage += world.of_slices * _luck(rng.normal(size=world.slices), world.lasting)[slices]
    new = np.where(rng.random(client.size) < SAME, old, other) * (1.0 - advantage)
    none, ok = np.zeros(client.size, np.int32), np.ones(client.size, np.bool_)
    picks = [Picks(none, ok, cost.astype(np.float32)) for cost in (new, old)]
    return judge(Asked(client, slices, seed), *picks, PromotionRules()).outcome


def _luck(chance: NDArray[np.float64], lasting: float) -> NDArray[np.float64]:
    """Return standard normal numbers of which each has a share of the one before: an autoregression of order 1."""
    luck = chance.copy()
    for i in range(1, luck.size):
        luck[i] = lasting * luck[i - 1] + np.sqrt(1.0 - lasting**2) * chance[i]
    return luck


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contests", type=int, default=100)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--lasting", type=float, default=0.0, help="share of a slice's luck that the next one has too")
    options = parser.parse_args()
    print("| gain | decisions | slices | better | not better | cannot be told |\n| ---: " + "| ---: " * 5 + "|")
    for gain in (0.0, 0.03, 0.1):
        for slices, requests in ((4, 10), (10, 20), (40, 20)):
            world = World(options.clients, slices, requests, 0.03, 0.03, options.lasting)
            found = Counter(contest(world, gain, seed) for seed in range(options.contests))
            n = options.clients * slices * requests
            told = " | ".join(str(found[outcome]) for outcome in (BETTER, NOT_BETTER, UNTOLD))
            print(f"| {100 * gain:.0f} % | {n:,} | {slices} | {told} |", flush=True)


if __name__ == "__main__":
    main()
