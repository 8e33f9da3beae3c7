"""Vowpal Wabbit's contextual bandit with action features, as one of its users would set it up."""

from __future__ import annotations

from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.policies.bandit_features import Inputs
from training.policies.protocol import Question, Seen, Setting, blocks
from training.telemetry import Telemetry

WARM_ROWS = 200_000
"""Telemetry rows that it is fitted to at most before the evaluation, drawn at random: each takes about 20 us to
write as text and to parse. The averages among its features see all rows."""

OPTIONS = "--cb_explore_adf --cb_type mtr --squarecb --gamma_scale 100 -q cn -b 20 --quiet"
"""Chosen on slices 312 to 335 of `seattle`, before those that are evaluated: gap closed 0.795 in the mean and 0.723
in the mean log, SquareCB with its own gamma 0.788 and 0.716, epsilon of 0.05, 0.02 and 0.01 at best 0.781 and 0.708,
softmax 0.771 and 0.686, without the pair's id 0.780 and 0.676; more interactions or slower learning gain nothing. On
slices 19 to 21 of `wsdream2` SquareCB was ahead of epsilon too."""


class VowpalWabbit:
    """``cb_explore_adf``: one regression over features of the client and of each candidate, and an exploring policy.

    Namespace c holds the client's id, n the node's, f the features of `Inputs`; the interaction of c and n is
    the pair's id. The cost is the root of the cost over its mean. It is fitted to telemetry row by row as to
    requests with one candidate, then online to the outcomes of its own picks with their probabilities.

    References
    ----------
    Bietti, Agarwal, Langford: A contextual bandit bake-off. JMLR 22, 2021.
    """

    def __init__(self, setting: Setting, options: str = OPTIONS) -> None:
        from vowpalwabbit import Workspace

        self.inputs = Inputs(setting)
        self._rng = np.random.default_rng(setting.seed)
        self._workspace: Any = Workspace(f"{options} --random_seed {setting.seed}")
        self._scale = 1.0
        self._asked: dict[int, tuple[list[str], int, float]] = {}

    def warm(self, telemetry: Telemetry) -> None:
        """Fit to a sample of the telemetry."""
        if len(telemetry):
            self._scale = float(np.sqrt(telemetry.outcomes["cost"], dtype=np.float64).mean()) or 1.0
        for seen, x in self.inputs.warm(telemetry, WARM_ROWS):
            actions = self._actions(seen.node, x)
            for client, action, cost in zip(seen.client.tolist(), actions, self._costs(seen), strict=True):
                self._workspace.learn(f"shared |c c{client}\n0:{cost:.5g}:1 {action}")

    def pick(self, question: Question) -> NDArray[np.intp]:
        """Return columns drawn from the policy's probabilities."""
        picked = np.empty(len(question.client), np.intp)
        draws = self._rng.random(picked.shape)
        for block in blocks(len(picked)):
            picked[block] = self._pick(
                question.client[block], question.candidates[block], question.number[block], draws[block]
            )
        return picked

    def _pick(
        self,
        asking: NDArray[np.int32],
        candidates: NDArray[np.int32],
        numbers: NDArray[np.int64],
        draws: NDArray[np.float64],
    ) -> NDArray[np.intp]:
        n, k = candidates.shape
        x = self.inputs.features(asking, np.maximum(candidates, 0))
        actions = self._actions(candidates.ravel(), x.reshape(n * k, -1))
        picked = np.empty(n, np.intp)
        for i, (client, number) in enumerate(zip(asking.tolist(), numbers.tolist(), strict=True)):
            columns = np.flatnonzero(candidates[i] >= 0)
            lines = [f"shared |c c{client}", *(actions[i * k + column] for column in columns)]
            chance: NDArray[np.float64] = np.array(self._workspace.predict("\n".join(lines)))
            at = int(np.searchsorted(np.cumsum(chance)[:-1], draws[i] * chance.sum(), side="right"))
            picked[i] = columns[at]
            self._asked[number] = (lines, at + 1, float(chance[at]))
        return picked

    def learn(self, seen: Seen) -> None:
        """Fit to the requests as they were asked, then update the averages."""
        for number, cost in zip(seen.number.tolist(), self._costs(seen), strict=True):
            lines, at, chance = self._asked.pop(number)
            lines[at] = f"0:{cost:.5g}:{chance:.5g} {lines[at]}"
            self._workspace.learn("\n".join(lines))
        self.inputs.levels.learn(seen)

    def _costs(self, seen: Seen) -> list[float]:
        return (np.sqrt(seen.cost, dtype=np.float64) / self._scale).tolist()

    def _actions(self, node: NDArray[np.int32], x: NDArray[np.float64]) -> list[str]:
        """Return each candidate in Vowpal Wabbit's text format; roots are divided by their mean."""
        roots = np.isin(self.inputs.names, ("node", "client", "pair", "last"))
        scaled = np.where(roots, x / self._scale, x)[:, 1:]  # it adds a constant of its own
        form = "|n n{} |f " + " ".join(f"{name}:{{:.5g}}" for name in self.inputs.names[1:])
        return list(starmap(form.format, zip(node.tolist(), *scaled.T.tolist(), strict=True)))
