"""Request batches for evaluation: the clients that ask, their candidates, and each candidate's outcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError
from scheduler.spec import Spec
from training.evaluation.nearest_rows import Options, RequestColumns, nearest_rows
from training.telemetry import Categories, Columns, Telemetry, at_rows
from training.telemetry.slice_starts import slice_length, slice_starts

DRAWN = 1 << 22
"""Random numbers that stand side by side while candidates are drawn: 32 MB, however many clients ask and however many
nodes one of them has measured."""

WIDE = 1_000
"""Measured nodes of a client from which on unused random numbers are skipped instead of drawn: to skip takes about as
long as to draw so many."""


@dataclass(frozen=True, kw_only=True)
class RequestBatch:
    """Requests made at one moment, with the outcome of every candidate.

    A policy may see everything but ``ok``, ``outcomes``, ``cost`` and ``arrival``; of these only the entry
    of the node that it picks, and that only once it has arrived. ``candidates`` are node positions in random
    order, filled up with -1; where they are -1, ``ok`` is False and the rest NaN.

    Attributes
    ----------
    time
        Seconds.
    slice
        Number of the slice that it belongs to.
    client
        (n,) int32 positions in the table of clients.
    request
        The (n,) columns of the requests that come from telemetry.
    candidates
        (n, k) int32 positions in the table of nodes.
    node_state
        The (n_nodes,) columns of the nodes that come from telemetry, as last reported.
    ok
        (n, k) bool.
    outcomes
        (n, k) float32 each, NaN where not measured: the spec's outcomes.
    cost
        (n, k) float32, by the spec.
    arrival
        (n, k) float64 seconds.
    agrees
        (n, k) bool, which outcomes were measured for a request with just these columns; None for all.
    """

    time: float
    slice: int
    client: NDArray[np.int32]
    request: Columns
    candidates: NDArray[np.int32]
    node_state: Columns
    ok: NDArray[np.bool_]
    outcomes: dict[str, NDArray[np.float32]]
    cost: NDArray[np.float32]
    arrival: NDArray[np.float64]
    agrees: NDArray[np.bool_] | None = None

    @property
    def nbytes(self) -> int:
        """Return about how much memory the arrays take."""
        columns = [*self.request.values(), *self.node_state.values()]
        arrays: list[NDArray[Any]] = [c.codes if isinstance(c, Categories) else c for c in columns]
        arrays += [self.client, self.candidates, self.ok, self.cost, self.arrival, *self.outcomes.values()]
        return sum(array.nbytes for array in arrays)


def measured_requests(  # noqa: PLR0913 - what to draw, keyword by keyword
    telemetry: Telemetry,
    spec: Spec,
    *,
    start: int,
    requests: int,
    candidates: int,
    seed: int,
    among: NDArray[np.bool_] | None = None,
    known: Columns | None = None,
) -> Iterator[RequestBatch]:
    """Replay measured rows: in every slice every client asks several times.

    Each slice from ``start`` on has ``requests`` batches, evenly spread over it, or over what there is of it before the
    next one begins (see `slice_starts`). In a batch every client with
    at least two measured nodes in the slice asks once. Its candidates are drawn uniformly out of those
    nodes. The first candidate's outcome is a row of that slice, client and node, drawn uniformly; the request has
    that row's request columns. The outcome of any other candidate is drawn from those of its rows in the slice
    whose request columns agree, or else come nearest; see `nearest_rows`. So a full matrix per slice is replayed as
    it is, and logged single requests slice by slice: whatever was measured of a pair within a slice stands for what
    such a request at any moment of the slice would have met.

    A node's state is the last one logged, by
    whichever client, up to the batch. The draws depend on the seed, the slice and the number of the batch
    alone.

    Parameters
    ----------
    telemetry
        Rows before ``start`` only provide the state of the nodes.
    spec
        Gives the length of a slice where the telemetry does not.
    start
        The first slice to replay.
    requests
        Batches a slice.
    candidates
        At most so many candidates a request.
    seed
        0 or more.
    among
        (n_rows,) which rows may be drawn; all by default. The others only provide the state of the nodes.
    known
        State of the nodes from before the telemetry, see `node_state`.

    Yields
    ------
    Batch
        In the order of time.

    Raises
    ------
    InputError
        If a count is too small.
    """
    if requests < 1 or candidates < 2:  # noqa: PLR2004 - there is nothing to choose from one
        raise InputError(f"expected 1 request and 2 candidates or more, found {requests} and {candidates}")
    state = _NodeState(telemetry, known)
    starts = slice_starts(telemetry, spec)
    lasted = np.minimum(np.diff([*starts.values(), np.inf]), slice_length(telemetry, spec)).tolist()
    request = RequestColumns.of(telemetry)
    for (number, begin), seconds, of_slice in zip(starts.items(), lasted, _rows_by_slice(telemetry), strict=True):
        if number < start:
            continue
        pairs = _pairs(telemetry, of_slice if among is None else of_slice[among[of_slice]])
        for r in range(requests if len(pairs.client) else 0):
            now = begin + r * seconds / requests
            drawn = _draw(pairs, candidates, np.random.default_rng([seed, number, r]), request)
            yield _batch(telemetry, spec, drawn, number, now, state.at(now))


def _rows_by_slice(telemetry: Telemetry) -> list[NDArray[np.int64]]:
    """Return the rows of each slice that has any, in the order of slices and within each in that of the telemetry."""
    order = np.argsort(telemetry.slice, kind="stable")
    if not order.size:
        return []
    return np.split(order, np.flatnonzero(np.diff(telemetry.slice[order])) + 1)


class _Pairs(NamedTuple):
    """The rows of a slice grouped by client and node; clients with one node are left out.

    ``rows`` are row numbers; pair p has ``rows[first[p] : first[p] + n_rows[p]]``. ``client`` are the
    positions of the asking clients; the pairs of number c of them are ``first_pair[c]`` and the following, in
    all ``n_pairs[c]``.
    """

    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    n_rows: NDArray[np.int64]
    client: NDArray[np.int32]
    first_pair: NDArray[np.int64]
    n_pairs: NDArray[np.int64]


def _pairs(telemetry: Telemetry, rows: NDArray[np.int64]) -> _Pairs:
    key = telemetry.client[rows].astype(np.int64) * len(telemetry.nodes) + telemetry.node[rows]
    if (key[:-1] > key[1:]).any():
        order = np.argsort(key, kind="stable")
        rows, key = rows[order], key[order]
    pair, first, count = np.unique(key, return_index=True, return_counts=True)
    client, first_pair, n_pairs = np.unique(pair // len(telemetry.nodes), return_index=True, return_counts=True)
    asks = n_pairs > 1
    return _Pairs(rows, first, count, client[asks].astype(np.int32), first_pair[asks], n_pairs[asks])


class _Drawn(NamedTuple):
    """Drawn outcomes: (n, k) row numbers, -1 where a client has no further node, and which agree with the request."""

    rows: NDArray[np.int64]
    agrees: NDArray[np.bool_] | None


def _draw(pairs: _Pairs, k: int, rng: np.random.Generator, request: RequestColumns) -> _Drawn:
    """Draw candidates for every asking client, and a row for each."""
    picked = _columns(pairs.n_pairs, min(k, int(pairs.n_pairs.max())), rng)
    real = picked >= 0
    pair = np.where(real, pairs.first_pair[:, None] + picked, 0)
    chance = rng.random(pair.shape)
    first, count = pairs.first[pair], np.where(real, pairs.n_rows[pair], 0)
    rows = np.where(real, pairs.rows[first + (chance * pairs.n_rows[pair]).astype(np.int64)], -1)
    if request.empty:
        return _Drawn(rows, None)
    some = max(1, DRAWN // max(int(count.sum(axis=1).max()), 1))
    agrees = np.zeros(rows.shape, np.bool_)
    for at in range(0, len(rows), some):
        block = slice(at, at + some)
        options = Options(pairs.rows, first[block], count[block])
        rows[block], agrees[block] = nearest_rows(request, options, rows[block, 0], chance[block])
    return _Drawn(rows, agrees)


def _columns(n_pairs: NDArray[np.int64], k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw up to k of each client's pairs, counted from its first one, in random order and filled up with -1.

    Every client uses up as many random numbers as the one with the most pairs has.
    """
    widest = int(n_pairs.max())
    picked = np.full((len(n_pairs), k), -1, np.int64)
    step = max(1, DRAWN // widest)
    for first in range(0, len(n_pairs), step):
        own = n_pairs[first : first + step]
        keys = _keys(own, widest, rng)
        some = min(k, keys.shape[1])
        found = np.argpartition(keys, some - 1, axis=1)[:, :some]
        order = np.argsort(np.take_along_axis(keys, found, axis=1), axis=1)
        found = np.take_along_axis(found, order, axis=1)
        picked[first : first + step, :some] = np.where(found < own[:, None], found, -1)
    return picked


def _keys(n_pairs: NDArray[np.int64], widest: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a random number below 1 for each pair of some clients, 2.0 where a client has no further one."""
    width = int(n_pairs.max())
    if widest < WIDE or 2 * int(n_pairs.sum()) > len(n_pairs) * widest:
        keys = rng.random((len(n_pairs), widest))[:, :width]
        keys[np.arange(width) >= n_pairs[:, None]] = 2.0
        return keys
    keys = np.full((len(n_pairs), width), 2.0)
    for row, n in enumerate(n_pairs.tolist()):
        rng.random(out=keys[row, :n])
        rng.bit_generator.advance(widest - n)  # type: ignore[attr-defined] # that of `default_rng` can
    return keys


def _batch(telemetry: Telemetry, spec: Spec, drawn: _Drawn, number: int, now: float, state: Columns) -> RequestBatch:
    rows = drawn.rows
    blank = rows < 0

    def at(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(blank, np.float32(np.nan), values[rows])

    delay = telemetry.arrival[rows] - telemetry.time[rows]
    first = rows[:, 0]  # never blank, because the blank ones come last
    return RequestBatch(
        time=now,
        slice=number,
        client=telemetry.client[first],
        request={name: at_rows(column, first) for name, column in telemetry.request.items()},
        candidates=np.where(blank, np.int32(-1), telemetry.node[rows]),
        node_state=state,
        ok=telemetry.ok[rows] & ~blank,
        outcomes={name: at(telemetry.outcomes[name]) for name in spec.outcomes},
        cost=at(telemetry.outcomes["cost"]),
        arrival=np.where(blank, np.nan, now + delay),
        agrees=drawn.agrees,
    )


def node_state(telemetry: Telemetry, known: Columns | None = None) -> Columns:
    """Return every node's last state that telemetry logs, or its earlier known state."""
    return _NodeState(telemetry, known).at(np.inf)


class _NodeState:
    """The last logged state of every node, moved forward in time."""

    def __init__(self, telemetry: Telemetry, known: Columns | None) -> None:
        self._telemetry = telemetry
        self._done = 0
        n = len(telemetry.nodes)
        self._state: dict[str, Any] = {
            name: _carried(column, None if known is None else known[name], n)
            for name, column in telemetry.node_state.items()
        }

    def at(self, now: float) -> Columns:
        """Return a copy of the state at a time, which must not go back."""
        telemetry = self._telemetry
        done = int(np.searchsorted(telemetry.time, now, side="right"))
        new = slice(self._done, max(done, self._done))
        self._done = new.stop
        node = telemetry.node[new]
        for name, column in telemetry.node_state.items():
            state = self._state[name]
            if isinstance(column, Categories):
                state[0][node] = column.codes[new]  # of repeated nodes the last one stays
            else:
                state[node] = column[new]
        return {
            name: Categories(c.codes.copy(), c.values) if isinstance(c, Categories) else c.copy()
            for name, c in self._state.items()
        }


def _carried(
    column: NDArray[np.float64] | Categories, known: NDArray[np.float64] | Categories | None, n: int
) -> NDArray[np.float64] | Categories:
    """Return the known state of n nodes; new categories get codes after those of the column."""
    if not isinstance(column, Categories):
        return known.copy() if isinstance(known, np.ndarray) else np.full(n, np.nan)
    if not isinstance(known, Categories):
        return Categories(np.full(n, -1, np.int32), column.values)
    places = {value: code for code, value in enumerate(column.values)}
    for value in known.values:
        places.setdefault(value, len(places))
    return Categories(known.recoded(places), tuple(places))
