"""The utility of a model's predictions alone, under the default weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.flips import predicted
from scheduler.model.model import Model
from scheduler.policy.compile import compile_policy


def default_utility(model: Model, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return utilities (n,) of head values (n, n_heads) without load and price, under the weights of no profile."""
    policy = compile_policy(model)
    return predicted(policy.weights[-1], policy, values)
