"""How much better some settings did than others on the same folds, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from scipy import stats


class Gain(NamedTuple):
    """A difference over folds: its mean, the standard deviation of one fold, the standard error of the mean, the folds.

    Deviation and error are NaN of a single fold.
    """

    mean: float
    deviation: float
    error: float
    n_folds: int

    @classmethod
    def of(cls, before: Sequence[float], after: Sequence[float]) -> Gain:
        """Return the difference of figures of the same folds."""
        differences = [b - a for a, b in zip(before, after, strict=True)]
        if len(differences) == 1:
            return cls(differences[0], math.nan, math.nan, 1)
        deviation = stdev(differences)
        n = len(differences)
        return cls(fmean(differences), deviation, deviation / math.sqrt(n), n)

    @property
    def told(self) -> bool:
        """Whether chance makes so much of one trial in less than 5 % (Student's t); a single fold tells nothing."""
        if self.n_folds == 1:
            return False
        return abs(self.mean) > float(stats.t.ppf(0.975, self.n_folds - 1)) * self.error
