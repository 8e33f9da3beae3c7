"""From the number of a decision to its id and back.

Numbers count decisions from 0 for the life of a state and say which row of the log a decision takes. Ids are what
callers see: unique over processes. A state that is restored or forked goes on with its numbers and begins new ids.
"""

from __future__ import annotations

from scheduler.decisions.arrays import EARLIER_ID, EARLIER_NUMBER, FIRST_ID, FIRST_NUMBER, DecisionLog
from scheduler.runtime.jit import inlined


@inlined
def id_of(log: DecisionLog, number: int) -> int:
    """Return the id of the decision with a number; ids before the earlier ones are not known any more."""
    counters = log.counters
    if number >= counters[FIRST_NUMBER]:
        return counters[FIRST_ID] + number - counters[FIRST_NUMBER]
    return counters[EARLIER_ID] + number - counters[EARLIER_NUMBER]


@inlined
def row_of(log: DecisionLog, decision: int) -> int:
    """Return the row of the log in which a decision stands, by its id; -1 if the log does not hold it."""
    counters = log.counters
    if decision >= counters[FIRST_ID]:
        number = decision - counters[FIRST_ID] + counters[FIRST_NUMBER]
    else:
        number = decision - counters[EARLIER_ID] + counters[EARLIER_NUMBER]
    row = number % log.id.size
    return row if number >= 0 and log.id[row] == decision else -1
