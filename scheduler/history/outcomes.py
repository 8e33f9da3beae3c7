"""Read outcomes: their order, the derived ones, and the values that history tracks."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import as_numbers, id_key
from scheduler.columns.schema import number_bounds
from scheduler.errors import InputError
from scheduler.history.arrays import OutcomeArrays, Tracked
from scheduler.history.kernels.outcome_values import track
from scheduler.spec import COST, FAILED, Spec, Value

OK = "ok"
"""Name under which `Scheduler.observe` takes whether the request succeeded."""


def outcome_names(spec: Spec) -> tuple[str, ...]:
    """Return the measured outcomes of a spec in order, then the derived ``failed`` and ``cost``."""
    return (*spec.outcomes, FAILED, COST)


def tracked(spec: Spec, values: tuple[str, ...]) -> Tracked:
    """Return the outcome that each value is computed from, by its place in `outcome_names`."""
    names = outcome_names(spec)
    parsed = [Value.parse(value) for value in values]
    columns = np.array([-1 if value.residual else names.index(value.outcome) for value in parsed], np.int32)
    return Tracked(columns, np.array([value.log1p for value in parsed], np.bool_))


def tracked_values(spec: Spec, values: tuple[str, ...], outcomes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values of outcome rows; ``values`` are written as in a spec, such as ``log1p(cost)``; see `values_at`."""
    return values_at(tracked(spec, values), outcomes)


def values_at(places: Tracked, outcomes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values of outcome rows.

    Parameters
    ----------
    places
        From `tracked`.
    outcomes
        (n, n_outcomes) in the order of `outcome_names`.

    Returns
    -------
    (n, n_values) float32; NaN if not measured, and for residuals, which only history can compute.
    """
    out = np.empty((len(outcomes), len(places.columns)), np.float32)
    track(*places, np.ascontiguousarray(outcomes, np.float32), out)
    return out


def outcome_rows(spec: Spec, n: int, measured: Mapping[str, object]) -> NDArray[np.float32]:
    """Check measured outcomes and return them as rows, with the derived outcomes.

    Parameters
    ----------
    n
        How many outcomes.
    measured
        ``ok`` and outcomes of the spec, each a scalar or (n,). An outcome that is left out was not measured. If the
        spec has no ``telemetry.ok``, ``ok`` may be left out; it is true then, as in telemetry.

    Returns
    -------
    (n, n_outcomes) float32 in the order of `outcome_names`.

    Raises
    ------
    InputError
        If a name is unknown, a value is not a number or out of the spec's range, ``ok`` is missing, or a successful
        request lacks the outcome that is its cost.
    """
    names = outcome_names(spec)
    rows = np.full((n, len(names)), np.nan, np.float32)
    for name, values in measured.items():
        if name != OK:
            at = _position(spec, name)
            rows[:, at] = _column(spec, name, values, n)
    failed = ~_succeeded(spec, measured, n)
    cost = rows[:, names.index(spec.cost.success)].copy()
    if np.isnan(cost[~failed]).any():
        message = f"outcome: expected {spec.cost.success!r} where ok is true, found none"
        raise InputError(message)
    cost[failed] = spec.cost.failure
    if spec.cost.failure_column is not None:
        took = rows[:, names.index(spec.cost.failure_column)]
        cost[failed] = np.fmax(cost[failed], took[failed])
    rows[:, names.index(FAILED)] = failed
    rows[:, names.index(COST)] = cost
    return rows


def _position(spec: Spec, name: str) -> int:
    if name not in spec.outcomes:
        message = f"outcome: expected ok or one of {', '.join(spec.outcomes)}, found {name!r}"
        raise InputError(message)
    return outcome_names(spec).index(name)


def _succeeded(spec: Spec, measured: Mapping[str, object], n: int) -> NDArray[np.bool_]:
    if OK not in measured and spec.telemetry.ok is None:
        return np.ones(n, np.bool_)
    if OK not in measured:
        message = f"outcome: expected ok, found only {', '.join(measured) or 'nothing'}"
        raise InputError(message)
    try:
        ok = np.asarray(measured[OK])
    except ValueError:  # a ragged list
        ok = np.array(None)
    if not (ok.dtype == np.bool_ or ok.size == 0) or ok.shape not in ((), (n,)):
        message = f"outcome ok: expected true or false ({n} of them), found {reprlib.repr(measured[OK])}"
        raise InputError(message)
    out = np.empty(n, np.bool_)
    out[:] = ok
    return out


def _column(spec: Spec, name: str, values: object, n: int) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
        column = as_numbers(values, f"outcome {name!r}").astype(np.float32)
    if column.shape not in ((), (n,)):
        message = f"outcome {name!r}: expected {n} numbers, found shape {column.shape}"
        raise InputError(message)
    outcome = spec.outcomes[name]
    low = -np.inf if outcome.min is None else outcome.min
    high = np.inf if outcome.max is None else outcome.max
    bad = np.isinf(column) | (column < low) | (column > high)
    if bad.any():
        found = column[bad].flat[0]
        message = f"outcome {name!r}: expected a finite number from {low:g} to {high:g}, found {found}"
        raise InputError(message)
    return column


class OutcomeBuffer:
    """Memory for one outcome.

    Attributes
    ----------
    arrays
        What the kernel reads.
    """

    def __init__(self, spec: Spec) -> None:
        names = outcome_names(spec)
        self._columns = {
            name: (names.index(name), *number_bounds(outcome, np.float32)) for name, outcome in spec.outcomes.items()
        }
        self._assumed = True if spec.telemetry.ok is None else None
        self._success, self._failure = names.index(spec.cost.success), float(np.float32(spec.cost.failure))
        took = spec.cost.failure_column
        self._took = None if took is None else names.index(took)
        self._failed, self._cost = names.index(FAILED), names.index(COST)
        self.arrays = OutcomeArrays(
            outcomes=np.empty((1, len(names)), np.float32),
            values=np.empty((1, len(spec.history.values)), np.float32),
            node=np.empty(1, np.uint64),
            row=np.empty(1, np.int64),
            place=np.empty(1, np.int64),
            time=np.empty(1),
        )
        self._outcomes: Any = self.arrays.outcomes.ravel().data
        self._node: Any = self.arrays.node.data
        self._nothing = np.full(len(names), np.nan, np.float32).data

    def write(self, measured: object, node: object) -> bool:
        """Write a dict of true or false and Python numbers, and which node it is of; whether it is as plain as that.

        ``node`` is an id, or None for the only one of a slate. After false anything may have been written.
        """
        if type(measured) is not dict or not (node is None or type(node) is int or type(node) is str):
            return False
        ok = measured.get(OK, self._assumed)
        if ok is not True and ok is not False:
            return False
        outcomes = self._outcomes
        outcomes[:] = self._nothing
        for name, value in measured.items():
            if column := self._columns.get(name):
                at, low, high = column
                if (type(value) is not float and type(value) is not int) or not low <= value <= high:
                    return False
                outcomes[at] = value
            elif name != OK:
                return False
        cost = outcomes[self._success] if ok else self._cost_of_failure()
        outcomes[self._failed], outcomes[self._cost] = not ok, cost
        self._node[0] = MISSING_KEY if node is None else id_key(node)
        return not math.isnan(cost)

    def _cost_of_failure(self) -> float:
        took = math.nan if self._took is None else self._outcomes[self._took]
        return max(self._failure, took)  # the first where the second is NaN
