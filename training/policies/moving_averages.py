"""Baselines that pick the candidate with the least average cost: of the node, of the pair, or its last one.

The averages are of the cost's square root: between the plain mean, which rare slow answers rule, and the
mean of logarithms, which forgives them. With half-lives of 8 and 16 slices the pair's root average closed,
next to its plain mean, 0.005 to 0.010 more of the gap in the mean cost on `seattle` and as much on `wsdream2`
(within 0.001), and 0.06 to 0.075 and 0.02 more in the mean log. Logarithms gain more in the log but lose 0.01
of the mean on `wsdream2`. These settings were chosen on the evaluated slices, which favours the baselines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.runtime.jit import allocating
from training.policies.pair_numbers import PairNumbers
from training.policies.protocol import Question, Seen, Setting, least, seen_before
from training.telemetry import Telemetry

HALF_LIFE = 12.0
"""Slices after which what was seen of a node or pair counts half: between 8 and 16, of which neither was
clearly better."""


def slice_spacing(telemetry: Telemetry, seconds: float) -> float:
    """Return the seconds from one slice of telemetry to the next, in the median; ``seconds`` where there is one slice.

    It comes from the rows' times, so a spec that is wrong about the length of a slice does not harm a baseline.
    """
    numbers, at = np.unique(telemetry.slice, return_inverse=True)
    first = np.full(len(numbers), np.inf)
    np.minimum.at(first, at, telemetry.time)
    spacing = float(np.median(np.diff(first))) if len(numbers) > 1 else seconds
    return spacing if spacing > 0.0 else seconds


class Averages:
    """Exponentially moving averages of a number under integer keys.

    Weights fade by half every half-life since the key's last value, then a value enters with weight 1, so
    that after a long silence the newest value counts almost alone.

    Parameters
    ----------
    n
        Keys are 0 to n - 1, until `make_room` lets there be more.
    half_life
        Seconds; infinity for plain means, 0 for the last value.

    Attributes
    ----------
    mean
        (n,) float64 or longer; meaningless where ``weight`` is 0.
    weight
        (n,) float64 or longer, faded to the time of the key's last value.
    """

    def __init__(self, n: int, half_life: float) -> None:
        self.mean = np.zeros(n)
        self.weight = np.zeros(n)
        self._last = np.zeros(n)
        self.set_half_life(half_life)

    def set_half_life(self, half_life: float) -> None:
        """Let weights fade by half in so many seconds from now on."""
        self._rate = np.inf if half_life == 0.0 else 1.0 / half_life

    def make_room(self, n: int) -> None:
        """Let keys be 0 to n - 1, and -1 one that nothing is ever known of."""
        if n >= len(self.mean):
            room = np.zeros(max(n + 1, 2 * len(self.mean)) - len(self.mean))
            self.mean, self.weight, self._last = (
                np.concatenate([values, room]) for values in (self.mean, self.weight, self._last)
            )

    def add(self, keys: NDArray[np.integer], values: NDArray[np.floating], times: NDArray[np.float64]) -> None:
        """Take (n,) values in order of their times, in seconds."""
        _add(self.mean, self.weight, self._last, keys, values, times, self._rate)

    def read(self, keys: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the averages of keys in their shape, NaN where no value came yet."""
        return np.where(self.weight[keys] > 0.0, self.mean[keys], np.nan)

    def faded(self, keys: NDArray[np.integer], now: float) -> NDArray[np.float64]:
        """Return the weights of keys in their shape, faded to a time in seconds."""
        silent = np.maximum(now - self._last[keys], 0.0)
        return self.weight[keys] * np.exp2(-silent * self._rate)


@allocating
def _add(  # noqa: PLR0913, PLR0917 - a kernel takes its arrays flat
    mean: np.ndarray,
    weight: np.ndarray,
    last: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    times: np.ndarray,
    rate: float,
) -> None:
    for i in range(keys.size):
        k = keys[i]
        elapsed = max(times[i] - last[k], 0.0)
        if np.isinf(rate):
            weight[k] = 0.0  # nothing but the last value counts
        elif elapsed > 0.0:
            weight[k] *= np.exp2(-elapsed * rate)
        last[k] = max(last[k], times[i])
        weight[k] += 1.0
        mean[k] += (values[i] - mean[k]) / weight[k]


class Levels(NamedTuple):
    """Averages over everything, by client, by node, by pair, and each pair's last value.

    Where a node was never seen it counts as average, and a pair never seen as its node.

    Attributes
    ----------
    overall, client, node
        Under 0, and under rows of the two tables.
    pair, last
        Under the numbers of `numbers`.
    numbers
        Of the pairs that were seen.
    kept
        Those of ``pair`` and ``last`` that learn; the others stay empty and take no memory.
    """

    overall: Averages
    client: Averages
    node: Averages
    pair: Averages
    last: Averages
    numbers: PairNumbers
    kept: tuple[Averages, ...]

    @classmethod
    def empty(cls, setting: Setting, *, pair: bool = True, last: bool = True) -> Levels:
        """Return levels that have seen nothing, and learn averages or last values of pairs only if told to."""
        half_life = HALF_LIFE * setting.spec.telemetry.slice.seconds
        n_clients, n_nodes = len(setting.clients), len(setting.nodes)
        averages, lasts = Averages(1, half_life), Averages(1, 0.0)
        return cls(
            Averages(1, half_life),
            Averages(n_clients, half_life),
            Averages(n_nodes, half_life),
            averages,
            lasts,
            PairNumbers(n_nodes),
            (averages,) * pair + (lasts,) * last,
        )

    def set_spacing(self, telemetry: Telemetry, seconds: float) -> None:
        """Take the half-life from the time between the slices of telemetry; see `slice_spacing`."""
        half_life = HALF_LIFE * slice_spacing(telemetry, seconds)
        for level in (self.overall, self.client, self.node, self.pair):
            level.set_half_life(half_life)

    def learn(self, seen: Seen) -> None:
        """Take outcomes in order of arrival."""
        cost, time = np.sqrt(seen.cost, dtype=np.float64), seen.arrival
        self.overall.add(np.zeros(len(seen), np.int64), cost, time)
        self.client.add(seen.client, cost, time)
        self.node.add(seen.node, cost, time)
        if self.kept:
            pair = self.numbers.add(seen.client, seen.node)
            for level in self.kept:
                level.make_room(len(self.numbers))
                level.add(pair, cost, time)

    def pairs(self, client: NDArray[np.integer], node: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the key of each client and node, -1 where the two were never seen together."""
        return self.numbers.find(client, node)

    def of_nodes(self, node: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return averages of nodes in their shape."""
        return _first_known(self.node.read(node), self.overall.read(np.zeros(1, np.int64)))

    def of_pairs(self, level: Averages, client: NDArray[np.int32], node: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return ``pair`` or ``last`` of each client and each of its candidates, (n, n_candidates)."""
        return _first_known(level.read(self.pairs(client[:, None], node)), self.of_nodes(node))


def _first_known(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(first), second, first)


class NodeAverage:
    """Picks the node with the least average cost over all clients."""

    def __init__(self, setting: Setting) -> None:
        self.levels = self.empty(setting)
        self._seconds = setting.spec.telemetry.slice.seconds

    @staticmethod
    def empty(setting: Setting) -> Levels:
        """Return the averages that it goes by, of nothing seen."""
        return Levels.empty(setting, pair=False, last=False)

    def warm(self, telemetry: Telemetry) -> None:
        """Learn from all telemetry."""
        self.levels.set_spacing(telemetry, self._seconds)
        self.learn(seen_before(telemetry))

    def pick(self, question: Question) -> NDArray[np.intp]:
        """Return the columns of the least averages."""
        return least(self.expected(question, np.maximum(question.candidates, 0)), question.candidates)

    def learn(self, seen: Seen) -> None:
        """Update the averages."""
        self.levels.learn(seen)

    def expected(self, question: Question, node: NDArray[np.int32]) -> NDArray[np.float64]:  # noqa: ARG002
        """Return the compared figure of nodes without padding, (n, n_candidates)."""
        return self.levels.of_nodes(node)


class PairAverage(NodeAverage):
    """Picks the node with the least average cost of this client, or of the node where the pair is new."""

    @staticmethod
    def empty(setting: Setting) -> Levels:
        """Return the averages that it goes by, of nothing seen."""
        return Levels.empty(setting, last=False)

    def expected(self, question: Question, node: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return averages of pairs."""
        return self.levels.of_pairs(self.levels.pair, question.client, node)


class PairLast(NodeAverage):
    """Picks the node with the least last cost of this client, or the node's average where the pair is new."""

    @staticmethod
    def empty(setting: Setting) -> Levels:
        """Return the values that it goes by, of nothing seen."""
        return Levels.empty(setting, pair=False)

    def expected(self, question: Question, node: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return last values of pairs."""
        return self.levels.of_pairs(self.levels.last, question.client, node)
