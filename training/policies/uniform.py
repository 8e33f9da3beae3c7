"""The baseline that knows nothing: a candidate at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.policies.protocol import Question, Seen, Setting
from training.telemetry import Telemetry


class Random:
    """Picks every candidate with the same chance."""

    def __init__(self, setting: Setting) -> None:
        self._rng = np.random.default_rng(setting.seed)

    def warm(self, telemetry: Telemetry) -> None:
        """Learn nothing."""

    def pick(self, question: Question) -> NDArray[np.intp]:
        """Return random columns."""
        keys = self._rng.random(question.candidates.shape)
        return np.where(question.candidates >= 0, keys, -1.0).argmax(axis=1)

    def learn(self, seen: Seen) -> None:
        """Learn nothing."""
