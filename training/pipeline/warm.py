"""A scheduler that knows what telemetry knows, ready for its first request."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError
from scheduler.model.model import Model
from scheduler.scheduler import Scheduler
from scheduler.spec import Spec
from training.evaluation.measured_requests import node_state
from training.features.warm import warm
from training.telemetry import Categories, Columns, Telemetry


def warm_scheduler(model: Model, telemetry: Telemetry, spec: Spec, *, seed: int = 0) -> Scheduler:
    """Return a scheduler with the nodes, the clients and the history of telemetry, its machine code loaded.

    Parameters
    ----------
    model
        What decides.
    telemetry
        All of it enters history, in the order of time; of nodes whatever was logged last is their state.
    spec
        That of the telemetry; utility, policy, candidates and ledger are taken from it.
    seed
        Fixes every random draw.

    Raises
    ------
    InputError
        If the model was trained for other features.
    """
    if model.spec.fingerprint() != spec.fingerprint():
        theirs, ours = model.spec.fingerprint(), spec.fingerprint()
        raise InputError(f"model {model.name}-{model.version}: expected one of fingerprint {ours}, found {theirs}")
    made = Scheduler(model, spec, seed=seed)
    features = model.features
    nodes, clients = telemetry.nodes, telemetry.clients
    known = {**nodes.columns, **node_state(telemetry)}
    made.fleet.upsert(nodes.ids, _raw(known, set(features.node.columns)))
    made.clients.upsert(clients.ids, _raw(clients.columns, set(features.request.columns)))
    warm(made, telemetry)
    made.warm_up()
    return made


def _raw(columns: Columns, wanted: set[str]) -> dict[str, Any]:
    return {name: _values(column) for name, column in columns.items() if name in wanted and name != "id"}


def _values(column: NDArray[np.float64] | Categories) -> Any:  # noqa: ANN401 - what the fleet takes
    return column.raw() if isinstance(column, Categories) else column
