"""Random calls of the soak, each recorded with its answer and its place in the order of effects."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.fleet import ISPS
from benchmarks.soak_twin import Event
from scheduler import FoglineError
from scheduler.runtime.parts import PART

if TYPE_CHECKING:
    from benchmarks.soak import Subject

N_IDS, N_LIVE, N_CLIENTS, N_REGIONS = 600, 400, 200, 4

SURGE = 6_000
"""Nodes that sometimes join at once, at most: so many that columns, ids and posting lists all grow."""

STEP = 0.005
"""Mean seconds between calls on the soak's own clock."""


class Caller:
    """One thread of random calls."""

    def __init__(self, subject: Subject, rng: random.Random, n_calls: int) -> None:
        self.subject, self.rng, self.n_calls = subject, rng, n_calls
        self.events: list[Event] = []
        self.failure: BaseException | None = None
        self._kinds: list[Callable[[], None]] = [
            self.decide, self.decide_batch, self.observe, self.observe_batch, self.join, self.update, self.remove,
            self.hear, self.quarantine, self.move_clients, self.score, self.blunder, self.surge,
        ]  # fmt: skip
        self._weights = (34, 6, 30, 6, 6, 6, 3, 5, 1, 1, 1, 1, 0.05)

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
        known = list(self.subject.scheduler.fleet.table)
        ids = self.rng.sample(known, min(n, len(known)))
        return list(dict.fromkeys([*ids, self.id()])) if self.rng.random() < 0.05 or not ids else ids

    def demand(self) -> float:
        return self.rng.choice((0.0, 800.0, 2_500.0, 4_000.5, 9_000.1))

    def client(self) -> int:
        return self.rng.randrange(N_CLIENTS + 5)

    def unwanted(self) -> tuple[list[Any] | None, dict[str, list[int]] | None]:
        """What a request excludes and blocks."""
        exclude = [self.id() for _ in range(self.rng.randint(0, 4))] if self.rng.random() < 0.3 else None
        column, n = self.rng.choice((("isp", ISPS), ("region", N_REGIONS)))
        values = self.rng.choices(range(n + 1), k=self.rng.randint(0, 2))
        return exclude, {column: values} if self.rng.random() < 0.3 else None

    def decide(self) -> None:
        candidates = [self.live(self.rng.randint(1, 24))] if self.rng.random() < 0.5 else None
        client, demand, now = self.client(), self.demand(), self.now()
        exclude, block = self.unwanted()
        told = {"clients": [client], "demand": [demand], "candidates": candidates, "now": now,
                "unwanted": [(exclude or [], block or {})]}  # fmt: skip
        request = {"client_id": client, "bitrate_kbps": demand}
        decide, given = self.subject.scheduler.decide, candidates and candidates[0]
        self._keep(self.call("decide", told, lambda: [
            decide(request, given, now=now, exclude=exclude, block=block)
        ]))  # fmt: skip

    def decide_batch(self) -> None:
        n, now = self.rng.randint(1, 16), self.now()
        candidates = None
        if self.rng.random() < 0.5:
            pool = self.live(30)
            width = self.rng.randint(1, len(pool))
            candidates = [self.rng.sample(pool, width) for _ in range(n)]
        clients, demand = [self.client() for _ in range(n)], [self.demand() for _ in range(n)]
        exclude = [self.unwanted()[0] for _ in range(n)] if self.rng.random() < 0.5 else None
        isps = [self.rng.choices(range(ISPS), k=self.rng.randint(0, 2)) for _ in range(n)]
        block = {"isp": isps} if self.rng.random() < 0.5 else None
        told = {"clients": clients, "demand": demand, "candidates": candidates, "now": now,
                "unwanted": [((exclude and exclude[i]) or [], {"isp": isps[i]} if block else {})
                             for i in range(n)]}  # fmt: skip
        requests = {"client_id": clients, "bitrate_kbps": demand}

        def function() -> list[Any]:
            decisions = self.subject.scheduler.decide_batch(requests, candidates, now=now, exclude=exclude, block=block)
            return [decisions.one(i) for i in range(n)]

        self._keep(self.call("decide", told, function))

    def _keep(self, decisions: list[Any] | None) -> None:
        for decision in decisions or ():
            if decision.nodes or self.rng.random() < 0.1:
                self.subject.made.append((decision.id, decision.nodes))
            if decision.alternatives and self.rng.random() < 0.05:  # one of them served
                self.report([decision.id], [self.rng.choice(list(decision.alternatives))], self.now())

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

    def _upsert(self, ids: list[Any], columns: dict[str, Any], alive_until: float | None) -> None:
        told = {"ids": ids, "capacity": columns.get("uplink_kbps"), "alive_until": alive_until,
                "places": {name: columns[name] for name in ("isp", "region") if name in columns}}  # fmt: skip
        upsert = self.subject.scheduler.fleet.upsert
        self.call("upsert", told, lambda: upsert(ids, columns, alive_until=alive_until))

    def join(self) -> None:
        short = max(N_LIVE - len(self.subject.scheduler.fleet), 1)
        n = self.rng.randint(1, min(short, 30))
        if self.subject.roomy:
            ids = list(dict.fromkeys(self.id() for _ in range(n)))
        else:  # always new ones, so that history has to let old ones go
            ids = [next(self.subject.fresh) for _ in range(n)]
            self.subject.recent.extend(ids)
        uplink = [float(self.rng.randrange(0, 20_000)) for _ in ids]
        alive_until = None if self.rng.random() < 0.3 else self.subject.clock.tick(0.0) + self.rng.uniform(1, 60)
        self._upsert(ids, self._columns(len(ids)) | {"uplink_kbps": uplink}, alive_until)

    def surge(self) -> None:
        """Thousands join, as many a call as take effect at once, and leave in the next removals."""
        alive_until = self.subject.clock.tick(0.0) + self.rng.uniform(1, 60)
        for _ in range(self.rng.randint(SURGE // 2, SURGE) // PART):
            ids = [next(self.subject.fresh) for _ in range(PART)]
            uplink = [float(self.rng.randrange(0, 20_000)) for _ in ids]
            self._upsert(ids, self._columns(PART) | {"uplink_kbps": uplink}, alive_until)

    def update(self) -> None:
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
        ids = self.live(self.rng.randint(1, min(max(too_many, 8), PART - 1)))
        self.call("remove", {"ids": ids}, lambda: self.subject.scheduler.fleet.remove(ids))

    def hear(self) -> None:
        ids, alive_until = self.live(60), self.subject.clock.tick(0.0) + self.rng.uniform(10, 60)
        self.call("heartbeat", {"ids": ids, "alive_until": alive_until},
                  lambda: self.subject.scheduler.fleet.heartbeat(ids, alive_until=alive_until))  # fmt: skip

    def quarantine(self) -> None:
        ids, until = self.live(10), self.subject.clock.tick(0.0) + self.rng.uniform(0, 20)
        self.call("quarantine", {"ids": ids, "until": until},
                  lambda: self.subject.scheduler.fleet.quarantine(ids, until=until))  # fmt: skip

    def move_clients(self) -> None:
        ids = self.rng.sample(range(N_CLIENTS), 10)
        columns = self._columns(10)

        def move() -> None:
            self.subject.scheduler.clients.upsert(ids, columns)

        self.call("clients", {"ids": ids, "regions": columns["region"]}, move)

    def score(self) -> None:
        candidates, now = [self.live(10)] * 2, self.now()
        told, requests = {"candidates": candidates, "now": now}, {"client_id": [self.client(), self.client()]}
        self.call("score", told, lambda: self.subject.scheduler.score(requests, candidates, now=now))

    def blunder(self) -> None:
        """A call that must be refused and change nothing."""
        sched, nan = self.subject.scheduler, math.nan
        ids = self.live(3)
        kind = self.rng.randrange(4)
        told = {"clients": [1], "demand": [1.0], "candidates": None, "unwanted": [([], {})]}
        if kind == 0:
            told |= {"now": nan}
            self.call("decide", told, lambda: sched.decide({"client_id": 1, "bitrate_kbps": 1.0}, now=nan))
        elif kind == 1:
            self._upsert(ids * 2, {}, None)
        elif kind == 2:
            told |= {"now": self.now(), "unwanted": [([], {"color": [1]})]}
            self.call("decide", told, lambda: sched.decide({"client_id": 1}, now=told["now"], block={"color": [1]}))
        else:
            self._upsert(ids, {"uplink_kbps": [1.0] * (len(ids) + 1)}, None)
