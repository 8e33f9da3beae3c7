"""The exponential function in plain arithmetic, so that a loop over candidates becomes vector instructions."""

from __future__ import annotations

import math

import numpy as np

from scheduler.runtime.jit import inlined

LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""The logarithm of 2 in two parts, the first of so few bits that whole numbers up to 1,076 times it are exact
(fdlibm, Sun Microsystems, 1993)."""

LEAST, MOST = -746.0, 710.0
"""Below and above, the result is 0 and infinity."""

E2, E3, E4, E5, E6, E7, E8, E9, E10, E11, E12, E13 = (1.0 / math.factorial(k) for k in range(2, 14))
"""Taylor series: on half a logarithm of 2 either side of 0 its error is below that of rounding."""


@inlined
def power_of_two(n: int) -> float:
    """Return 2 ** n for n from -1022 to 1023, by its bits."""
    return np.int64((n + 1023) << 52).view(np.float64)


@inlined
def exp(x: float) -> float:
    """Return e ** x within a unit or two of the last place; NaN for NaN."""
    y = max(LEAST, x)  # NaN too, of which there is no whole number
    y = min(MOST, y)
    n = np.floor(y * (1.0 / math.log(2.0)) + 0.5)
    r = (y - n * LN2_HIGH) - n * LN2_LOW
    s = E7 + r * (E8 + r * (E9 + r * (E10 + r * (E11 + r * (E12 + r * E13)))))
    s = 1.0 + r * (1.0 + r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * (E6 + r * s))))))
    # In two steps, because 2 ** 1024 and 2 ** -1075 are no numbers of their own.
    half = np.int64(n) >> 1
    s = s * power_of_two(half) * power_of_two(np.int64(n) - half)
    return s if x == x else x  # noqa: PLR0124
