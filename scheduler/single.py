"""One request, its answer, one outcome: written and read as plain numbers.

Making arrays of them would cost more than the decision. What is not plain, or wrong, is left to `scheduler.intake` and
`scheduler.outcomes`, which take batches and name every error. Each thread has its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns import Id, Schema, id_key, number_bounds
from scheduler.decision import Decision, dropped_by_name, named_scores
from scheduler.errors import InputError
from scheduler.layout import DROPS, MISSING_KEY, REASONS, DecisionArrays, QuestionArrays, ReportArrays
from scheduler.outcomes import OK, outcome_names
from scheduler.spec import COST, FAILED, Spec
from scheduler.table import Table

_NO_SLOT = -1


class Question:
    """Room for one request.

    Attributes
    ----------
    arrays
        What the kernel reads.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema, self._width = schema, schema.width
        self._numbers = {
            name: (schema.offsets[name], *schema.bounds[name])
            for name, column in schema.columns.items()
            if column.type != "category" and column.size == 1
        }
        self._categories = {name: (schema.offsets[name], key) for name, key in schema.key_columns.items()}
        n_keys = schema.n_keys
        self.arrays = QuestionArrays(
            np.empty(self._width), np.empty(n_keys, np.uint64), np.empty(self._width + n_keys, np.uint8)
        )
        # Items of a memoryview are set several times faster than an array's.
        self._values: Any = self.arrays.values.data
        self._keys: Any = self.arrays.keys.data
        self._carried = self.arrays.carried.data
        self._nothing = bytes(self._width + n_keys)

    def write(self, request: object, client: str, clients: Table) -> int:
        """Write a dict of Python numbers and texts and return its client's slot; -1 for any other, or a stranger's.

        ``client`` is the name of the client's id; ``clients`` are of this question's schema. After -1 anything may have
        been written.
        """
        if type(request) is not dict:
            return _NO_SLOT
        id_ = request.get(client)
        slot = clients.slot(id_) if type(id_) is int or type(id_) is str else None
        if slot is None:
            return _NO_SLOT
        values, carried = self._values, self._carried
        carried[:] = self._nothing
        for name, value in request.items():
            kind = type(value)
            if number := self._numbers.get(name):
                at, low, high = number
                if (kind is not float and kind is not int) or not low <= value <= high:
                    return _NO_SLOT
                values[at] = value
                carried[at] = 1
            elif (category := self._categories.get(name)) and (kind is int or kind is str):
                at, key = category
                try:
                    values[at], self._keys[key] = self._schema.encode_one(name, value)
                except InputError:  # the way of batches says which
                    return _NO_SLOT
                carried[at] = carried[self._width + key] = 1
            elif name != client:
                return _NO_SLOT
        return slot


_UTILITY = 2
"""Place of the first utility in an `Answer`, after id and propensity."""


class Answer:
    """Room for one decision, read as plain numbers in one step: asking numpy for each by itself took 2 us.

    Parameters
    ----------
    max_nodes, n_alternatives
        Longest slate, and how many alternatives come after it.
    heads
        Names of the heads.

    Attributes
    ----------
    arrays
        What the kernel writes to, views of one block.
    """

    def __init__(self, max_nodes: int, n_alternatives: int, heads: tuple[str, ...]) -> None:
        self._max_nodes, self._heads, self._width = max_nodes, heads, len(heads)
        self._places = n = max_nodes + n_alternatives
        self._values = _UTILITY + n
        self._position = self._values + n * len(heads)
        self._dropped = self._position + n
        self._form = Struct(f"=qd{n}d{n * len(heads)}d{n}i{len(DROPS)}iB")  # widest first: all are aligned
        self._block = bytearray(self._form.size)
        shapes = (1,), (1,), (1, n), (1, n, len(heads)), (1, n), (1, len(DROPS)), (1,)
        kinds = np.int64, np.float64, np.float64, np.float64, np.int32, np.int32, np.uint8
        views, start = [], 0
        for shape, kind in zip(shapes, kinds, strict=True):
            count = math.prod(shape)
            views.append(np.frombuffer(self._block, kind, count, start).reshape(shape))
            start += views[-1].nbytes
        id_, propensity, utility, values, position, dropped, reason = views
        self.arrays = DecisionArrays(id_, position, values, utility, propensity, reason, dropped)

    def read(self, slots: NDArray[np.int32], id_at: Callable[[int], Id | None], version: str) -> Decision:
        """Return the decision; ``slots`` (1, n_candidates) are its candidates', ``id_at`` gives the id of one."""
        found = self._form.unpack_from(self._block)
        slate = self._nodes(found, 0, self._max_nodes, slots, id_at)
        return Decision(
            found[0],
            tuple(slate),
            tuple(slate.values()),
            self._nodes(found, self._max_nodes, self._places, slots, id_at) if self._places > self._max_nodes else {},
            found[1],
            REASONS[found[-1]],
            dropped_by_name(found[self._dropped : -1]),
            version,
        )

    def _nodes(
        self, found: tuple[Any, ...], first: int, end: int, slots: NDArray[np.int32], id_at: Callable[[int], Id | None]
    ) -> dict[Id, dict[str, float]]:
        """Return the scores of the nodes of some places by id; the first place without a node ends them."""
        nodes, width = {}, self._width
        for s in range(first, end):
            place = found[self._position + s]
            id_ = None if place < 0 else id_at(slots.item(place))
            if id_ is None:
                break
            at = self._values + s * width
            nodes[id_] = named_scores(self._heads, found[at : at + width], found[_UTILITY + s])
        return nodes


class Report:
    """Room for one outcome.

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
        self.arrays = ReportArrays(
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
