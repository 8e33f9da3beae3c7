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
    (n_services, n_clients). For a known cell it is what the least squares of its service and of its client give
    without this slice's value of it.
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
    inverses = _inverses(count_t, rest_t, factors.services, ridges)
    _predict((count, rest), factors, inverses, ridges_services, (known, *own), out)
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
def _inverses(count, rest, others, ridges):
    """Return the inverse of each row's normal equations: (n_rows, n, n)."""
    n = ridges.size
    out = np.empty((count.shape[0], n, n))
    gram, right = np.empty((n, n)), np.empty(n)
    for i in range(count.shape[0]):
        _normal(count[i], rest[i], others, ridges, gram, right)
        _invert(gram, out[i])
    return out


@njit(cache=True)
def _invert(lower, out):
    """Invert a matrix given by its Cholesky factor."""
    n = lower.shape[0]
    for k in range(n):
        column = out[k]
        column[:] = 0.0
        column[k] = 1.0
        _forward(lower, column)
        for i in range(n - 1, -1, -1):
            for m in range(i + 1, n):
                column[i] -= lower[m, i] * column[m]
            column[i] /= lower[i, i]


@njit(cache=True)
def _without(solved, inverse, x, weight, value, out):
    """Solve least squares without one row x of this weight and weighted value (Sherman and Morrison, 1950)."""
    n = x.size
    leverage = fitted = 0.0
    for k in range(n):
        u = 0.0
        for m in range(n):
            u += inverse[k, m] * x[m]
        out[k] = u
        leverage += x[k] * u
        fitted += x[k] * solved[k]
    step = (weight * fitted - value) / (1.0 - weight * leverage)
    for k in range(n):
        out[k] = solved[k] + step * out[k]


@njit(cache=True)
def _predict(rows, factors, inverses, ridges, own, out):
    """Predict all cells; known ones without their own share of weight and weighted value on either side."""
    count, rest = rows
    known, weight, value = own
    services, clients = factors
    n = ridges.size
    gram, inverse = np.empty((n, n)), np.empty((n, n))
    solved, of_service, of_client, x = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for i in range(count.shape[0]):
        _normal(count[i], rest[i], clients, ridges, gram, solved)
        _invert(gram, inverse)
        for j in range(count.shape[1]):
            of_service[:], of_client[:] = solved, clients[j]
            if known[i, j]:
                w, v = weight[i, j], value[i, j]
                x[:] = services[i]
                x[0] = 1.0
                _without(clients[j], inverses[j], x, w, v - w * services[i, 0], of_client)
                x[:] = clients[j]
                x[0] = 1.0
                _without(solved, inverse, x, w, v - w * clients[j, 0], of_service)
            p = of_service[0] + of_client[0]
            for k in range(1, n):
                p += of_service[k] * of_client[k]
            out[i, j] = p
