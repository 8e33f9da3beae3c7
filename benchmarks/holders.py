"""What it takes to know who holds what: ``python -m benchmarks.holders [--nodes N] [--pairs N] [--json FILE]``.

Contents come and go at random on a fleet, few of them held by many and many by few. Figures are thread time: what a
call costs, whatever else the machine does meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet import SPEC, make_model, make_scheduler
from benchmarks.report import show
from benchmarks.scheduler import machine, resident
from scheduler import Scheduler
from scheduler.columns.ids import id_keys
from scheduler.retrieval.arrays import ARENA_END, FIRST_ROOM, LIST_CLASS, LISTS_END, SET_CLASS, SET_SIZE, IndexArrays

TIERS = """
[[candidates.tiers]]
name = "holders in the region"
match = { content = "content", region = "region" }
limit = 128
[[candidates.tiers]]
name = "holders"
match = { content = "content" }
"""
HEAD, REST = SPEC.split("[[candidates.tiers]]", 1)
TEXT = (
    HEAD.replace("[request]\n", '[request]\ncontent = { type = "category" }\n').replace(
        "[node]\n", '[node]\ncontent = { type = "categories", source = "nodes" }\n'
    )
    + TIERS
    + REST[REST.index("[ledger]") :]
)

CONTENTS = 200_000
POPULARITY = 0.8
"""The content of rank r is held in proportion to r to the power of minus this: the first by half the fleet or so."""

SMALL, BATCH = 256, 4_096
"""Pairs in a call while the fleet fills, and afterwards."""

ROUNDS = 64
"""Calls of each kind, after the fleet was filled."""


class Contents:
    """Draws pairs of a node and a content."""

    def __init__(self, n_nodes: int, seed: int) -> None:
        self.rng, self.n_nodes = np.random.default_rng(seed), n_nodes
        weights = np.arange(1, CONTENTS + 1) ** -POPULARITY
        self._shares = np.cumsum(weights) / weights.sum()

    def contents(self, n: int) -> np.ndarray:
        return np.searchsorted(self._shares, self.rng.random(n))

    def pairs(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        return self.rng.integers(self.n_nodes, size=n), self.contents(n)


def timed(call: Callable[[], object]) -> float:
    """Return milliseconds of thread time."""
    start = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - start) / 1e6


def run(n_nodes: int, n_pairs: int, seed: int = 0) -> dict[str, Any]:
    """Fill a fleet with contents, change them, ask for them, and return what that took."""
    scheduler, draw = make_scheduler(make_model(text=TEXT), n_nodes), Contents(n_nodes, seed)
    scheduler.fleet.add([0], "content", [0])
    scheduler.fleet.discard([0], "content", [0])
    fleet, index = scheduler.fleet, scheduler.state.index
    gc.collect()
    before, filling = resident(), []
    while len(filling) % 64 or held(index) < n_pairs:
        ids, values = draw.pairs(SMALL)
        filling.append(timed(lambda ids=ids, values=values: fleet.add(ids, "content", values)))
    arrays, n = index.arrays, held(index)
    report: dict[str, Any] = {
        "machine": machine(),
        "nodes": n_nodes,
        "pairs": n,
        "posting lists": int(arrays.marks[LISTS_END]),
        "holders of the most popular": int(fleet.holds(np.arange(n_nodes), "content", np.zeros(n_nodes, int)).sum()),
        "filling: pairs a call": SMALL,
        "filling: pairs /s": round(SMALL * len(filling) / sum(filling) * 1e3),
        "filling: ms a call": {f"p{q}": round(float(np.percentile(filling, q)), 2) for q in (50, 99, 99.9, 100)},
        "bytes a pair, resident": round((resident() - before) / n, 1),
        "bytes a pair by part": parts(arrays, n),
    }
    report |= changes(scheduler, draw) | questions(scheduler, draw)
    return report | {"load": os.getloadavg()[0]}


def parts(arrays: IndexArrays, n: int) -> dict[str, float]:
    """Bytes a pair of what holds the pairs, and how many lists each stands in."""
    classes, in_use = arrays.sets.heads[:, 0, SET_CLASS], arrays.lists[: arrays.marks[LISTS_END]]
    rooms = (FIRST_ROOM << in_use[in_use[:, LIST_CLASS] >= 0, LIST_CLASS]).sum()
    found = {
        "sets": 4 * (FIRST_ROOM << classes[classes >= 0].astype(np.int64)).sum() / n,
        "slots in lists": 4 * rooms / n,
        "heads of lists": (8 * in_use.shape[1] + 4) * len(in_use) / n,
        "not in use": 4 * arrays.marks[ARENA_END] / n,
    }
    found["not in use"] -= found["sets"] + found["slots in lists"]
    return {name: round(float(value), 1) for name, value in found.items()} | {"lists": len(TIERS.split("match")) - 1}


def held(index: Any) -> int:
    """How many pairs there are."""
    return int(index.arrays.sets.heads[:, 0, SET_SIZE].sum())


def changes(scheduler: Scheduler, draw: Contents) -> dict[str, Any]:
    """What single changes and whole sets cost once the fleet is full."""
    fleet, index = scheduler.fleet, scheduler.state.index
    taken: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for call in (fleet.add, fleet.discard):
            ids, values = draw.pairs(BATCH)
            ms = timed(lambda call=call, ids=ids, values=values: call(ids, "content", values))
            taken.setdefault(f"fleet.{call.__name__}", []).append(ms)
        for call in (index.add, index.discard):
            ids, values = draw.pairs(BATCH)
            slots, keys = fleet.table.slots(ids), id_keys(values)
            ms = timed(lambda call=call, slots=slots, keys=keys: call(0, slots, keys))
            taken.setdefault(f"kernel of {call.__name__}", []).append(ms)
    report: dict[str, Any] = {
        f"{name}: pairs /s": round(BATCH / float(np.median(ms)) * 1e3) for name, ms in taken.items()
    }
    names = [f"content-{v}" for v in draw.contents(BATCH)]
    ids = draw.rng.integers(draw.n_nodes, size=BATCH)
    report["fleet.add of texts: pairs /s"] = round(BATCH / timed(lambda: fleet.add(ids, "content", names)) * 1e3)
    singles = [
        timed(lambda i=i, v=v: fleet.add([i], "content", [v]))
        for i, v in zip(*map(np.ndarray.tolist, draw.pairs(2_000)), strict=True)
    ]
    report["one pair a call us"] = round(float(np.median(singles)) * 1e3, 2)
    moved = draw.rng.choice(draw.n_nodes, 256, replace=False)
    region = draw.rng.integers(32, size=256)
    report["a node moves region us"] = round(timed(lambda: fleet.upsert(moved, {"region": region})) / 256 * 1e3, 1)
    return report


def questions(scheduler: Scheduler, draw: Contents) -> dict[str, Any]:
    """Microseconds of a decision for contents of all degrees of popularity, those that few hold among them."""
    asked, taken = draw.contents(8_000).tolist(), []
    for i, content in enumerate(asked):
        request = {"client_id": i % 1_000, "bitrate_kbps": 800, "content": content}
        taken.append(timed(lambda request=request, i=i: scheduler.decide(request, now=i / 20_000)) * 1e3)
    return {f"decide p{q} us": round(float(np.percentile(taken, q)), 1) for q in (50, 99)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=20_000_000)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    report = run(options.nodes, options.pairs)
    show(report, options.json)


if __name__ == "__main__":
    main()
