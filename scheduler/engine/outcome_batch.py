"""Many outcomes at once: which rows are bad, where a batch of them is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import Id, plain_list
from scheduler.columns.rows import Errors, Skipped, check_errors, find_bad, has_rows, left_out, taken
from scheduler.columns.values import as_mapping
from scheduler.engine import engine
from scheduler.engine.long_call import when_unclaimed
from scheduler.engine.long_outcomes import LongOutcomes
from scheduler.engine.request import check_times
from scheduler.engine.state import State
from scheduler.errors import DuplicateOutcomeError, InputError
from scheduler.history.outcome_codec import OK
from scheduler.history.outcomes import values_at
from scheduler.runtime.parts import PART, in_parts


class OutcomeBatch(NamedTuple):
    """Outcomes as they were passed in: (n,) decisions, columns of one value or (n,), times likewise, and (n,) nodes."""

    decisions: Sequence[int] | NDArray[np.int64]
    outcomes: Mapping[str, Any]
    now: float | NDArray[np.float64]
    nodes: Sequence[Id | None] | None

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.decisions)

    def values(self, state: State) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """Return their times, all that was measured and what history tracks of it; raise if a value is wrong."""
        times, outcomes = check_times(self.now, self.n), state.outcome_codec.rows(self.outcomes, self.n)
        return times, outcomes, values_at(state.tracked, outcomes)

    def some(self, rows: list[int]) -> OutcomeBatch:
        """Return some of them."""
        return OutcomeBatch(
            taken(self.decisions, rows),
            {name: self._some(values, rows) for name, values in self.outcomes.items()},
            self._some(self.now, rows),
            None if self.nodes is None else taken(self.nodes, rows),
        )

    def _some(self, values: Any, rows: list[int]) -> Any:  # noqa: ANN401 - as callers pass it
        return taken(values, rows) if has_rows(values, self.n) else values


def new_batch(
    decisions: Sequence[int] | NDArray[np.int64],
    outcomes: Mapping[str, Any],
    now: float | NDArray[np.float64],
    nodes: Sequence[Id | None] | None,
) -> OutcomeBatch:
    """Return a batch; raise if decisions or nodes come in no list, or outcomes in no mapping."""
    ids = decisions if isinstance(decisions, np.ndarray) and decisions.ndim == 1 else plain_list(decisions, "decisions")
    if nodes is not None and not isinstance(nodes, list | tuple):
        nodes = plain_list(nodes, "nodes")
    return OutcomeBatch(ids, as_mapping(outcomes, "outcome"), now, nodes)


def observe_batch(
    state: State,
    decisions: Sequence[int] | NDArray[np.int64],
    outcomes: Mapping[str, Any],
    now: float | NDArray[np.float64],
    nodes: Sequence[Id | None] | None,
    errors: Errors = "raise",
) -> list[Skipped]:
    """Take in many outcomes and return which were left out; raises as `Scheduler.observe_batch`."""
    check_errors(errors)
    batch, bad = new_batch(decisions, outcomes, now, nodes), dict[int, InputError]()
    deadline = state.lock.deadline()
    while True:
        try:
            good = batch.some([i for i in range(batch.n) if i not in bad]) if bad else batch
            when_unclaimed(partial(_observe, state, good), deadline)
        except InputError:
            before, bad = set(bad), bad_rows(state, batch)
            if set(bad) <= before:  # something else is wrong than rows
                raise
            left_out(batch.decisions, bad, errors)
        else:
            return left_out(batch.decisions, bad, errors) if bad else []


def _observe(state: State, batch: OutcomeBatch) -> None:
    times, outcomes, values = batch.values(state)
    if batch.n <= PART:
        state.lock.write(engine.observe_many, state, batch.decisions, batch.nodes, outcomes, values, times)
    else:
        state.long_calls.run(LongOutcomes(state, batch.decisions, batch.nodes, outcomes, values, times))


def bad_rows(state: State, batch: OutcomeBatch) -> dict[int, InputError]:
    """Return what is wrong with which rows as of now; nothing where something else is wrong than rows.

    Reads in parts: decisions go on meanwhile.
    """
    bad: dict[int, InputError] = {}
    columns = [batch.now, *batch.outcomes.values(), batch.nodes]
    if any(_is_column(values) and not has_rows(values, batch.n) for values in columns):
        return bad
    if any(name != OK and name not in state.spec.outcomes for name in batch.outcomes):
        return bad

    def check(start: int, stop: int) -> None:
        part = batch.some(list(range(start, stop)))
        part.values(state)
        state.log.find(part.decisions, part.nodes)

    for at in in_parts(batch.n):
        state.lock.read(find_bad, check, at.start, at.stop, bad)
    _find_repeated(state, batch, bad)
    return bad


def _find_repeated(state: State, batch: OutcomeBatch, bad: dict[int, InputError]) -> None:
    """Write down rows of a decision's node that an earlier row is of as well."""
    seen: set[tuple[int, int]] = set()
    for at in in_parts(batch.n):
        for i in [i for i in range(at.start, at.stop) if i not in bad]:
            one = batch.some([i])
            try:
                rows, places = state.lock.read(state.log.find, one.decisions, one.nodes)
            except InputError as error:  # answered or forgotten since it was looked at
                bad[i] = error
                continue
            pair = (rows.item(), places.item())
            if pair in seen:
                message = f"decision {batch.decisions[i]}: expected one outcome for each node, found another"
                bad[i] = DuplicateOutcomeError(message)
            seen.add(pair)


def _is_column(values: object) -> bool:
    return (
        isinstance(values, Sized)
        and not isinstance(values, str | bytes)
        and not (isinstance(values, np.ndarray) and values.ndim == 0)
    )
