"""A long run under load and faults, checked against a slow model: ``python -m benchmarks.soak``.

Several processes each hold one scheduler. Rounds of random calls from one thread and from several take turns; a call's
place in the order of effects is taken where the scheduler takes its lock. After each round the slow model goes through
the same calls in that order and must agree with every answer, every error and, at the end, all state.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightgbm as lgb
import msgspec
import numpy as np

from benchmarks.fleet import ISPS, REGIONS, SPEC
from benchmarks.soak_calls import N_LIVE, Caller
from benchmarks.soak_twin import Twin, ViolationError
from scheduler import Model, Scheduler
from scheduler.columns.ids import id_key
from scheduler.features.program import compile_features
from scheduler.history.arrays import TIME_FLOATS
from scheduler.model.manifest import Calibration
from scheduler.retrieval.arrays import LIST_CLASS, LIST_SIZE, LIST_START, LISTS_END
from scheduler.runtime.hashing import mix
from scheduler.runtime.lock_kernels import WRITING
from scheduler.runtime.read_write_lock import ReadWriteLock
from scheduler.spec import parse_spec, seconds
from training.artifacts.write import write_artifact

ROOMY, TIGHT = 131_072, 256
"""History entries: where all fit so that each can be recomputed, and where most are let go."""

REMEMBER = {ROOMY: 20_000, TIGHT: 2_000}
"""Decisions remembered, by history entries: longer than reservations last, and shorter."""

SPREAD, ALTERNATIVES = {"isp": 2, "region": 1}, 2
"""Limits tight enough that they matter: there are four carriers and four regions."""

CALLS_A_ROUND = 3_000
HEAP_GROWTH = 24 * 2**20
"""Bytes by which a process may differ between warm-up and end, of allocator noise."""

ENTRY_BYTES = 1_400
"""Bytes for a new history entry: 136 of its own in a table that fills up to its fixed size, the rest in the slow
model's dict of lists."""


def build(folder: Path, capacity: int) -> None:
    """Write an artifact of the benchmark's spec with small forests, slates of up to three under limits, short holds."""
    spec = parse_spec(SPEC)
    change = msgspec.structs.replace
    spec = change(
        spec,
        history=change(spec.history, capacity=capacity),
        policy=change(spec.policy, max_nodes=3, epsilon=0.2, spread=SPREAD, alternatives=ALTERNATIVES),
        ledger=change(spec.ledger, hold="20s"),
    )
    vocabulary = {f"{side}.{name}": tuple(range(n)) for side in ("request", "node")
                  for name, n in (("isp", ISPS), ("region", REGIONS))}  # fmt: skip
    rng = np.random.default_rng(0)
    names = compile_features(spec, vocabulary).names
    x = rng.random((4_000, len(names)), np.float32)
    params = {"num_leaves": 15, "verbosity": -1, "num_threads": 1}
    kinds = [k for k, name in enumerate(names) if name in {"client_isp", "node_isp"}]
    x[:, kinds] = np.floor(x[:, kinds] * ISPS)
    failed, latency = rng.random(len(x)) < 0.2 + 0.5 * x[:, 6], x @ rng.random(len(names))
    boosters = {
        "failure": lgb.train(params | {"objective": "binary"}, lgb.Dataset(x, failed, categorical_feature=kinds), 20),
        "latency": lgb.train(params, lgb.Dataset(x, latency, categorical_feature=kinds), 20),
    }
    calibration = {"failure": Calibration(link="logistic"), "latency": Calibration(link="log")}
    write_artifact(folder, spec=spec, boosters=boosters, calibration=calibration, vocabulary=vocabulary,
                   metrics={}, window={}, golden_rows=x[:8])  # fmt: skip


class NumberedLock(ReadWriteLock):
    """A lock that numbers its holders: the order in which calls took effect."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._mine = threading.local()

    def read(self, function: Callable[..., Any], *args: Any) -> Any:
        """As `write`: only calls that take turns have an order."""
        return self.write(function, *args)

    def write(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function alone, at once where the thread holds the lock already."""
        return function(*args) if self.hold().view[WRITING] else super().write(self._numbered, function, *args)

    def _numbered(self, function: Callable[..., Any], *args: Any) -> Any:
        self._count += 1
        self._mine.number = self._count
        return function(*args)

    def forget_mine(self) -> None:
        self._mine.number = None

    def mine(self) -> int:
        """The number under which the calling thread last held the lock; the next one where it did not."""
        return self._mine.number if self._mine.number is not None else self._count


class Clock:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0.0

    def tick(self, seconds: float) -> float:
        with self._lock:
            self._now += seconds
            return self._now


class Subject:
    """A scheduler under test, its slow model, and what its callers share."""

    def __init__(self, artifact: Path, seed: int) -> None:
        model = Model.load(artifact)
        spec = model.spec
        remember = REMEMBER[spec.history.capacity]
        with patch("scheduler.engine.state.ReadWriteLock", NumberedLock):  # all parts of a state share its one lock
            self.scheduler = Scheduler(model, seed=seed, remember=remember, first_id=0)
        self.lock = self.scheduler.state.lock
        self.roomy = spec.history.capacity == ROOMY
        self.hold = seconds(spec.ledger.hold)
        self.twin = Twin(
            remember=remember, max_nodes=spec.policy.max_nodes, hold=self.hold, spread=SPREAD, with_history=self.roomy
        )
        self.clock = Clock()
        self.made: deque[tuple[int, tuple[Any, ...]]] = deque(maxlen=remember)
        self.recent: deque[Any] = deque(maxlen=N_LIVE)
        self.fresh = itertools.count(10**6)
        self.calls = 0

    def run_round(self, seed: int, n_threads: int) -> None:
        """Let threads make random calls, then go through them with the slow model."""
        callers = [Caller(self, random.Random(f"{seed}/{t}"), CALLS_A_ROUND // n_threads) for t in range(n_threads)]  # noqa: S311
        threads = [threading.Thread(target=caller.run) for caller in callers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for caller in callers:
            if caller.failure is not None:
                raise caller.failure
        events = sorted((event for caller in callers for event in caller.events), key=lambda event: event.at)
        for event in events:
            self.twin.apply(event)
        self.calls += len(events)
        self.audit()

    def drain(self) -> None:
        """Let every reservation expire; nothing may stay reserved."""
        caller = Caller(self, random.Random(0), 0)  # noqa: S311
        self.clock.tick(2 * self.hold)
        caller.decide()
        self.twin.apply(caller.events[-1])
        last, told = caller.events[-1].answer[0], caller.events[-1].told
        if last.nodes:
            caller.report([last.id] * len(last.nodes), list(last.nodes), told["now"])
            self.twin.apply(caller.events[-1])
        reserved = self.scheduler.fleet.arrays.reserved
        if np.abs(reserved).max() > 1e-6:
            raise ViolationError(f"all is answered or expired, found {reserved.max()} kbit/s reserved")
        self.audit()

    def audit(self) -> None:
        """Compare all state of the scheduler with the slow model's."""
        self._audit_counters()
        self._audit_nodes()
        self._audit_index()
        self._audit_rows()
        if self.roomy:
            self._audit_history()

    def _audit_counters(self) -> None:
        twin, found = self.twin, self.scheduler.counters()
        expected = {"decisions": twin.next_id, "outcomes": twin.outcomes, "expired": twin.expired,
                    "forgotten": twin.forgotten, "nodes": len(twin.nodes)}  # fmt: skip
        if self.roomy:
            expected |= {"history_entries": len(twin.history), "history_evicted": 0}
        _same("counters", expected, {name: found[name] for name in expected})

    def _audit_nodes(self) -> None:
        twin, arrays, table = self.twin, self.scheduler.fleet.arrays, self.scheduler.fleet.table
        _same("nodes", set(twin.nodes), set(table))
        columns = arrays.alive_until, arrays.quarantined_until, arrays.capacity, arrays.reserved
        held = dict.fromkeys(twin.nodes, 0.0)
        for promise in twin.promises.values():
            for place in promise.places:
                node = twin.nodes.get(place.node)
                if node is not None and node.life == place.life:
                    held[place.node] += place.held
        for id_, node in twin.nodes.items():
            slot = table.slot(id_)
            found = [float(column[slot]) for column in columns]
            _same(f"node {id_!r}", [node.alive_until, node.quarantined_until, node.capacity, node.reserved], found)
            if not math.isclose(held[id_], found[3], abs_tol=1e-6):
                raise ViolationError(f"node {id_!r}: reservations add up to {held[id_]}, found {found[3]}")

    def _audit_index(self) -> None:
        index, fleet = self.scheduler.state.index.arrays, self.scheduler.fleet.arrays
        _same("listed slots of no node", 0, int((fleet.listed & (fleet.alive_until == -np.inf)).sum()))
        _same("slots in the index", np.flatnonzero(fleet.listed).tolist(),
              np.flatnonzero((index.held[:, :, 0] >= 0).any(axis=1)).tolist())  # fmt: skip
        lists = index.lists[: index.marks[LISTS_END]]
        listed = int(lists[lists[:, LIST_CLASS] >= 0, LIST_SIZE].sum())
        _same("places in posting lists", int((index.held[:, :, 0] >= 0).sum()), listed)
        slot, tier = np.nonzero(index.held[:, :, 0] >= 0)
        at = index.held[slot, tier]
        _same("slots in posting lists", slot.tolist(), index.arena[lists[at[:, 0], LIST_START] + at[:, 1]].tolist())

    def _audit_rows(self) -> None:
        """Every node's forest row is what its columns and history say today, also where history let an entry go."""
        live = self.scheduler.fleet.arrays.alive_until > -np.inf
        before = self.scheduler.state.arms[0].arrays.content.node_rows[live].copy()
        self.scheduler.refresh()
        evicted = (before != self.scheduler.state.arms[0].arrays.content.node_rows[live]).any(axis=1)
        if evicted.any():
            ids = self.scheduler.fleet.table.ids_at(np.flatnonzero(live)[evicted])
            raise ViolationError(f"forest rows of {len(ids)} nodes are stale, such as {ids[0]!r}'s")

    def _audit_history(self) -> None:
        history = self.scheduler.history
        place = {key: slot for slot, key in enumerate(history.keys.tolist()) if key}
        seeds = self.scheduler.state.features.program.key_seeds
        numbers = {name: number for number, name in enumerate(self.scheduler.model.spec.history.keys)}
        for key, expected in self.twin.history.items():
            word = seeds[numbers[key[0]]]
            for part in key[1:]:
                word = np.uint64(mix(word, np.uint64(id_key(part))))
            if int(word) not in place:
                raise ViolationError(f"history: expected an entry of {key}, found none")
            row = history.rows[place[int(word)], TIME_FLOATS:].astype(float)
            sums = np.array(expected.sums).ravel()
            # Statistics are float32: a mean is off by its rounding, squares by that of all they were summed from.
            same = np.allclose(row[:2], expected.last, rtol=1e-6) and np.allclose(row[2:14], sums, rtol=1e-3, atol=2e-3)
            if not same or history.seen[place[int(word)]] != expected.seen:
                raise ViolationError(f"history of {key}: expected {expected}, found {row}")


def _same(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise ViolationError(f"{what}: expected {expected}, found {found}")


def _check_memory(warm: int, end: int, entries: int) -> None:
    """Compare bytes held after warm-up and at the end, when history held so many ``entries`` more."""
    expected = warm + ENTRY_BYTES * entries
    if end - expected > HEAP_GROWTH:
        raise ViolationError(f"memory: expected {expected / 2**20:.0f} MB, found {end / 2**20:.0f}")


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def soak(artifact: Path, seed: int, n_threads: int, until: float) -> dict[str, Any]:
    """Run rounds until a time on the monotonic clock and return what one process found."""
    subject = Subject(artifact, seed)
    begin, told, warm, known, rounds = time.monotonic(), 0.0, 0, 0, 0
    try:
        while rounds < 2 or time.monotonic() < until:
            subject.run_round(seed * 1_000_003 + rounds, 1 if rounds % 2 == 0 else n_threads)
            rounds += 1
            if not warm and time.monotonic() > begin + (until - begin) / 3:
                warm, known = resident(), subject.scheduler.counters()["history_entries"]
            if time.monotonic() > told + 5:
                told = time.monotonic()
                print(f"{told - begin:6.0f} s  seed {seed}  {rounds} rounds  {subject.calls} calls  "
                      f"{subject.scheduler.counters()}  {resident() / 2**20:.0f} MB", flush=True)  # fmt: skip
        subject.drain()
        end = resident()
        if until - begin > 60:
            _check_memory(warm, end, subject.scheduler.counters()["history_entries"] - known)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the seed to see it again comes with it
        lines = traceback.format_exc().splitlines()
        return {"seed": seed, "violation": str(error) or lines[-1], "round": rounds, "trace": lines[-6:]}
    return {
        "seed": seed,
        "rounds": rounds,
        "calls": subject.calls,
        "refused": subject.twin.refused,
        "dropped": subject.twin.dropped,
        "most_nodes": len(subject.scheduler.fleet.arrays.alive_until),
        "counters": subject.scheduler.counters(),
        "warm_mb": round(warm / 2**20, 1),
        "end_mb": round(end / 2**20, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--processes", type=int, default=2, help="every second one lets history entries go")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the first process; the others count on")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        artifacts = [Path(folder) / "bench-roomy", Path(folder) / "bench-tight"]
        for artifact, capacity in zip(artifacts, (ROOMY, TIGHT), strict=True):
            build(artifact, capacity)
        seeds = range(options.seed, options.seed + options.processes)
        # Warm code first: compiling is no part of the time given.
        soak(artifacts[0], options.seed, options.threads, 0.0)
        until = time.monotonic() + options.seconds
        jobs = [(artifacts[seed % 2], seed, options.threads, until) for seed in seeds]
        with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
            found = pool.starmap(soak, jobs)
    violated = [one for one in found if "violation" in one]
    print(json.dumps({"ok": not violated, "seconds": options.seconds, "threads": options.threads,
                      "load": os.getloadavg(), "processes": found}))  # fmt: skip
    return 1 if violated else 0


if __name__ == "__main__":
    sys.exit(main())
