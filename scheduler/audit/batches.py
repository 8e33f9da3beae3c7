"""Full records as arrays that kernels read: one record, or one batch of one arm at a time."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.arrays import RecordedArrays
from scheduler.columns.arrays import ColumnArrays
from scheduler.decisions.record.columns import Columns
from scheduler.decisions.record.values import FullRecord
from scheduler.model.model import Model

_BY_CANDIDATE: Final = RecordedArrays._fields[RecordedArrays._fields.index("node_keys") :]
"""Arrays that have a row for each candidate."""


class Recorded(NamedTuple):
    """Decisions of one arm that were recorded in full.

    Attributes
    ----------
    arrays
        What they were made from, and the scores.
    nodes
        (k,) ids of all candidates as texts, in the order of the arrays by candidate.
    position, propensity, reason, dropped
        (n, ...) what came out; see `FullRecord`.
    """

    arrays: RecordedArrays
    nodes: list[str]
    position: NDArray[np.int32]
    propensity: NDArray[np.float64]
    reason: NDArray[np.uint8]
    dropped: NDArray[np.int32]


def one_recorded(record: FullRecord) -> RecordedArrays:
    """Return one record as arrays."""
    by_candidate: dict[str, Any] = {name: np.ascontiguousarray(getattr(record, name)) for name in _BY_CANDIDATE}
    return RecordedArrays(
        starts=np.array([0, len(record.verdict)], np.int64),
        id=np.array([record.id], np.int64),
        seed=np.array([record.seed], np.int64),
        explores=np.array([record.explores], np.bool_),
        demand=np.array([record.demand], np.float64),
        draw=np.array([record.draw], np.float64),
        profile=np.array([record.profile], np.int32),
        request=ColumnArrays(
            np.ascontiguousarray(record.request_values[None]), np.ascontiguousarray(record.request_keys[None])
        ),
        x_request=np.ascontiguousarray(record.x_request[None]),
        **by_candidate,
    )


def recorded_of(columns: Columns, seed: int, model: Model) -> Recorded | None:
    """Return a batch of the table ``full`` as arrays; None where its widths are not those of the model's features.

    Parameters
    ----------
    columns
        (n, ...), all of the arm of ``model``.
    seed
        Of the scheduler's draws.
    """
    rows: dict[str, Any] = dict(columns)
    verdict = rows["verdict"]
    n, k, program = len(rows["id"]), len(verdict.values), model.features.program

    def by_candidate(name: str, dtype: type, width: int | None = None) -> NDArray[Any]:
        if name not in rows:  # a width of 0 is not written
            return np.zeros((k, 0), dtype)
        values = np.asarray(rows[name].values)
        if width is not None:
            values = values.reshape(k, -1 if k else width)  # without rows the width cannot be told
        return np.ascontiguousarray(values, dtype)

    arrays = RecordedArrays(
        starts=verdict.starts.astype(np.int64),
        id=rows["id"],
        seed=np.full(n, seed, np.int64),
        explores=rows["explores"].astype(np.bool_),
        demand=rows["demand"],
        draw=rows["draw"],
        profile=rows["profile"],
        request=ColumnArrays(rows.get("request_values", np.zeros((n, 0))), rows["request_keys"]),
        x_request=rows.get("x_request", np.zeros((n, 0), np.float32)),
        node_keys=by_candidate("node_keys", np.uint64, model.features.node.n_keys),
        verdict=by_candidate("verdict", np.uint8),
        x_node=by_candidate("x_node", np.float32, program.node.size),
        x_pair=by_candidate("x_pair", np.float32, program.pair.size),
        raw=by_candidate("raw", np.float32, len(model.heads)),
        values=by_candidate("values", np.float64, len(model.heads)),
        utility=by_candidate("utility", np.float64),
        uncertainty=by_candidate("uncertainty", np.float64),
        is_new=by_candidate("is_new", np.bool_),
        n_outcomes=by_candidate("n_outcomes", np.float64),
        n_own_outcomes=by_candidate("n_own_outcomes", np.float64),
        capacity=by_candidate("capacity", np.float64),
        load=by_candidate("load", np.float64),
        free=by_candidate("free", np.float64),
        price=by_candidate("price", np.float64),
    )
    if not _fits(arrays, model):
        return None
    out = (rows[name] for name in ("position", "propensity", "reason", "dropped"))
    return Recorded(arrays, rows["nodes"].values, *out)


def _fits(arrays: RecordedArrays, model: Model) -> bool:
    """Return whether recorded rows are as wide as a model takes them."""
    program, request = model.features.program, model.features.request
    expected = {
        "x_request": program.request.size,
        "x_node": program.node.size,
        "x_pair": program.pair.size,
        "values": len(model.heads),
    }
    widths_fit = all(getattr(arrays, name).shape[1] == width for name, width in expected.items() if len(arrays.verdict))
    return widths_fit and arrays.request.keys.shape[1] == request.n_keys
