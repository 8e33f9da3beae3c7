"""The baseline that knows clients and nodes apart: online low-rank factors of the cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import id_keys
from scheduler.history.arrays import PART_PREDICTION, LatentFactorArrays
from scheduler.history.kernels.hash_table import find
from scheduler.history.kernels.latent_factors import part, update
from scheduler.history.store import new_latent_factors
from scheduler.runtime.jit import kernel
from scheduler.spec import COST, LatentFactors
from training.policies.moving_averages import slice_spacing
from training.policies.protocol import Question, Seen, Setting, least, seen_before
from training.telemetry import Telemetry

HALF_LIFE, MEMORY = 4, 384
"""Slices after which fast biases fade by half, and after which silence has made all uncertain again. The gap closed on
the evaluated slices of `seattle`, `wsdream2` and `hbrp` changes by at most 0.012 with a quarter or about four times of
either, and no setting was best on all three."""


class LowRank:
    """Picks the least expected square root of the cost by latent factors.

    See `scheduler.history.kernels.latent_factors`.

    The root for the reason given in `training.policies.moving_averages`. A candidate or client that was never seen
    counts as average.
    """

    def __init__(self, setting: Setting) -> None:
        n_clients, n_nodes = len(setting.clients), len(setting.nodes)
        self._seconds, self._capacity = setting.spec.telemetry.slice.seconds, n_clients + n_nodes
        self._factors = self._empty(self._seconds)
        keys = id_keys(np.arange(n_clients + n_nodes))
        self._client, self._node = keys[:n_clients], keys[n_clients:]

    def warm(self, telemetry: Telemetry) -> None:
        """Learn from all telemetry."""
        self._factors = self._empty(slice_spacing(telemetry, self._seconds))
        self.learn(seen_before(telemetry))

    def _empty(self, slice_s: float) -> LatentFactorArrays:
        model = LatentFactors(
            value=COST,
            half_life=f"{HALF_LIFE * slice_s:f}s",
            memory=f"{MEMORY * slice_s:f}s",
            capacity=self._capacity,
        )
        return new_latent_factors([model])

    def pick(self, question: Question) -> NDArray[np.intp]:
        """Return the columns of the least expected costs."""
        expected = np.empty(question.candidates.shape)
        client, node = self._client[question.client], self._node[np.maximum(question.candidates, 0)]
        _expect(self._factors, client, node, question.time, expected)
        return least(expected, question.candidates)

    def learn(self, seen: Seen) -> None:
        """Update the model."""
        cost = np.sqrt(seen.cost, dtype=np.float64)
        _learn(self._factors, self._client[seen.client], self._node[seen.node], cost, seen.arrival)


@kernel
def _learn(factors: LatentFactorArrays, client: np.ndarray, node: np.ndarray, x: np.ndarray, time: np.ndarray) -> None:
    for i in range(x.size):
        update(factors, 0, client[i], node[i], x[i], time[i])


@kernel
def _expect(factors: LatentFactorArrays, client: np.ndarray, node: np.ndarray, now: float, out: np.ndarray) -> None:
    for i in range(client.size):
        c = find(factors, client[i])
        for k in range(node.shape[1]):
            out[i, k] = part(factors, 0, PART_PREDICTION, c, find(factors, node[i, k]), now)
