"""Published methods, to check the protocol by: service mean, and adaptive matrix factorisation."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.prediction.protocol import LONGEST_S, Cells

RANK, ETA, LAMBDA, BETA, PASSES = 10, 0.8, 0.0003, 0.3, 30
"""As its authors set them; they go on for up to 50 passes until the relative loss is small."""

BOX_COX = -0.007
"""The authors' power for response times, all but the logarithm; so nothing of the test cells enters."""

LEAST_S = 0.001


def service_mean(
    known: list[Cells], asked: list[NDArray[np.int64]], shape: tuple[int, int]
) -> list[NDArray[np.float64]]:
    """Predict the mean of a service's training cells of all slices."""
    service = np.concatenate([cells.at for cells in known]) // shape[1]
    total = np.bincount(service, np.concatenate([cells.seconds for cells in known]), shape[0])
    mean = total / np.maximum(np.bincount(service, minlength=shape[0]), 1)
    return [mean[at // shape[1]] for at in asked]


def amf(
    known: list[Cells], asked: list[NDArray[np.int64]], shape: tuple[int, int], seed: int
) -> list[NDArray[np.float64]]:
    """Adaptive matrix factorisation (Zhu et al., ICDCS 2014; TPDS 2017), carried from slice to slice."""
    rng = np.random.default_rng(seed)
    services, clients = (np.c_[np.zeros(n), rng.random((n, RANK))] for n in shape)
    low, high = (_box_cox(np.array(x)) for x in (LEAST_S, LONGEST_S))
    out = []
    for cells, at in zip(known, asked, strict=True):
        target = (_box_cox(np.maximum(cells.seconds, LEAST_S)) - low) / (high - low)
        errors = np.ones(shape[0]), np.ones(shape[1])
        for _ in range(PASSES):
            order = rng.permutation(target.size)
            _learn(cells.at[order] // shape[1], cells.at[order] % shape[1], target[order], services, clients, errors)
        i, j = np.divmod(at, shape[1])
        score = services[i, 0] + clients[j, 0] + np.einsum("nk,nk->n", services[i, 1:], clients[j, 1:])
        level = low + (high - low) / (1 + np.exp(-score))
        out.append((BOX_COX * level + 1) ** (1 / BOX_COX))
    return out


def _box_cox(x):
    return (x**BOX_COX - 1) / BOX_COX


@njit(cache=True)
def _learn(service, client, target, services, clients, errors):
    """One pass of stochastic gradient descent on the relative error, each side's step by its share of the error."""
    of_service, of_client = errors
    for n in range(target.size):
        s, c = services[service[n]], clients[client[n]]
        score = s[0] + c[0]
        for k in range(1, s.size):
            score += s[k] * c[k]
        g = 1 / (1 + np.exp(-score))
        miss = abs(g - target[n]) / max(target[n], 1e-3)
        share = of_service[service[n]] / (of_service[service[n]] + of_client[client[n]])
        of_service[service[n]] += BETA * share * (miss - of_service[service[n]])
        of_client[client[n]] += BETA * (1 - share) * (miss - of_client[client[n]])
        slope = (g - target[n]) * g * (1 - g)
        for k in range(s.size):
            x, y = (c[k], s[k]) if k else (1.0, 1.0)
            ds, dc = share * slope * x + LAMBDA * s[k], (1 - share) * slope * y + LAMBDA * c[k]
            s[k] -= ETA * ds
            c[k] -= ETA * dc
