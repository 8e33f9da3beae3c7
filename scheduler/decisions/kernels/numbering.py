"""From the number of a decision to its id and back.

Numbers count decisions from 0 for the life of a state and say which row of the log a decision takes. Ids are what
callers see: unique over processes. A state that is restored or forked goes on with its numbers and begins new ids.
"""

from __future__ import annotations

from scheduler.decisions.arrays import FIRST_ID, FIRST_NUMBER, DecisionLog
from scheduler.runtime.jit import inlined


@inlined
def id_of(log: DecisionLog, number: int) -> int:
    """Return the id of the decision with a number; -2, which no row has, before the earliest life that is known."""
    first, start = log.counters[FIRST_ID], log.counters[FIRST_NUMBER]
    k = 0
    while number < start and k < log.earlier.shape[0]:
        first, start = log.earlier[k, 0], log.earlier[k, 1]
        k += 1
    return first + number - start if number >= start else -2


@inlined
def row_of(log: DecisionLog, decision: int) -> int:
    """Return the row of the log in which a decision stands, by its id; -1 if the log does not hold it."""
    first, start = log.counters[FIRST_ID], log.counters[FIRST_NUMBER]
    k = 0
    while decision < first and k < log.earlier.shape[0]:
        first, start = log.earlier[k, 0], log.earlier[k, 1]
        k += 1
    if decision < first:
        return -1
    row = (start + decision - first) % log.id.size
    return row if log.id[row] == decision else -1
