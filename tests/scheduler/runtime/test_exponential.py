"""The exponential function of kernels against numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.runtime.exponential import exp
from scheduler.runtime.jit import kernel


@kernel
def exp_all(x: np.ndarray, out: np.ndarray) -> None:
    for i in range(x.size):
        out[i] = exp(x[i])


@pytest.mark.parametrize(("low", "high"), [(-1e-9, 1e-9), (-0.4, 0.4), (-30.0, 30.0), (-708.0, 709.7)])
def test_agrees_with_numpy_to_two_units_of_the_last_place(low: float, high: float) -> None:
    x = np.random.default_rng(0).uniform(low, high, 2_001)
    out = np.empty_like(x)
    exp_all(x, out)
    np.testing.assert_array_max_ulp(out, np.exp(x), 2)


def test_goes_to_zero_and_infinity_and_keeps_nan() -> None:
    x = np.array([-np.inf, -1e300, -746.0, -745.0, -0.0, 0.0, 709.7, 709.8, 1e300, np.inf, np.nan])
    out = np.empty_like(x)
    exp_all(x, out)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(out, np.exp(x), rtol=1e-15)


def test_one_number_comes_out_as_it_does_in_a_loop() -> None:
    x = np.random.default_rng(1).normal(0.0, 5.0, 257)
    out, alone = np.empty_like(x), np.empty(1)
    exp_all(x, out)
    for i in range(x.size):
        exp_all(x[i : i + 1], alone)
        assert alone[0] == out[i]
