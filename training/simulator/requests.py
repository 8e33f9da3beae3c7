"""Batches of requests to the made-up fleet, of which the outcome of every candidate is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scheduler.spec import Spec
from training.evaluation.measured_requests import RequestBatch
from training.simulator.fleet import CANDIDATES, World


def batches(
    world: World,
    spec: Spec,
    times: ArrayLike,
    *,
    requests: int,
    candidates: int = CANDIDATES,
    seed: int = 0,
) -> Iterator[RequestBatch]:
    """Yield batches of requests with the outcome of every candidate, one at each time.

    Parameters
    ----------
    world
        The fleet.
    spec
        Spec with the cost of a request; its outcomes must be the world's.
    times
        Seconds, ascending; a world begins at `START`.
    requests
        How many in each batch.
    candidates
        Holders a request is offered, at most 32.
    seed
        Of the requests; it does not change the world.
    """
    for r, time in enumerate(np.round(np.asarray(times, np.float64), 3).tolist()):
        rng = np.random.default_rng([world.seed, seed, r])
        asked = world.requests_at(np.full(requests, time), rng)
        node = rng.permuted(world.candidates(asked, candidates), axis=1)
        found = world.outcomes(asked, node)
        ok = found.pop("ok")
        delay_ms = np.where(ok, found["latency_ms"], found["fail_ms"])
        yield RequestBatch(
            time=time,
            slice=int(time // spec.telemetry.slice.seconds),
            client=asked.client,
            request=asked.columns(),
            candidates=node,
            node_state={"load": world.reported_load(time)},
            ok=ok,
            outcomes=found,
            cost=_cost(spec, ok, found),
            arrival=time + delay_ms / np.float64(1000.0),
        )


def _cost(spec: Spec, ok: NDArray[np.bool_], found: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    failure = np.full(ok.shape, spec.cost.failure, np.float32)
    if spec.cost.failure_column is not None:
        failure = np.fmax(failure, found[spec.cost.failure_column])
    return np.where(ok, found[spec.cost.success], failure)
