"""From raw scores to expected values, and how good those are on rows after the fitted ones.

A head's value is ``link(intercept + slope * raw)``. For failures this is Platt's scaling. For the link ``log`` it is
a Poisson regression with a log link on the outcome in its own unit: its score equations make the mean of the
predictions the mean of the outcomes (Gourieroux, Monfort, Trognon, Econometrica 1984), which least squares on
logarithms loses. A line in link space keeps the order of candidates, where isotonic steps would tie them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor

from scheduler.model.manifest import Calibration

Link: TypeAlias = Literal["logistic", "log", "identity"]

NOTHING = 1e-12
"""Value of a head with the link `log` whose outcomes are all 0, which has no logarithm."""


def calibrate(
    link: Link, raw: NDArray[np.float64], outcome: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> Calibration:
    """Fit a head's calibration on validation rows.

    A slope that comes out negative or not finite (rows too few or a head that knows nothing) gives the constant
    calibration: the mean outcome for every row.

    Parameters
    ----------
    raw, outcome
        (n,) raw scores, and outcomes in the unit of the head's value.
    weight
        (n,) weights of the rows, None if all count alike.
    """
    x = raw[:, None]
    mean = float(np.average(outcome, weights=weight))
    if link == "logistic":
        if mean in (0.0, 1.0):
            # Nothing to fit a line to: trust the scores, which were fitted on rows of both kinds.
            return Calibration(link=link)
        line = LogisticRegression(C=np.inf, max_iter=1000).fit(x, outcome > 0, weight)
        fitted = float(line.intercept_[0]), float(line.coef_[0, 0])
        constant = float(np.log(mean / (1.0 - mean)))
    elif link == "log":
        if mean <= 0.0:
            return Calibration(link=link, intercept=float(np.log(NOTHING)), slope=0.0)
        # In units of the mean, so that the solver's tolerance means the same everywhere.
        line = PoissonRegressor(alpha=0.0, max_iter=1000).fit(x, outcome / mean, weight)
        fitted = float(line.intercept_) + float(np.log(mean)), float(line.coef_[0])
        constant = float(np.log(mean))
    else:
        line = LinearRegression().fit(x, outcome, weight)
        fitted = float(line.intercept_), float(line.coef_[0])
        constant = mean
    if not np.isfinite(fitted).all() or fitted[1] <= 0.0:
        return Calibration(link=link, intercept=constant, slope=0.0)
    return Calibration(link=link, intercept=fitted[0], slope=fitted[1])


def calibrate_quantile(
    link: Link,
    quantile: float,
    raw: NDArray[np.float64],
    outcome: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> Calibration:
    """Move a head so that a share ``quantile`` of new outcomes does not exceed its value.

    Split conformal prediction: the step is the ceil((n + 1) quantile)-th smallest of n distances between outcome and
    score, taken in the space of the link. With calibration rows exchangeable with new ones the share is at least
    ``quantile``, and at most 1 / (n + 1) above it where no two distances are equal (Romano, Patterson, Candès:
    Conformalized quantile regression, NeurIPS 2019). With weights a new row weighs as much as these do on average
    (Tibshirani, Barber, Candès, Ramdas: Conformal prediction under covariate shift, NeurIPS 2019).

    Parameters
    ----------
    raw, outcome, weight
        As for `calibrate`.
    """
    level = np.log(np.maximum(outcome, NOTHING)) if link == "log" else outcome
    steps = level - raw
    order = np.argsort(steps, kind="stable")
    counted = np.cumsum(np.ones(steps.size) if weight is None else weight[order] / weight.mean())
    # Rounded, so that equal weights of any size take the same place as none.
    place = min(int(np.searchsorted(counted.round(6), round((steps.size + 1) * quantile, 6))), steps.size - 1)
    return Calibration(link=link, intercept=float(steps[order[place]]), slope=1.0)
