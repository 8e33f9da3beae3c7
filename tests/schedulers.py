"""A scheduler over five nodes and two clients, and all that a call may change of it."""

import copy

import numpy as np

from scheduler import Scheduler
from scheduler.spec import Ledger
from tests import models

LEDGER = Ledger(capacity="uplink", demand="kbps", hold="60s")
OK = {"ok": True, "rtt_ms": 30.0}
IDS = [1, 2, 3, "box", "1"]
COLUMNS = {
    "isp": [7, 8, "mobile", 7, None],
    "load": [0, 0.25, 0.5, 0.75, 1],
    "uplink": [5000, 4000, 3000, 2000, 1000],
    "price": [1, 2, 3, 4, 5],
    "lat": [0, 10, 20, 30, 40],
    "lon": [0, 10, 20, 30, 40],
    "taste": [[1, 2, 3]] * 5,
}

HELD = [["film", "song"], ["film"], [], ["film", 7], None]
"""What the nodes hold, where they have a set of categories."""


def new(model, seed=0, token_key=None, **parts):
    sched = Scheduler(models.changed(model, **parts), seed=seed, first_id=0, token_key=token_key, secret=0)
    sched.fleet.upsert(IDS, COLUMNS)
    sched.clients.upsert([17, "tv"], {"isp": [7, "mobile"], "lat": [1, 2], "lon": [3, 4], "taste": [[1, 0, 0]] * 2})
    return sched


def flat(arrays):
    """All arrays of a tuple of arrays and tuples."""
    return [array for part in arrays for array in (part if isinstance(part, tuple) else [part])]


def state(sched):
    """All that a call may change."""
    fleet, clients = sched.fleet, sched.clients
    ids = [table.ids_at(np.arange(len(table.columns.keys))) for table in (fleet.table, clients)]
    parts = (
        *flat(fleet.arrays),
        sched.state.arms[0].arrays.content.node_rows,
        *ids,
        *clients.columns,
    )
    parts += (*sched.state.log.arrays, *flat(sched.history))
    return copy.deepcopy((parts, sched.state.clock.latest, list(fleet.table), list(clients)))


def same(a, b):
    return a[1:] == b[1:] and all(
        x.tolist() == y.tolist() if x.dtype == object else np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        for x, y in zip(a[0], b[0], strict=True)
    )
