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

import lightgbm as lgb
import msgspec
import numpy as np

from benchmarks.fleet import ISPS, REGIONS, SPEC
from benchmarks.soak_twin import Event, Twin, ViolationError
from scheduler import FoglineError, Model, Scheduler
from scheduler.artifact import Calibration
from scheduler.columns import id_key
from scheduler.features import compile_features
from scheduler.kernels.history import mix
from scheduler.layout import LIST_CLASS, LIST_SIZE, LIST_START, LISTS_END, TIME_FLOATS
from scheduler.spec import parse_spec, seconds
from training.artifact import write_artifact

ROOMY, TIGHT = 131_072, 256
"""History entries: where all fit so that each can be recomputed, and where most are let go."""

N_IDS, N_LIVE, N_CLIENTS, N_REGIONS = 600, 400, 200, 4
REMEMBER = {ROOMY: 20_000, TIGHT: 2_000}
"""Decisions remembered, by history entries: longer than reservations last, and shorter."""

CALLS_A_ROUND = 3_000
STEP = 0.005
"""Mean seconds between calls on the soak's own clock."""

HEAP_GROWTH = 24 * 2**20
"""Bytes by which a process may differ between warm-up and end, of allocator noise."""


def build(folder: Path, capacity: int) -> None:
    """Write an artifact of the benchmark's spec with small forests, slates of up to three and short holds."""
    spec = parse_spec(SPEC)
    change = msgspec.structs.replace
    spec = change(
        spec,
        history=change(spec.history, capacity=capacity),
        policy=change(spec.policy, max_nodes=3, epsilon=0.2),
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


class NumberedLock:
    """A reentrant lock that numbers its holders: the order in which calls took effect."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._count = 0
        self._mine = threading.local()

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._depth == 0:
            self._count += 1
            self._mine.number = self._count
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        self._lock.release()

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
        self.scheduler = Scheduler(model, seed=seed, remember=remember)
        self.lock = NumberedLock()
        for part in (self.scheduler, self.scheduler.fleet, self.scheduler.fleet.table, self.scheduler.clients):
            vars(part)["_lock"] = self.lock
        self.roomy = spec.history.capacity == ROOMY
        self.hold = seconds(spec.ledger.hold)
        self.twin = Twin(remember=remember, max_nodes=spec.policy.max_nodes, hold=self.hold, with_history=self.roomy)
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
        if self.roomy:
            self._audit_rows()
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
        held = dict.fromkeys(twin.nodes, 0.0)
        for promise in twin.promises.values():
            for place in promise.places:
                node = twin.nodes.get(place.node)
                if node is not None and node.life == place.life:
                    held[place.node] += place.held
        for id_, node in twin.nodes.items():
            slot = table.slot(id_)
            found = [float(arrays[k][slot]) for k in (2, 3, 5, 6)]
            _same(f"node {id_!r}", [node.expires, node.released, node.capacity, node.reserved], found)
            if not math.isclose(held[id_], found[3], abs_tol=1e-6):
                raise ViolationError(f"node {id_!r}: reservations add up to {held[id_]}, found {found[3]}")

    def _audit_index(self) -> None:
        index, live = vars(self.scheduler)["_index"].arrays, self.scheduler.fleet.arrays.expires > -np.inf
        _same("slots in the index", np.flatnonzero(live).tolist(),
              np.flatnonzero((index.held[:, :, 0] >= 0).any(axis=1)).tolist())  # fmt: skip
        lists = index.lists[: index.marks[LISTS_END]]
        listed = int(lists[lists[:, LIST_CLASS] >= 0, LIST_SIZE].sum())
        _same("places in posting lists", int((index.held[:, :, 0] >= 0).sum()), listed)
        slot, tier = np.nonzero(index.held[:, :, 0] >= 0)
        at = index.held[slot, tier]
        _same("slots in posting lists", slot.tolist(), index.arena[lists[at[:, 0], LIST_START] + at[:, 1]].tolist())

    def _audit_rows(self) -> None:
        """Every node's forest row is what its columns and history say today.

        Not so where history lets an entry go: its node's row keeps what it said until the node is next heard of.
        """
        live = self.scheduler.fleet.arrays.expires > -np.inf
        before = self.scheduler.fleet.arrays.rows[live].copy()
        self.scheduler.refresh()
        stale = (before != self.scheduler.fleet.arrays.rows[live]).any(axis=1)
        if stale.any():
            ids = self.scheduler.fleet.table.ids[live][stale]
            raise ViolationError(f"forest rows of {len(ids)} nodes are stale, such as {ids[0]!r}'s")

    def _audit_history(self) -> None:
        history = self.scheduler.history
        place = {key: slot for slot, key in enumerate(history.keys.tolist()) if key}
        for key, expected in self.twin.history.items():
            word = np.uint64({"node": 1, "region_node": 2}[key[0]])
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


class Caller:
    """One thread of random calls."""

    def __init__(self, subject: Subject, rng: random.Random, n_calls: int) -> None:
        self.subject, self.rng, self.n_calls = subject, rng, n_calls
        self.events: list[Event] = []
        self.failure: BaseException | None = None
        self._kinds: list[Callable[[], None]] = [
            self.decide, self.decide_batch, self.observe, self.observe_batch, self.join, self.update, self.remove,
            self.hear, self.quarantine, self.move_clients, self.score, self.blunder,
        ]  # fmt: skip
        self._weights = (34, 6, 30, 6, 6, 6, 3, 5, 1, 1, 1, 1)

    def run(self) -> None:
        try:
            for kind in self.rng.choices(self._kinds, self._weights, k=self.n_calls):
                kind()
        except BaseException as error:  # noqa: BLE001 - handed to whoever started the thread
            self.failure = error

    def call(self, name: str, told: dict[str, Any], function: Callable[[], Any]) -> Any:
        self.subject.lock.forget_mine()
        answer = error = None
        try:
            answer = function()
        except FoglineError as raised:
            error = type(raised).__name__
        self.events.append(Event(self.subject.lock.mine(), name, told, answer, error))
        return answer

    def now(self) -> float:
        now = self.subject.clock.tick(self.rng.expovariate(1 / STEP))
        return now - (0.0 if self.rng.random() < 0.8 else self.rng.uniform(0.0, 5.2))

    def id(self) -> Any:
        """An id that may or may not be in the fleet."""
        if not self.subject.roomy and self.subject.recent and self.rng.random() < 0.9:
            return self.rng.choice(tuple(self.subject.recent))
        n = self.rng.randrange(N_IDS)
        return f"box{n}" if n % 3 == 0 else n

    def live(self, n: int) -> list[Any]:
        """Up to n distinct ids that were in the fleet a moment ago, sometimes one that was not."""
        with self.subject.lock:
            known = list(self.subject.scheduler.fleet.table)
        ids = self.rng.sample(known, min(n, len(known)))
        return list(dict.fromkeys([*ids, self.id()])) if self.rng.random() < 0.05 or not ids else ids

    def demand(self) -> float:
        return self.rng.choice((0.0, 800.0, 2_500.0, 4_000.5, 9_000.1))

    def client(self) -> int:
        return self.rng.randrange(N_CLIENTS + 5)

    def decide(self) -> None:
        candidates = [self.live(self.rng.randint(1, 24))] if self.rng.random() < 0.5 else None
        client, demand, now = self.client(), self.demand(), self.now()
        told = {"clients": [client], "demand": [demand], "candidates": candidates, "now": now}
        request = {"client_id": client, "bitrate_kbps": demand}
        decide, given = self.subject.scheduler.decide, candidates and candidates[0]
        self._keep(self.call("decide", told, lambda: [decide(request, given, now=now)]))

    def decide_batch(self) -> None:
        n, now = self.rng.randint(1, 16), self.now()
        candidates = None
        if self.rng.random() < 0.5:
            pool = self.live(30)
            width = self.rng.randint(1, len(pool))
            candidates = [self.rng.sample(pool, width) for _ in range(n)]
        clients, demand = [self.client() for _ in range(n)], [self.demand() for _ in range(n)]
        told = {"clients": clients, "demand": demand, "candidates": candidates, "now": now}
        requests = {"client_id": clients, "bitrate_kbps": demand}

        def function() -> list[Any]:
            decisions = self.subject.scheduler.decide_batch(requests, candidates, now=now)
            return [decisions.one(i) for i in range(n)]

        self._keep(self.call("decide", told, function))

    def _keep(self, decisions: list[Any] | None) -> None:
        for decision in decisions or ():
            if decision.nodes or self.rng.random() < 0.1:
                self.subject.made.append((decision.id, decision.nodes))

    def _some_decision(self) -> tuple[int, tuple[Any, ...]]:
        chance = self.rng.random()
        try:
            if chance < 0.60:  # the oldest still waiting, then never again
                return self.subject.made.popleft()
            if chance < 0.94:
                return self.subject.made.pop()
            return self.rng.choice(tuple(self.subject.made))  # answered twice, later
        except (IndexError, RuntimeError):  # nothing there, or another thread was changing it
            return self.rng.choice((-1, 10**9)), ()

    def observe(self) -> None:
        id_, slate = self._some_decision()
        if len(slate) > 1 and self.rng.random() < 0.9:
            for node in self.rng.sample(slate, self.rng.randint(1, len(slate))):
                self.report([id_], [node], self.now())
            return
        node = None if self.rng.random() < 0.9 else [self.rng.choice(slate) if slate else self.id()]
        self.report([id_], node, self.now())

    def observe_batch(self) -> None:
        picked = [self._some_decision() for _ in range(self.rng.randint(1, 12))]
        if self.rng.random() < 0.8:
            picked = list(dict((id_, (id_, slate)) for id_, slate in picked if slate).values())  # noqa: C402
        nodes = [self.rng.choice(slate) if slate else 0 for _, slate in picked]
        self.report([id_ for id_, _ in picked], nodes, self.now())

    def report(self, decisions: list[int], nodes: list[Any] | None, now: float) -> None:
        ok = [self.rng.random() < 0.9 for _ in decisions]
        latency = [self.rng.uniform(5, 500) if good or self.rng.random() < 0.5 else math.nan for good in ok]
        told = {"decisions": decisions, "nodes": nodes, "ok": ok, "latency_ms": latency, "now": now}
        sched = self.subject.scheduler
        if len(decisions) == 1 and self.rng.random() < 0.5:
            one, node = {"ok": ok[0], "latency_ms": latency[0]}, None if nodes is None else nodes[0]
            self.call("observe", told, lambda: sched.observe(decisions[0], one, now=now, node=node))
            return
        many = {"ok": np.array(ok, bool), "latency_ms": np.array(latency, float)}
        self.call("observe", told, lambda: sched.observe_batch(decisions, many, now=now, nodes=nodes))

    def _columns(self, n: int) -> dict[str, Any]:
        ints = self.rng.randrange
        return {
            "isp": [ints(ISPS) for _ in range(n)],
            "region": [ints(N_REGIONS) for _ in range(n)],
            "lat": [self.rng.uniform(20, 50) for _ in range(n)],
            "lon": [self.rng.uniform(75, 125) for _ in range(n)],
        }

    def _upsert(self, ids: list[Any], columns: dict[str, Any], expires: float | None) -> None:
        told = {"ids": ids, "capacity": columns.get("uplink_kbps"), "expires": expires}
        upsert = self.subject.scheduler.fleet.upsert
        self.call("upsert", told, lambda: upsert(ids, columns, expires=expires))

    def join(self) -> None:
        short = max(N_LIVE - len(self.subject.scheduler.fleet), 1)
        n = self.rng.randint(1, min(short, 30))
        if self.subject.roomy:
            ids = list(dict.fromkeys(self.id() for _ in range(n)))
        else:  # always new ones, so that history has to let old ones go
            ids = [next(self.subject.fresh) for _ in range(n)]
            self.subject.recent.extend(ids)
        uplink = [float(self.rng.randrange(0, 20_000)) for _ in ids]
        expires = None if self.rng.random() < 0.3 else self.subject.clock.tick(0.0) + self.rng.uniform(1, 60)
        self._upsert(ids, self._columns(len(ids)) | {"uplink_kbps": uplink}, expires)

    def update(self) -> None:
        with self.subject.lock:
            known = list(self.subject.scheduler.fleet.table)
        ids = self.rng.sample(known, min(self.rng.randint(1, 20), len(known)))
        columns: dict[str, Any] = {"load": [self.rng.random() for _ in ids]}
        if self.rng.random() < 0.3:
            columns["uplink_kbps"] = [float(self.rng.randrange(0, 20_000)) for _ in ids]
        if self.rng.random() < 0.3:
            columns |= self._columns(len(ids))
        # Gone since they were listed, they join again with what is given: then they need an uplink.
        self._upsert(ids, columns, None)

    def remove(self) -> None:
        too_many = len(self.subject.scheduler.fleet) - N_LIVE
        ids = self.live(self.rng.randint(1, max(too_many, 8)))
        self.call("remove", {"ids": ids}, lambda: self.subject.scheduler.fleet.remove(ids))

    def hear(self) -> None:
        ids, expires = self.live(60), self.subject.clock.tick(0.0) + self.rng.uniform(10, 60)
        self.call("heard", {"ids": ids, "expires": expires},
                  lambda: self.subject.scheduler.fleet.heard(ids, expires=expires))  # fmt: skip

    def quarantine(self) -> None:
        ids, until = self.live(10), self.subject.clock.tick(0.0) + self.rng.uniform(0, 20)
        self.call("quarantine", {"ids": ids, "until": until},
                  lambda: self.subject.scheduler.fleet.quarantine(ids, until=until))  # fmt: skip

    def move_clients(self) -> None:
        ids = self.rng.sample(range(N_CLIENTS), 10)
        columns = self._columns(10)
        self.call("clients", {"ids": ids, "regions": columns["region"]},
                  lambda: self.subject.scheduler.clients.upsert(ids, columns))  # fmt: skip

    def score(self) -> None:
        candidates, now = [self.live(10)] * 2, self.now()
        told, requests = {"candidates": candidates, "now": now}, {"client_id": [self.client(), self.client()]}
        self.call("score", told, lambda: self.subject.scheduler.score(requests, candidates, now=now))

    def blunder(self) -> None:
        """A call that must be refused and change nothing."""
        sched, nan = self.subject.scheduler, math.nan
        ids = self.live(3)
        kind = self.rng.randrange(3)
        if kind == 0:
            told = {"clients": [1], "demand": [1.0], "candidates": None, "now": nan}
            self.call("decide", told, lambda: sched.decide({"client_id": 1, "bitrate_kbps": 1.0}, now=nan))
        elif kind == 1:
            self._upsert(ids * 2, {}, None)
        else:
            self._upsert(ids, {"uplink_kbps": [1.0] * (len(ids) + 1)}, None)


def _same(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise ViolationError(f"{what}: expected {expected}, found {found}")


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def soak(artifact: Path, seed: int, n_threads: int, until: float) -> dict[str, Any]:
    """Run rounds until a time on the monotonic clock and return what one process found."""
    subject = Subject(artifact, seed)
    begin, told, warm, rounds = time.monotonic(), 0.0, 0, 0
    try:
        while rounds < 2 or time.monotonic() < until:
            subject.run_round(seed * 1_000_003 + rounds, 1 if rounds % 2 == 0 else n_threads)
            rounds += 1
            if not warm and time.monotonic() > begin + (until - begin) / 3:
                warm = resident()
            if time.monotonic() > told + 5:
                told = time.monotonic()
                print(f"{told - begin:6.0f} s  seed {seed}  {rounds} rounds  {subject.calls} calls  "
                      f"{subject.scheduler.counters()}  {resident() / 2**20:.0f} MB", flush=True)  # fmt: skip
        subject.drain()
        end = resident()
        if until - begin > 60 and end - warm > HEAP_GROWTH:
            raise ViolationError(f"memory: expected {warm / 2**20:.0f} MB as after warm-up, found {end / 2**20:.0f}")
    except BaseException as error:  # noqa: BLE001 - whatever it is, the seed to see it again comes with it
        lines = traceback.format_exc().splitlines()
        return {"seed": seed, "violation": str(error) or lines[-1], "round": rounds, "trace": lines[-6:]}
    return {
        "seed": seed,
        "rounds": rounds,
        "calls": subject.calls,
        "refused": subject.twin.refused,
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
