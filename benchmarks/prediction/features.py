"""What is said about every pair of a slice: completions, the pair's own other slices, its service and its client.

No input of a training cell contains that cell's own value, so that a model fitted on training cells meets the same
kind of input at test cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.prediction.lowrank import FIRST_SWEEPS, SWEEPS, Factors, Matrix, complete, new_factors
from benchmarks.prediction.protocol import LONGEST_S, Cells

LEAST_S = 0.001

FADED = 0.02
"""Cells of slices that weigh less are left out: what they add is less than the noise, and they cost time."""


class Completion(NamedTuple):
    """A low-rank model: space, rank, fading of a cell's weight from slice to slice, ridge."""

    space: str
    rank: int
    decay: float
    ridge: float


COMPLETIONS = {
    "log": Completion("log", 12, 0.8, 10.0),
    "log_slow": Completion("log", 16, 0.97, 10.0),
    "log_fast": Completion("log", 8, 0.4, 8.0),
    "root": Completion("root", 12, 0.7, 10.0),
    "root_fast": Completion("root", 8, 0.4, 8.0),
    "plain": Completion("plain", 16, 0.8, 35.0),
    "plain_slow": Completion("plain", 16, 0.9, 50.0),
    "plain_slower": Completion("plain", 16, 0.97, 60.0),
    "root_slow": Completion("root", 16, 0.9, 15.0),
    "plain_middle": Completion("plain", 10, 0.6, 40.0),
    "plain_fast": Completion("plain", 8, 0.4, 20.0),
}
"""Chosen on another seed's draws. The logarithm tells medians, plain seconds tell means; the three slow ones of means
and roots lower the square's error at density 0.05 by 0.4 %."""

PAIR_DECAYS = (0.5, 0.8, 0.97)

SLOW_S = 3.0


def to_space(space: str, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transform seconds: `log`, `root` or `plain`."""
    if space == "log":
        return np.log(np.maximum(seconds, LEAST_S))
    return np.sqrt(seconds) if space == "root" else seconds


class Describer:
    """Inputs of slices, in order, since factors go on from the slice before.

    Parameters
    ----------
    known
        Training cells of each slice; nothing else is ever seen.
    shape
        (n_services, n_clients).
    online
        Whether a slice sees earlier slices only, or all others.
    """

    def __init__(self, known: list[Cells], shape: tuple[int, int], rng: np.random.Generator, *, online: bool) -> None:
        self._known, self._shape, self._online = known, shape, online
        self._values = {s: [to_space(s, one.seconds) for one in known] for s in ("log", "root", "plain")}
        self._factors: dict[str, Factors] = {k: new_factors(shape, c.rank, rng) for k, c in COMPLETIONS.items()}
        self._sweeps = FIRST_SWEEPS

    def describe(self, t: int) -> dict[str, Matrix]:
        """Return every input of slice `t` as a matrix (n_services, n_clients); NaN where nothing is known."""
        known = self._spread(t, np.ones(self._known[t].at.size)) > 0
        now = {space: self._spread(t, values[t]) for space, values in self._values.items()}
        past = {(c.space, c.decay): self._past(t, c.space, c.decay) for c in COMPLETIONS.values()}
        past |= {("log", d): self._past(t, "log", d) for d in PAIR_DECAYS if ("log", d) not in past}
        out = {
            name: complete(self._factors[name], past[c.space, c.decay], now[c.space], known, c.ridge, self._sweeps)
            for name, c in COMPLETIONS.items()
        }
        self._sweeps = SWEEPS
        for name in (n for n, c in COMPLETIONS.items() if c.space == "root"):
            out[name] = np.clip(out[name], 0.0, np.sqrt(LONGEST_S)) ** 2
        out |= _pair(out, past, self._past(t, "plain", 0.97))
        miss_log = np.where(known, now["log"] - out["own_slow"], 0.0)
        miss = np.where(known, now["plain"] - out["plain"], 0.0)
        for axis, of in ((1, "service"), (0, "client")):
            out |= {f"{of}_{k}": v for k, v in _margin(axis, known, now, miss_log, miss).items()}
            weight, total = (x.sum(axis, keepdims=True) for x in past["log", 0.97])
            out[f"{of}_history"] = np.broadcast_to((total + 1) / (weight + 1), self._shape)
        return out

    def _spread(self, t: int, values: NDArray[np.float64]) -> Matrix:
        out = np.zeros(self._shape)
        out.flat[self._known[t].at] = values
        return out

    def _past(self, t: int, space: str, decay: float) -> tuple[Matrix, Matrix]:
        """Return the other slices' summed weights and weighted sums; a weight fades by `decay` a slice."""
        weight, total = np.zeros(self._shape), np.zeros(self._shape)
        for u, cells in enumerate(self._known[:t] if self._online else self._known):
            w = decay ** abs(t - u)
            if u != t and w > FADED:
                weight.reshape(-1)[cells.at] += w
                total.reshape(-1)[cells.at] += w * self._values[space][u]
        return weight, total


def _pair(
    completed: dict[str, Matrix], past: dict[tuple[str, float], tuple[Matrix, Matrix]], plain: tuple[Matrix, Matrix]
) -> dict[str, Matrix]:
    """Return the pair's own means in other slices, alone and drawn towards the completion."""
    out = {}
    with np.errstate(invalid="ignore"):
        for decay in PAIR_DECAYS:
            weight, total = past["log", decay]
            out[f"pair_{decay}"] = total / weight
            out[f"weight_{decay}"] = weight
        out["pair_plain"] = plain[1] / plain[0]
    for name, completion, decay in (("own_slow", "log_slow", 0.97), ("own", "log", 0.8)):
        weight, total = past["log", decay]
        out[name] = completed["log"] + (total - weight * completed[completion]) / (weight + 1.0)
    return out


def _margin(
    axis: int, known: NDArray[np.bool_], now: dict[str, Matrix], miss_log: Matrix, miss: Matrix
) -> dict[str, Matrix]:
    """Return what the other training cells of the same service (axis 1) or client (axis 0) say in this slice."""
    n, n_all = known.sum(axis, keepdims=True) - known, known.sum()

    def mean(values: Matrix, prior_weight: float, prior: float) -> Matrix:
        return (values.sum(axis, keepdims=True) - values + prior_weight * prior) / (n + prior_weight)

    slow = (now["plain"] > SLOW_S).astype(np.float64)
    return {
        "miss_log": mean(miss_log, 3.0, 0.0),
        "miss": mean(miss, 3.0, 0.0),
        "noise": mean(miss_log**2, 3.0, (miss_log**2).sum() / n_all),
        "mean": mean(now["plain"], 1.0, now["plain"].sum() / n_all),
        "log": mean(now["log"], 1.0, now["log"].sum() / n_all),
        "slow": mean(slow, 1.0, slow.sum() / n_all),
    }
