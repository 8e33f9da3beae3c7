"""A linear contextual bandit over averages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.policies.bandit_features import Inputs
from training.policies.protocol import Question, Seen, Setting, blocks, least
from training.telemetry import Telemetry


class LinUCB:
    """LinUCB with one linear model of all pairs: the least lower bound of the expected cost wins.

    The model predicts the square root of the cost from x, the features of `Inputs`. With A = ridge I + sum x x'
    and b = sum x y it picks the least of theta' x - width sqrt(x' A^-1 x), where theta = A^-1 b, which is the
    paper's upper bound with costs for rewards, and the hybrid model without the part that differs by arm: the
    averages stand for that.

    Parameters
    ----------
    width
        The paper's alpha, in the unit of the cost's root over its mean.
    ridge
        The paper has 1.

    References
    ----------
    Li, Chu, Langford, Schapire: A contextual-bandit approach to personalized news article recommendation. WWW
    2010.
    """

    def __init__(self, setting: Setting, *, width: float = 2.0, ridge: float = 1.0) -> None:
        self._width = width
        self.inputs = Inputs(setting)
        n = len(self.inputs.names)
        self._a = ridge * np.eye(n)
        self._b = np.zeros(n)
        self._asked: dict[int, NDArray[np.float64]] = {}

    def warm(self, telemetry: Telemetry) -> None:
        """Fit the linear model block by block."""
        for seen, x in self.inputs.warm(telemetry):
            self._fit(x, seen.cost)

    def pick(self, question: Question) -> NDArray[np.intp]:
        """Return the columns of the least lower bounds."""
        inverse = np.linalg.inv(self._a)
        picked = np.empty(len(question.client), np.intp)
        for block in blocks(len(picked)):
            x, picked[block] = self._pick(question.client[block], question.candidates[block], inverse)
            self._asked.update(zip(question.number[block].tolist(), x, strict=True))
        return picked

    def _pick(
        self, client: NDArray[np.int32], candidates: NDArray[np.int32], inverse: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return the picked columns, and before them their features, (n, n_features)."""
        x = self.inputs.features(client, np.maximum(candidates, 0))
        deviation = np.sqrt(np.einsum("ncf,fg,ncg->nc", x, inverse, x))
        scale = self.inputs.levels.overall.mean[0]
        picked = least(x @ (inverse @ self._b) - self._width * scale * deviation, candidates)
        return x[np.arange(len(x)), picked], picked

    def learn(self, seen: Seen) -> None:
        """Update the linear model with the features as they were asked, then the averages."""
        if len(seen):
            self._fit(np.array([self._asked.pop(number) for number in seen.number.tolist()]), seen.cost)
            self.inputs.levels.learn(seen)

    def _fit(self, x: NDArray[np.float64], cost: NDArray[np.float32]) -> None:
        self._a += x.T @ x
        self._b += x.T @ np.sqrt(cost, dtype=np.float64)
