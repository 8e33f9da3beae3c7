"""What each head is to predict, computed from measured outcomes: training fits it, and watching compares with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.history.outcomes import tracked_values
from scheduler.spec import Head, Spec


def head_targets(spec: Spec, outcomes: NDArray[np.float32], ok: NDArray[np.bool_]) -> dict[str, NDArray[np.float32]]:
    """Return what each head is fitted on.

    Parameters
    ----------
    outcomes
        (n, n_outcomes) in the order of `outcome_names`.
    ok
        (n,) whether the request succeeded.

    Returns
    -------
    dict of (n,) float32 by head, NaN where it was not measured, or failed and the head is of successes.
    """
    return {name: _target(spec, head, outcomes, ok) for name, head in spec.heads.items()}


def head_outcomes(spec: Spec, outcomes: NDArray[np.float32], ok: NDArray[np.bool_]) -> dict[str, NDArray[np.float32]]:
    """Return what each head's calibrated value is compared with; parameters and result as of `head_targets`.

    The link ``log`` predicts the outcome itself; the others predict the target.
    """
    found = {}
    for name, head in spec.heads.items():
        plain = head.target.removeprefix("log1p(").removesuffix(")") if head.link == "log" else head.target
        raw = tracked_values(spec, (plain,), outcomes)[:, 0]
        found[name] = np.where(np.isnan(_target(spec, head, outcomes, ok)), np.float32(np.nan), raw)
    return found


def _target(spec: Spec, head: Head, outcomes: NDArray[np.float32], ok: NDArray[np.bool_]) -> NDArray[np.float32]:
    target = tracked_values(spec, (head.target,), outcomes)[:, 0]
    if head.given_ok:
        target[~ok] = np.nan
    return target
