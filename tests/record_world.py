"""Schedulers whose decisions are recorded, and what their records say."""

import contextlib

import numpy as np

from scheduler.decisions.record import segment
from scheduler.decisions.record.columns import joined, n_rows
from scheduler.decisions.record.read import read_segments
from scheduler.decisions.record.segment import TABLES
from scheduler.spec import Policy
from tests.schedulers import LEDGER, OK, new

POLICY = Policy(explore="epsilon", epsilon=0.5, max_nodes=2, alternatives=1)
NEVER = 1e5
"""Seconds between two writes, where a test says itself when."""


def recorded(model, folder, seed=0, policy=POLICY, **settings):
    """A scheduler that records to a folder."""
    sched = new(model, seed=seed, policy=policy, ledger=LEDGER)
    sched.record(folder, **{"every": NEVER, "full": 0.0} | settings)
    return sched


def interrupt_write(patch, at):
    """Interrupt what a segment writes after call number ``at`` of those that write or make durable."""
    calls = []

    def interrupted(call):
        def then(*parts):
            call(*parts)
            calls.append(call)
            if len(calls) == at + 1:
                raise KeyboardInterrupt

        return then

    patch.setattr(segment, "write_all", interrupted(segment.write_all))
    patch.setattr(segment.os, "fsync", interrupted(segment.os.fsync))


def serve(sched, n, first=0, kbps=700.0):
    """Decide n requests and report the outcomes of most."""
    decisions = []
    for k in range(first, first + n):
        kind = ["live", "bulk", None][k % 3]
        decision = sched.decide({"client_id": [17, "tv", 99][k % 3], "kind": kind, "kbps": kbps}, now=float(k))
        decisions.append(decision)
        if decision.nodes and k % 4:
            sched.observe(decision.id, OK, now=k + 0.5, node=decision.nodes[0])
    return decisions


@contextlib.contextmanager
def recording(sched):
    """End the recording of a scheduler, whatever happens."""
    try:
        yield sched.recorder
    finally:
        sched.recorder.stop()


def rows_of(folder, table="decisions"):
    """All rows of a table that are whole; None where there are none."""
    parts = [batch for segment in read_segments(folder) for batch in segment.batches(table)]
    return joined(parts) if parts else None


def ids_of(folder):
    rows = rows_of(folder)
    return [] if rows is None else rows["id"].tolist()


def torn(folder):
    """Rows and bytes that are not read of all tables."""
    found = [segment.torn(table) for segment in read_segments(folder) for table in TABLES]
    return sum(t.rows for t in found), sum(t.bytes for t in found)


def count(folder, table="decisions"):
    rows = rows_of(folder, table)
    return 0 if rows is None else n_rows(rows)


def whole_rows(record, program, n_features):
    """(m, n_features) feature rows of a full record."""
    rows = np.full((len(record.nodes), n_features), np.nan, np.float32)
    rows[:, program.request] = record.x_request
    rows[:, program.node] = record.x_node
    rows[:, program.pair] = record.x_pair
    return rows
