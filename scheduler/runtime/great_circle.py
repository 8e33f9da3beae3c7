"""Great-circle distance in plain arithmetic, so that a loop over candidates becomes vector instructions.

The same operations in the same order give the same bits alone and in a loop, which calls into a mathematical library
would not: serving computes distances for hundreds of candidates at once, replay one at a time.
"""

from __future__ import annotations

import math

import numpy as np

from scheduler.runtime.jit import inlined

EARTH_RADIUS_KM = 6371.0088
"""Mean radius of the Earth (IUGG)."""

RADIANS = math.pi / 180.0

_SINE = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(11))
"""Taylor series of the sine: on half a turn either side of 0 its error is below that of rounding."""
S0, S1, S2, S3, S4, S5, S6, S7, S8, S9, S10 = _SINE

# Rational approximation of (asin(x) - x) / x**3 up to 1/2, from fdlibm (Sun Microsystems, 1993).
P0, P1, P2 = 1.66666666666666657415e-01, -3.25565818622400915405e-01, 2.01212532134862925881e-01
P3, P4, P5 = -4.00555345006794114027e-02, 7.91534994289814532176e-04, 3.47933107596021167570e-05
Q1, Q2 = -2.40339491173441421878e00, 2.02094576023350569471e00
Q3, Q4 = -6.88283971605453293030e-01, 7.70381505559019352791e-02


@inlined
def sine_squared(x: float) -> float:
    """Return sin(x) ** 2, which repeats every half turn."""
    x -= math.pi * np.floor(x / math.pi + 0.5)  # `math.floor` gives an integer, which NaN has none of
    y = x * x
    s = S6 + y * (S7 + y * (S8 + y * (S9 + y * S10)))
    s = x * (S0 + y * (S1 + y * (S2 + y * (S3 + y * (S4 + y * (S5 + y * s))))))
    return s * s


@inlined
def arcsine_of_root(h: float) -> float:
    """Return asin(sqrt(h)) for h in [0, 1]; NaN for NaN."""
    large = h > 0.25
    t = (1.0 - math.sqrt(h)) * 0.5 if large else h
    ratio = t * (P0 + t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * P5)))))
    ratio /= 1.0 + t * (Q1 + t * (Q2 + t * (Q3 + t * Q4)))
    root = math.sqrt(t)
    small = root + root * ratio
    return math.pi / 2 - 2.0 * small if large else small


@inlined
def distance_km(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Return the great-circle distance of two places in degrees (haversine formula)."""
    north = sine_squared((lat_b - lat_a) * (RADIANS / 2))
    east = sine_squared((lon_b - lon_a) * (RADIANS / 2))
    cosines = (1.0 - 2.0 * sine_squared(lat_a * (RADIANS / 2))) * (1.0 - 2.0 * sine_squared(lat_b * (RADIANS / 2)))
    h = north + cosines * east
    if h > 1.0:  # by rounding; written so that NaN stays NaN
        h = 1.0
    elif h < 0.0:
        h = 0.0
    return 2.0 * EARTH_RADIUS_KM * arcsine_of_root(h)
