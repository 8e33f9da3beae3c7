"""What `fogline tune` varies: ranges of parameters and settings, and a spec with values put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from scheduler.errors import InputError
from scheduler.spec import Spec
from scheduler.spec.types import Training

if TYPE_CHECKING:
    from optuna import Trial

Values: TypeAlias = dict[str, int | float]
"""A point of the search: a value by name."""


class Range(NamedTuple):
    """Numbers from ``low`` to ``high``; whole ones where both are, drawn on a log scale where ``log``.

    ``default`` applies if a spec has no value: LightGBM's own default.
    """

    low: int | float
    high: int | float
    default: int | float
    log: bool = False

    def suggest(self, trial: Trial, name: str) -> int | float:
        """Let a trial draw a value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def including(self, value: float) -> Range:
        """Return the range widened to hold a value."""
        return self._replace(low=min(self.low, value), high=max(self.high, value))


class Steps(NamedTuple):
    """A few values: each costs a replay of its own, so they are few."""

    values: tuple[float, ...]
    default: float

    def suggest(self, trial: Trial, name: str) -> float:
        """Let a trial draw a value."""
        return float(trial.suggest_categorical(name, self.values))

    def including(self, value: float) -> Steps:
        """Return the steps with a value among them."""
        return self if value in self.values else self._replace(values=tuple(sorted((*self.values, value))))


Space: TypeAlias = "dict[str, Range | Steps]"

LIGHTGBM: Space = {
    "num_leaves": Range(8, 64, 31, log=True),  # a leaf is a bit of a 64-bit mask
    "learning_rate": Range(0.02, 0.3, 0.1, log=True),
    "min_data_in_leaf": Range(10, 2_000, 100, log=True),
    "feature_fraction": Range(0.3, 1.0, 1.0),
    "lambda_l2": Range(1e-3, 100.0, 1e-3, log=True),  # a logarithm has no 0; of 0.001 nothing is felt
    "path_smooth": Range(1e-3, 100.0, 1e-3, log=True),
    "cat_smooth": Range(1.0, 100.0, 10.0, log=True),
}
TRAINING: Space = {
    "rounds": Range(50, 400, 300, log=True),  # each round is a tree, which every decision pays for
    "reveal": Steps((0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0), 1.0),
}


FELT_AS_NOTHING = ("lambda_l2", "path_smooth")
"""Parameters of which the least value of the range does what 0 does."""


def search_space(spec: Spec, only: Sequence[str] = ()) -> Space:
    """Return what to vary: all of it or the named part, each range holding the spec's own value.

    Parameters that are 0 in the spec stay as they are, as their ranges have no 0.

    Raises
    ------
    InputError
        If a name is not in the search space, or of a parameter that stays as it is.
    """
    known = {**LIGHTGBM, **TRAINING}
    if unknown := [name for name in only if name not in known]:
        raise InputError(f"only: expected some of {', '.join(known)}, found {', '.join(unknown)}")
    fixed = [name for name in known if name not in FELT_AS_NOTHING and _own(spec, name) == 0]
    if held := [name for name in only if name in fixed]:
        raise InputError(f"only: expected parameters that are above 0 in the spec, found {', '.join(held)} of 0")
    chosen = {name: known[name] for name in known if name not in fixed and (not only or name in only)}
    values = own_values(spec, chosen)
    return {name: scale.including(values[name]) for name, scale in chosen.items()}


def own_values(spec: Spec, space: Space) -> Values:
    """Return the spec's own values, or defaults if it has none: the first point that is tried."""
    found: Values = {}
    for name, scale in space.items():
        value = _own(spec, name)
        found[name] = scale.default if isinstance(value, str) or value == 0 else value
    return found


def _own(spec: Spec, name: str) -> int | float | str:
    training = spec.training
    return getattr(training, name) if name in TRAINING else training.lightgbm.get(name, LIGHTGBM[name].default)


def with_values(spec: Spec, values: Mapping[str, int | float]) -> Spec:
    """Return a spec with values in its ``[training]``; LightGBM parameters that a head sets itself stay."""
    settings = {name: value for name, value in values.items() if name in TRAINING}
    lightgbm = {name: value for name, value in values.items() if name in LIGHTGBM}
    training: Training = msgspec.structs.replace(
        spec.training, **settings, lightgbm={**spec.training.lightgbm, **lightgbm}
    )
    return msgspec.structs.replace(spec, training=training)
