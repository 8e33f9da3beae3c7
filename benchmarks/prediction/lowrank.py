"""Weighted low-rank completion by alternating least squares, which predicts a known cell as if it were not known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

BIAS_RIDGE = 1.0
"""A service's own level is held back by one observation's worth: it is the first thing few cells tell."""

SATURATION = 0.3
"""A pair's weight w counts w / (1 + 0.3 w): repeats say ever less about anything but the pair itself."""

FIRST_SWEEPS, SWEEPS = 12, 2
"""From random factors, and from those of the slice before; a third sweep changed the error by under 0.3 %."""


class Factors(NamedTuple):
    """Bias (column 0) and vectors of services and clients, changed in place from slice to slice."""

    services: Matrix
    clients: Matrix


def new_factors(shape: tuple[int, int], rank: int, rng: np.random.Generator) -> Factors:
    """Return small random vectors and no biases."""
    both = [rng.normal(0.0, 0.3, (n, rank + 1)) for n in shape]
    for one in both:
        one[:, 0] = 0.0
    return Factors(*both)


def complete(
    factors: Factors, past: tuple[Matrix, Matrix], values: Matrix, known: NDArray[np.bool_], ridge: float, sweeps: int
) -> Matrix:
    """Fit the factors to all that is known and predict every cell.

    Parameters
    ----------
    factors
        Where to start; changed in place.
    past
        (n_services, n_clients) each: summed weights of other slices' cells, and their weighted sums.
    values, known
        This slice's cells, of weight 1; 0 where unknown.

    Returns
    -------
    (n_services, n_clients). For a known cell it is what the least squares of its service give without this
    slice's value of it (Sherman and Morrison, 1950).
    """
    weight, total = past[0] + known, past[1] + values
    middle = total.sum() / weight.sum()
    count, count_past = weight / (1 + SATURATION * weight), past[0] / (1 + SATURATION * past[0])
    rest = np.where(weight > 0, total / np.maximum(weight, 1e-12) - middle, 0.0)
    rest_past = np.where(past[0] > 0, past[1] / np.maximum(past[0], 1e-12) - middle, 0.0)
    ridges = np.full(factors.clients.shape[1], ridge)
    ridges_services = ridges.copy()
    ridges_services[0] = BIAS_RIDGE
    count_t, rest_t = np.ascontiguousarray(count.T), np.ascontiguousarray(rest.T)
    for _ in range(sweeps):
        _solve(count, rest, factors.clients, ridges_services, factors.services)
        _solve(count_t, rest_t, factors.services, ridges, factors.clients)
    out = np.empty_like(weight)
    own = count - count_past, count * rest - count_past * rest_past
    _predict(count, rest, factors.clients, ridges_services, (known, *own), out)
    return out + middle


@njit(cache=True)
def _normal(count, rest, others, ridges, gram, right):
    """Fill lower triangle and right side of one row's normal equations, and factor and solve them (Cholesky)."""
    n = ridges.size
    gram[:] = np.diag(ridges)
    right[:] = 0.0
    for j in range(count.size):
        w = count[j]
        if w > 0.0:
            target = rest[j] - others[j, 0]
            for k in range(n):
                weighted = w * (others[j, k] if k else 1.0)
                right[k] += weighted * target
                gram[k, 0] += weighted
                for m in range(1, k + 1):
                    gram[k, m] += weighted * others[j, m]
    for i in range(n):
        for j in range(i + 1):
            s = gram[i, j]
            for k in range(j):
                s -= gram[i, k] * gram[j, k]
            gram[i, j] = np.sqrt(s) if i == j else s / gram[j, j]
    _forward(gram, right)
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            right[i] -= gram[k, i] * right[k]
        right[i] /= gram[i, i]


@njit(cache=True)
def _forward(lower, right):
    for i in range(right.size):
        for k in range(i):
            right[i] -= lower[i, k] * right[k]
        right[i] /= lower[i, i]


@njit(cache=True)
def _solve(count, rest, others, ridges, out):
    """Least squares of every row given the other side's factors."""
    gram = np.empty((ridges.size, ridges.size))
    for i in range(count.shape[0]):
        _normal(count[i], rest[i], others, ridges, gram, out[i])


@njit(cache=True)
def _predict(count, rest, others, ridges, own, out):
    """Predict all cells, known ones without their own share of weight and weighted value."""
    known, weight, value = own
    gram = np.empty((ridges.size, ridges.size))
    solved = np.empty(ridges.size)
    x = np.empty(ridges.size)
    for i in range(count.shape[0]):
        _normal(count[i], rest[i], others, ridges, gram, solved)
        for j in range(count.shape[1]):
            x[:] = others[j]
            x[0] = 1.0
            p = np.dot(x, solved)
            if known[i, j]:
                _forward(gram, x)
                leverage = np.dot(x, x)
                p -= leverage * (value[i, j] - weight[i, j] * others[j, 0])
                p /= 1.0 - weight[i, j] * leverage
            out[i, j] = p + others[j, 0]
