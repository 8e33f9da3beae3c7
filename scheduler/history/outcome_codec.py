"""Outcomes as callers report them, checked and turned into what kernels read: one at a time or many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.values import NumberRule, as_mapping, described, is_single, items_of, names_of
from scheduler.errors import InputError, shown
from scheduler.history.arrays import OutcomeArrays
from scheduler.history.outcomes import outcome_names
from scheduler.runtime.packed_arrays import PackedArrays
from scheduler.spec import COST, FAILED, Spec

OK = "ok"
"""Name under which `Scheduler.observe` takes whether the request succeeded."""

_TRUTHS = {bool, np.bool_}


class OutcomeBuffer:
    """Memory for one outcome.

    Attributes
    ----------
    arrays, packed
        What the kernel reads.
    outcomes, node
        The same memory as Python writes it: items of a memoryview are set several times faster than an array's.
    """

    def __init__(self, spec: Spec) -> None:
        n = len(outcome_names(spec))
        self.arrays = OutcomeArrays(
            outcomes=np.empty((1, n), np.float32),
            values=np.empty((1, len(spec.history.values)), np.float32),
            node=np.empty(1, np.uint64),
            row=np.empty(1, np.int64),
            place=np.empty(1, np.int64),
            time=np.empty(1),
        )
        self.packed = PackedArrays(self.arrays)
        self.outcomes: Any = self.arrays.outcomes.ravel().data
        self.node: Any = self.arrays.node.data
        self._missing = np.full(n, np.nan, np.float32).data

    def clear(self) -> None:
        """Make all outcomes missing."""
        self.outcomes[:] = self._missing


class OutcomeCodec:
    """The rules of a spec by which outcomes are read: names, numbers, success and cost.

    An outcome has ``ok`` and any of the spec's outcomes; what is left out was not measured. Without ``telemetry.ok`` in
    the spec, ``ok`` may be left out too, and is true then, as in telemetry.
    """

    def __init__(self, spec: Spec) -> None:
        names = outcome_names(spec)
        self._width = len(names)
        self._rules = {
            name: (names.index(name), NumberRule(f"outcome {name!r}", outcome, np.float32))
            for name, outcome in spec.outcomes.items()
        }
        self._writers = {name: (at, rule.one) for name, (at, rule) in self._rules.items()}
        self._ok_if_missing = True if spec.telemetry.ok is None else None
        self._success, self._cost_of_failure = spec.cost.success, float(np.float32(spec.cost.failure))
        self._success_at, self._failed_at, self._cost_at = map(names.index, (spec.cost.success, FAILED, COST))
        slow = spec.cost.failure_column
        self._failure_at = None if slow is None else names.index(slow)

    def write(self, outcome: object, buffer: OutcomeBuffer) -> None:
        """Write one outcome, the derived ones included.

        Raises
        ------
        InputError
            If a name is unknown, a value is no number or out of the spec's range, ``ok`` is missing, or an outcome that
            succeeded lacks the one its cost is made of. The buffer may hold anything then.
        """
        measured = outcome if type(outcome) is dict else as_mapping(outcome, "outcome")
        buffer.clear()
        outcomes = buffer.outcomes
        for name, value in measured.items():
            if writer := self._writers.get(name):
                outcomes[writer[0]] = writer[1](value)
            elif name != OK:
                raise self._unknown(name)
        ok = measured.get(OK, self._ok_if_missing)
        if ok is not True and ok is not False:
            ok = self._truth(measured)
        if ok:
            cost = outcomes[self._success_at]
            if math.isnan(cost):
                raise self._without_cost()
        else:
            # Python's `max` is the first of two where the second is NaN.
            slow = math.nan if self._failure_at is None else outcomes[self._failure_at]
            cost = max(self._cost_of_failure, slow)
        outcomes[self._failed_at], outcomes[self._cost_at] = not ok, cost

    def rows(self, outcomes: object, n: int) -> NDArray[np.float32]:
        """Return ``n`` outcomes as rows; each column is one value for all, or (n,). Raises as `write`.

        Returns
        -------
        (n, n_outcomes) float32 in the order of `outcome_names`, the derived ones included.
        """
        measured = as_mapping(outcomes, "outcome")
        rows = np.full((n, self._width), np.nan, np.float32)
        for name, raw in measured.items():
            if name in self._rules:
                at, rule = self._rules[name]
                rows[:, at] = rule.one(raw) if is_single(raw) else rule.many(raw, n)
            elif name != OK:
                raise self._unknown(name)
        failed = ~self._truths(measured, n)
        cost = rows[:, self._success_at].copy()
        if np.isnan(cost[~failed]).any():
            raise self._without_cost()
        cost[failed] = self._cost_of_failure
        if self._failure_at is not None:
            cost[failed] = np.fmax(cost[failed], rows[failed, self._failure_at])
        rows[:, self._failed_at], rows[:, self._cost_at] = failed, cost
        return rows

    def _truth(self, measured: Mapping[str, object]) -> bool:
        """Return whether one outcome succeeded, where ``ok`` is neither plainly true nor plainly false."""
        if OK not in measured:
            message = f"outcome: expected ok, found only {names_of(measured) or 'nothing'}"
            raise InputError(message)
        return _truth(measured[OK])

    def _truths(self, measured: Mapping[str, object], n: int) -> NDArray[np.bool_]:
        """Return which of many outcomes succeeded."""
        ok = measured.get(OK, self._ok_if_missing)
        if is_single(ok):
            return np.full(n, ok if ok is True else self._truth(measured))
        items = ok if isinstance(ok, np.ndarray) and ok.shape == (n,) else items_of(ok, n, "outcome ok")
        kinds = {items.dtype.type} if isinstance(items, np.ndarray) else set(map(type, items))
        return np.array(items if kinds <= _TRUTHS else [_truth(one) for one in items], np.bool_)

    def _unknown(self, name: object) -> InputError:
        return InputError(f"outcome: expected ok or one of {', '.join(self._rules)}, found {shown(name)}")

    def _without_cost(self) -> InputError:
        return InputError(f"outcome: expected {self._success!r} where ok is true, found none")


def _truth(ok: object) -> bool:
    if isinstance(ok, bool | np.bool_) or (isinstance(ok, np.ndarray) and ok.dtype == np.bool_ and ok.ndim == 0):
        return bool(ok)
    message = f"outcome ok: expected true or false, found {described(ok)}"
    raise InputError(message)
