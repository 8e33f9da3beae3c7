"""Take rows out of rings, as columns that are ready to be written."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.decisions.record.arrays import (
    FULL_HEAD,
    FULL_TAIL,
    OUTCOME_HEAD,
    OUTCOME_TAIL,
    POOL_TAIL,
    THIN_HEAD,
    THIN_TAIL,
    PoolRows,
)
from scheduler.decisions.record.columns import Columns, Ragged, starts_of
from scheduler.decisions.record.hashing import IdHasher
from scheduler.decisions.record.kernels.marks import read_mark, write_mark
from scheduler.decisions.record.recording import Recording, Ring
from scheduler.decisions.record.yield_interpreter import yield_interpreter
from scheduler.runtime.random import DRAW_NODE, uniform

MOST_ROWS: Final = 256
"""Rows that are taken at once: some 100 us for each kind of name, after which others get the interpreter."""

MOST_FULL_ROWS: Final = 4
"""Likewise of full records, each with hundreds of candidates."""

_AS_THEY_ARE: Final = tuple(name for name in PoolRows._fields if name not in ("slot", "node_keys", "raw"))
"""Columns of candidates that are written as they are. Raw scores are of another width under some policies."""


class RingReader:
    """Takes rows out of the rings of a recording.

    Parameters
    ----------
    recording
        What is told of all that happens.
    seed
        Of the scheduler's draws.
    hasher
        Turns ids into what is written of them.
    """

    def __init__(self, recording: Recording, seed: int, hasher: IdHasher) -> None:
        self._recording, self._seed, self._hash = recording, seed, hasher

    def thin(self, ring: Ring, arm: int) -> Columns | None:
        """Return some decisions that were not taken yet; None where there are none."""
        records = ring.records
        at = _waiting(records.marks, THIN_HEAD, THIN_TAIL, len(records.thin.id), MOST_ROWS)
        if at is None:
            return None
        thin, policy = records.thin, ring.model.spec.policy
        n, places = len(at), thin.slot.shape[1]
        slot, keys = thin.slot[at], thin.node_keys.reshape(-1, places, thin.node_keys.shape[1])[at]
        request_keys = thin.request_keys[at]
        holds = slot >= 0
        names = self._node_names(slot[holds], keys[:, :, 0][holds])
        yield_interpreter()
        clients = self._recording.client_names(thin.client[at], request_keys[:, 0])
        yield_interpreter()
        columns: Columns = {
            "id": thin.id[at],
            "time": thin.time[at],
            "arm": np.full(n, arm, np.int32),
            "reason": thin.reason[at],
            "propensity": thin.propensity[at],
            "dropped": thin.dropped[at],
            "profile": thin.profile[at],
            "request_values": thin.request_values[at],
            "request_keys": self._hash.request_keys(request_keys),
            "client": self._hash.texts(clients),
            "nodes": Ragged(starts_of(holds.sum(axis=1)), names),
            "n_slate": holds[:, : policy.max_nodes].sum(axis=1).astype(np.uint8),
            "values": thin.values.reshape(-1, places * thin.values.shape[1])[at],
            "utility": thin.utility[at],
            "node_keys": self._hash.node_keys(keys).reshape(n, -1),
            "chosen_features": thin.features[at],
            "is_full": thin.is_full[at],
        }
        write_mark(records.marks, THIN_TAIL, int(read_mark(records.marks, THIN_TAIL)) + n)
        return columns

    def full(self, ring: Ring, arm: int) -> Columns | None:
        """Return some decisions with all their candidates that were not taken yet; None where there are none."""
        records, full, pool = ring.records, ring.records.full, ring.records.pool
        at = _waiting(records.marks, FULL_HEAD, FULL_TAIL, len(full.id), MOST_FULL_ROWS)
        if at is None:
            return None
        counts = full.n_candidates[at]
        spans = zip(full.start[at].tolist(), counts.tolist(), strict=True)
        rows = np.concatenate([np.arange(first, first + count) for first, count in spans])
        starts = starts_of(counts)
        keys = pool.node_keys[rows]
        names = self._node_names(pool.slot[rows], keys[:, 0])
        yield_interpreter()
        columns: Columns = {
            "id": full.id[at],
            "time": full.time[at],
            "arm": np.full(len(at), arm, np.int32),
            "explores": full.explores[at],
            "draw": np.array([uniform(self._seed, id_, DRAW_NODE) for id_ in full.id[at].tolist()]),
            "profile": full.profile[at],
            "demand": full.demand[at],
            "request_values": full.request_values[at],
            "request_keys": self._hash.request_keys(full.request_keys[at]),
            "x_request": full.x_request[at],
            "position": full.position[at],
            "propensity": full.propensity[at],
            "reason": full.reason[at],
            "dropped": full.dropped[at],
            "nodes": Ragged(starts, names),
            "node_keys": Ragged(starts, self._hash.node_keys(keys)),
            "raw": Ragged(starts_of(counts * pool.raw.shape[1]), pool.raw[rows].reshape(-1)),
        }
        for name in _AS_THEY_ARE:
            columns[name] = Ragged(starts, getattr(pool, name)[rows])
        write_mark(records.marks, POOL_TAIL, int(full.end[at[-1]]))
        write_mark(records.marks, FULL_TAIL, int(read_mark(records.marks, FULL_TAIL)) + len(at))
        return columns

    def outcomes(self) -> Columns | None:
        """Return some outcomes that were not taken yet; None where there are none."""
        ring = self._recording.outcomes
        at = _waiting(ring.marks, OUTCOME_HEAD, OUTCOME_TAIL, len(ring.sequence), MOST_ROWS)
        if at is None:
            return None
        keys = ring.node_keys[at]
        columns: Columns = {
            "sequence": ring.sequence[at],
            "decision": ring.decision[at],
            "kind": ring.kind[at],
            "node": self._node_names(ring.slot[at], keys[:, 0]),
            "place": ring.place[at],
            "time": ring.time[at],
            "request_keys": self._hash.request_keys(ring.request_keys[at]),
            "node_keys": self._hash.node_keys(keys),
            "outcomes": ring.outcomes[at],
        }
        write_mark(ring.marks, OUTCOME_TAIL, int(read_mark(ring.marks, OUTCOME_TAIL)) + len(at))
        return columns

    def nodes(self) -> Columns | None:
        """Return the oldest change of nodes that was not taken yet; None where there is none."""
        if not self._recording.node_rows:
            return None
        rows = self._recording.node_rows[0]
        n = len(rows.slots)
        columns: Columns = {
            "time": np.full(n, rows.time),
            "kind": np.full(n, rows.kind, np.uint8),
            "decision": np.full(n, rows.decision, np.int64),
            "node": self._node_names(rows.slots, rows.columns.keys[:, 0]),
            "key": self._hash.keys(rows.columns.keys[:, 0]),
            "capacity": rows.capacity,
            "values": rows.columns.values,
            "node_keys": self._hash.node_keys(rows.columns.keys.copy()),
        }
        self._recording.forget_node_rows()
        return columns

    def _node_names(self, slots: NDArray[np.int32], keys: NDArray[np.uint64]) -> list[str]:
        return self._hash.texts(self._recording.node_names(slots, keys))


def _waiting(marks: NDArray[np.int64], head: int, tail: int, size: int, most: int) -> NDArray[np.int64] | None:
    """Return the rows of a ring that wait to be taken, the oldest first; None where none do."""
    first = int(read_mark(marks, tail))
    n = min(int(read_mark(marks, head)) - first, most)
    return (first + np.arange(n)) % size if n > 0 else None
