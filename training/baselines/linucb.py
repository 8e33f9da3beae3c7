"""A linear contextual bandit over averages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.baselines.averages import Levels
from training.baselines.places import distance, knows_carriers, knows_places, same_carrier
from training.baselines.policy import Question, Seen, Setting, least, seen_before
from training.ingest import Telemetry

BLOCK = 16_384
"""Telemetry rows that are learned at once while warming up: within a block averages stand still."""

SHOWN = 0.1
"""Share of the outcomes that averages see while the linear model is fitted. Of 0.02, 0.1, 0.2 and 0.4 the
best on `seattle` (gap closed 0.744, next 0.729); on `hbrp` all lie between 0.959 and 0.962."""

UNKNOWN_DISTANCE = 0.5
"""A sixth of the way round the globe, about the middle of what two places may have."""


class LinUCB:
    """LinUCB with one linear model of all pairs: the least lower bound of the expected cost wins.

    The model predicts the square root of the cost (see `training.baselines.averages`) from x: 1; averages of
    the node, of the client and of the pair; the pair's last value; whether the pair is new; and, where the
    spec names them, whether the carriers are equal, and the distance. With A = ridge I + sum x x' and b = sum
    x y it picks the least of theta' x - width sqrt(x' A^-1 x), where theta = A^-1 b, which is the paper's
    upper bound with costs for rewards, and the hybrid model without the part that differs by arm: the
    averages stand for that.

    While warming up, averages see only a share of the outcomes, as they will during evaluation, so that theta
    trusts a pair's last value no more than it deserves; see `SHOWN`.

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
        self._setting = setting
        self._width = width
        self._levels = Levels.empty(setting)
        n = 6 + knows_carriers(setting) + knows_places(setting)
        self._a = ridge * np.eye(n)
        self._b = np.zeros(n)
        self._asked: dict[int, NDArray[np.float64]] = {}

    def warm(self, telemetry: Telemetry) -> None:
        """Fit the linear model block by block, then let the averages see everything."""
        seen = seen_before(telemetry)
        shown = np.random.default_rng(self._setting.seed).random(len(seen)) < SHOWN
        for start in range(0, len(seen), BLOCK):
            block = slice(start, min(start + BLOCK, len(seen)))
            part = seen.take(block)
            if start:  # the first block meets empty averages
                self._fit(self.features(part.client, part.node[:, None])[:, 0], part.cost)
            self._levels.learn(part.take(np.flatnonzero(shown[block])))
        self._levels = Levels.empty(self._setting)
        self._levels.learn(seen)

    def pick(self, question: Question) -> NDArray[np.intp]:
        """Return the columns of the least lower bounds."""
        x = self.features(question.client, np.maximum(question.candidates, 0))
        inverse = np.linalg.inv(self._a)
        spread = np.sqrt(np.einsum("ncf,fg,ncg->nc", x, inverse, x))
        scale = self._levels.overall.mean[0]
        picked = least(x @ (inverse @ self._b) - self._width * scale * spread, question.candidates)
        self._asked.update(zip(question.number.tolist(), x[np.arange(len(x)), picked], strict=True))
        return picked

    def learn(self, seen: Seen) -> None:
        """Update the linear model with the features as they were asked, then the averages."""
        if len(seen):
            self._fit(np.array([self._asked.pop(number) for number in seen.number.tolist()]), seen.cost)
            self._levels.learn(seen)

    def theta(self) -> NDArray[np.floating]:
        """Return the model's weights as they are now, (n_features,)."""
        return np.linalg.solve(self._a, self._b)

    def _fit(self, x: NDArray[np.float64], cost: NDArray[np.float32]) -> None:
        self._a += x.T @ x
        self._b += x.T @ np.sqrt(cost, dtype=np.float64)

    def features(self, client: NDArray[np.int32], node: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return x, (n, n_candidates, n_features); what is unknown is the average of what is known, or 0."""
        levels = self._levels
        ones = np.ones(node.shape)
        overall = np.nan_to_num(levels.overall.read(np.zeros(1, np.int64)))
        of_client = levels.client.read(client)[:, None]
        columns = [
            ones,
            levels.of_nodes(node),
            np.where(np.isnan(of_client), overall, of_client) * ones,
            levels.of_pairs(levels.pair, client, node),
            levels.of_pairs(levels.last, client, node),
            np.isnan(levels.pair.read(levels.pairs(client[:, None], node))),
        ]
        if knows_carriers(self._setting):
            columns.append(same_carrier(self._setting, client, node))
        if knows_places(self._setting):
            columns.append(np.nan_to_num(distance(self._setting, client, node), nan=UNKNOWN_DISTANCE))
        return np.nan_to_num(np.stack([np.asarray(c, np.float64) for c in columns], axis=2))
