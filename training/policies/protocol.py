"""Protocol of a policy under evaluation: the questions it gets and the outcomes it sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from scheduler.spec import Spec
from training.telemetry import Columns, Entities, Telemetry, at_rows

BLOCK = 16_384
"""Requests that are asked about, or telemetry rows that are learned, at once: features of 20 candidates each are some
20 MB, and averages stand still within a block."""


class Setting(NamedTuple):
    """What a policy may know from the start: the spec, the two tables, and the seed of its own draws."""

    spec: Spec
    clients: Entities
    nodes: Entities
    seed: int


class Question(NamedTuple):
    """Requests that ask at the same time, without anything of their outcomes.

    Attributes
    ----------
    time
        Seconds.
    number
        (n,) int64 running numbers of the requests; their outcomes come back under them.
    client
        (n,) int32 rows of the clients' table.
    candidates
        (n, n_candidates) int32 rows of the nodes' table, -1 as padding.
    request, node_state
        The (n,) columns of the requests, and the (n_nodes,) columns of all nodes as last reported, that come
        from telemetry.
    """

    time: float
    number: NDArray[np.int64]
    client: NDArray[np.int32]
    candidates: NDArray[np.int32]
    request: Columns
    node_state: Columns

    def take(self, rows: NDArray[np.integer]) -> Self:
        """Return some of the requests."""
        return self._replace(
            number=self.number[rows],
            client=self.client[rows],
            candidates=self.candidates[rows],
            request={name: at_rows(column, rows) for name, column in self.request.items()},
        )


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Yield ``n`` requests in blocks, for policies that take far more memory than a request itself while they pick."""
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))


class Seen(NamedTuple):
    """Outcomes of a policy's own picks, in order of arrival. All that it ever learns during evaluation.

    Attributes
    ----------
    number
        (n,) int64 running numbers of the requests.
    client, node
        (n,) int32 rows of the two tables.
    ok
        (n,) bool.
    cost
        (n,) float32; a failure has its cost too.
    outcomes
        (n,) float32 each, NaN where not measured.
    time, arrival
        (n,) float64 seconds: when it was asked, when the outcome was known.
    """

    number: NDArray[np.int64]
    client: NDArray[np.int32]
    node: NDArray[np.int32]
    ok: NDArray[np.bool_]
    cost: NDArray[np.float32]
    outcomes: dict[str, NDArray[np.float32]]
    time: NDArray[np.float64]
    arrival: NDArray[np.float64]

    def __len__(self) -> int:
        """Return how many outcomes these are, not how many columns."""
        return len(self.number)

    def take(self, rows: NDArray[np.intp] | slice) -> Seen:
        """Return some of the outcomes."""
        outcomes = {name: values[rows] for name, values in self.outcomes.items()}
        return Seen(
            self.number[rows],
            self.client[rows],
            self.node[rows],
            self.ok[rows],
            self.cost[rows],
            outcomes,
            self.time[rows],
            self.arrival[rows],
        )


class Policy(Protocol):
    """Picks a node for each request and learns from the outcomes of its own picks."""

    def warm(self, telemetry: Telemetry) -> None:
        """Take the telemetry from before the evaluation, once, before anything else."""

    def pick(self, question: Question) -> NDArray[np.integer]:
        """Return (n,) columns of the candidates; never one of the padding."""

    def learn(self, seen: Seen) -> None:
        """Take outcomes of own picks, in order of arrival."""


def seen_before(telemetry: Telemetry) -> Seen:
    """Return telemetry as outcomes in order of arrival, those that arrive together in order of time.

    Outcomes that never arrive are left out. Their numbers are rows of the telemetry.
    """
    order = np.argsort(telemetry.arrival, kind="stable")[: np.isfinite(telemetry.arrival).sum()]
    return Seen(
        number=order,
        client=telemetry.client[order],
        node=telemetry.node[order],
        ok=telemetry.ok[order],
        cost=telemetry.outcomes["cost"][order],
        outcomes={name: values[order] for name, values in telemetry.outcomes.items()},
        time=telemetry.time[order],
        arrival=telemetry.arrival[order],
    )


def least(values: NDArray[np.floating], candidates: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the column of the least value in each row, the first of equal ones.

    The order of candidates is random already, so taking the first breaks ties fairly.

    Parameters
    ----------
    values
        (n, n_candidates), NaN for an unknown value, which is taken only where nothing is known.
    candidates
        (n, n_candidates), -1 as padding, which is never taken.
    """
    known = np.where(np.isnan(values), np.finfo(np.float64).max, values)
    return np.where(candidates >= 0, known, np.inf).argmin(axis=1)
