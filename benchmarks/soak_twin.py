"""The slow model of the soak: plain dicts and loops that say what every call must have answered.

It knows nothing of scores. Whatever does not depend on them, it predicts exactly: ids, errors, who may serve, what is
reserved, what expires, what history holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

HALF_LIVES = (1_200.0, 21_600.0)


class ViolationError(AssertionError):
    """The scheduler did what it must not do."""


class Event(NamedTuple):
    """One call: when it took effect, what it was told, what it answered or which error it raised."""

    at: int
    call: str
    told: dict[str, Any]
    answer: Any
    error: str | None


@dataclass
class Node:
    life: int
    capacity: float = 0.0
    reserved: float = 0.0
    alive_until: float = math.inf
    quarantined_until: float = -math.inf
    places: dict[str, int] = field(default_factory=dict)


@dataclass
class Place:
    """One node of a slate."""

    node: Any
    life: int
    held: float
    is_open: bool = True


@dataclass
class Promise:
    time: float
    region: int | None
    places: list[Place]
    spares: list[Place]


@dataclass
class Statistics:
    """One history entry: time, last values, and (weight, mean, squares) of each value and half-life."""

    seen: float
    last: list[float] = field(default_factory=lambda: [0.0, 0.0])
    sums: list[list[float]] = field(default_factory=lambda: [[0.0, 0.0, 0.0] for _ in range(4)])

    def learn(self, values: list[float], now: float) -> None:
        elapsed, self.seen = max(now - self.seen, 0.0), max(now, self.seen)
        for v, x in enumerate(values):
            for h, half_life in enumerate(HALF_LIVES):
                sums = self.sums[2 * v + h]
                fade = 2.0 ** (-elapsed / half_life)
                sums[0] *= fade
                sums[2] *= fade
                if not math.isnan(x):
                    sums[0] += 1.0
                    step = x - sums[1]
                    sums[1] += step / sums[0]
                    sums[2] += step * (x - sums[1])
            if not math.isnan(x):
                self.last[v] = x


def tracked(ok: bool, latency_ms: float) -> list[float]:  # noqa: FBT001
    return [float(not ok), float(np.float32(math.log1p(float(np.float32(latency_ms)))))]


class Twin:
    """State after a list of calls, and the checks on the way.

    Parameters
    ----------
    remember, max_nodes, hold, spread
        As the scheduler under test has them.
    with_history
        Whether history is recomputed too; not where entries are let go.
    """

    def __init__(
        self, *, remember: int, max_nodes: int, hold: float, spread: dict[str, int], with_history: bool
    ) -> None:
        self.remember, self.max_nodes, self.hold, self.with_history = remember, max_nodes, hold, with_history
        self.spread = spread
        self.nodes: dict[Any, Node] = {}
        self.clients: dict[int, int] = {}
        self.promises: dict[int, Promise] = {}
        self.history: dict[tuple[Any, ...], Statistics] = {}
        self.next_id = self.next_hold = self.lives = 0
        self.latest = -math.inf
        self.unwanted: tuple[list[Any], dict[str, list[int]]] = [], {}
        self.outcomes = self.expired = self.forgotten = 0
        self.refused: dict[str, int] = {}
        self.dropped: dict[str, int] = {}

    def apply(self, event: Event) -> None:
        expected = getattr(self, f"_{event.call}_error")(**event.told)
        if expected != event.error:
            raise ViolationError(f"{event.call} {event.told}: expected error {expected}, found {event.error}")
        if expected is None:
            has_answer = event.answer is not None and event.answer != []  # no rows were left out
            answer = {"answer": event.answer} if has_answer else {}
            getattr(self, f"_{event.call}")(**event.told, **answer)
        else:
            self.refused[expected] = self.refused.get(expected, 0) + 1

    # Nodes and clients

    def _upsert_error(self, ids: list[Any], capacity: list[float] | None, **_: Any) -> str | None:
        wrong = len(set(ids)) < len(ids) or (capacity is not None and len(capacity) != len(ids))
        return "InputError" if wrong else None

    def _upsert(
        self, ids: list[Any], capacity: list[float] | None, alive_until: float | None, places: dict[str, list[int]]
    ) -> None:
        for i, id_ in enumerate(ids):
            if id_ not in self.nodes:
                self.lives += 1
                self.nodes[id_] = Node(self.lives)
            if capacity is not None:
                self.nodes[id_].capacity = capacity[i]
            if alive_until is not None:
                self.nodes[id_].alive_until = alive_until
            self.nodes[id_].places |= {name: values[i] for name, values in places.items()}

    def _unknown(self, ids: list[Any], **_: Any) -> str | None:
        return None if all(id_ in self.nodes for id_ in ids) else "UnknownNodeError"

    _remove_error = _heartbeat_error = _quarantine_error = _unknown

    def _remove(self, ids: list[Any]) -> None:
        for id_ in ids:
            del self.nodes[id_]

    def _heartbeat(self, ids: list[Any], alive_until: float) -> None:
        for id_ in ids:
            before = self.nodes[id_].alive_until
            self.nodes[id_].alive_until = alive_until if before == math.inf else max(before, alive_until)

    def _quarantine(self, ids: list[Any], until: float) -> None:
        for id_ in ids:
            self.nodes[id_].quarantined_until = until

    def _clients_error(self, **_: Any) -> None:
        return None

    def _clients(self, ids: list[int], regions: list[int], **_: Any) -> None:
        self.clients.update(zip(ids, regions, strict=True))

    def _score_error(self, candidates: list[list[Any]], now: float, **_: Any) -> str | None:
        return "InputError" if not math.isfinite(now) else self._unknown(sum(candidates, []))  # noqa: RUF017

    def _score(self, candidates: list[list[Any]], answer: dict[str, Any], **_: Any) -> None:
        for values in answer.values():
            if values.shape != (len(candidates), len(candidates[0])) or not np.isfinite(values).all():
                raise ViolationError(f"score: expected finite values, found {values}")

    # Decisions

    def _decide_error(
        self, candidates: list[list[Any]] | None, now: float, unwanted: list[tuple[list[Any], dict[str, Any]]], **_: Any
    ) -> str | None:
        if not math.isfinite(now) or any(name not in self.spread for _, block in unwanted for name in block):
            return "InputError"
        return self._unknown(sum(candidates, [])) if candidates is not None else None  # noqa: RUF017

    def _decide(
        self,
        clients: list[int],
        demand: list[float],
        candidates: list[list[Any]] | None,
        now: float,
        unwanted: list[tuple[list[Any], dict[str, list[int]]]],
        answer: list[Any],
    ) -> None:
        self.latest = max(self.latest, now)
        self._expire(now)
        for i, decision in enumerate(answer):
            self.unwanted = unwanted[i]
            self._check_decision(decision, demand[i], None if candidates is None else candidates[i], now)
            self._check_slate(decision, demand[i], now)
            self._forget()
            places, left = [], demand[i]
            for id_ in decision.nodes:
                node = self.nodes[id_]
                held = min(left, node.capacity - node.reserved) if demand[i] > 0 else 0.0
                places.append(Place(id_, node.life, held))
                if held > 0.0:
                    node.reserved += held
                    left -= held
                if demand[i] > 0.0 and node.reserved > node.capacity:
                    raise ViolationError(f"node {id_!r}: {node.reserved} kbit/s promised of {node.capacity}")
            if decision.nodes and left > 0.0 and demand[i] > 0.0:
                raise ViolationError(f"decision {decision.id}: {left} of {demand[i]} kbit/s not covered")
            spares = [Place(id_, self.nodes[id_].life, 0.0) for id_ in decision.alternatives]
            self.promises[self.next_id] = Promise(now, self.clients.get(clients[i]), places, spares)
            self.next_id += 1

    def _check_decision(self, decision: Any, demand: float, candidates: list[Any] | None, now: float) -> None:
        if decision.id != self.next_id:
            raise ViolationError(f"decision: expected id {self.next_id}, found {decision.id}")
        slate = decision.nodes
        if len(set(slate)) != len(slate) or len(slate) > self.max_nodes or not 0.0 < decision.propensity <= 1.0:
            raise ViolationError(f"decision {decision}: no such slate or propensity")
        for reason, n in decision.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + n
        strange = [id_ for id_ in slate if id_ not in self.nodes or (candidates is not None and id_ not in candidates)]
        refused = [id_ for id_ in slate if id_ in self.nodes and self._refusal(id_, demand, now)]
        if strange or refused:
            raise ViolationError(f"decision {decision.id}: {strange} are no candidates, {refused} may not serve")
        if bool(slate) == decision.reason.startswith("origin"):
            raise ViolationError(f"decision {decision.id}: {decision.reason} with {slate}")
        if candidates is not None:
            self._check_drops(decision, demand, candidates, now)

    def _check_slate(self, decision: Any, demand: float, now: float) -> None:
        for column, most in self.spread.items():
            values = [self.nodes[id_].places.get(column) for id_ in decision.nodes]
            if any(value is not None and values.count(value) > most for value in values) and len(values) > 1:
                raise ViolationError(f"decision {decision.id}: {column} {values} of more than {most} nodes")
        spares = list(decision.alternatives)
        wrong = [id_ for id_ in spares if id_ in decision.nodes or self._refusal(id_, demand, now)]
        order = [scores["utility"] for scores in decision.alternatives.values()]
        if wrong or order != sorted(order, reverse=True) or (spares and not decision.nodes):
            raise ViolationError(f"decision {decision.id}: {decision.alternatives} are no alternatives")

    def _check_drops(self, decision: Any, demand: float, candidates: list[Any], now: float) -> None:
        reasons = [self._refusal(id_, demand, now) for id_ in candidates]
        dropped = {reason: reasons.count(reason) for reason in reasons if reason}
        if dropped != {reason: n for reason, n in decision.dropped.items() if reason != "spread"}:
            raise ViolationError(f"decision {decision.id}: expected {dropped} dropped, found {decision.dropped}")
        able = [self.nodes[id_] for id_, reason in zip(candidates, reasons, strict=True) if reason is None]
        alone = any(node.capacity - node.reserved >= demand for node in able)
        if alone and not decision.nodes:
            raise ViolationError(f"decision {decision.id}: a node has room, found {decision.reason}")

    def _refusal(self, id_: Any, demand: float, now: float) -> str | None:
        node = self.nodes[id_]
        if now >= node.alive_until:
            return "silent"
        if now < node.quarantined_until:
            return "quarantined"
        if demand > 0.0 and not node.capacity > node.reserved:
            return "full"
        exclude, block = self.unwanted
        is_blocked = id_ in exclude or any(node.places.get(column) in values for column, values in block.items())
        return "blocked" if is_blocked else None

    def _expire(self, now: float) -> None:
        while self.next_hold < self.next_id:
            promise = self.promises[self.next_hold]
            if promise.time + self.hold > now:
                return
            for place in promise.places:
                self.expired += self._give_back(place)
            self.next_hold += 1

    def _give_back(self, place: Place) -> bool:
        held, place.held = place.held, 0.0
        node = self.nodes.get(place.node)
        if held > 0.0 and node is not None and node.life == place.life:
            node.reserved = max(node.reserved - held, 0.0)
        return held > 0.0

    def _forget(self) -> None:
        old = self.promises.pop(self.next_id - self.remember, None)
        for place in old.places if old else ():
            self._give_back(place)
            self.forgotten += place.is_open
        self.next_hold = max(self.next_hold, self.next_id - self.remember + 1)

    # Outcomes

    def _observe_error(self, decisions: list[int], nodes: list[Any] | None, now: float, **_: Any) -> str | None:
        if not math.isfinite(now):
            return "InputError"
        seen: set[int] = set()
        found = (self._row_error(id_, None if nodes is None else nodes[i], seen) for i, id_ in enumerate(decisions))
        return next((error for error in found if error), None)

    def _row_error(self, decision: int, node: Any, seen: set[int]) -> str | None:
        promise = self.promises.get(decision)
        if promise is None or not promise.places:
            return "UnknownDecisionError"
        if node is None and len(promise.places) > 1:
            return "InputError"
        if node is not None and node not in [place.node for place in (*promise.places, *promise.spares)]:
            return "UnknownDecisionError"
        place = self._place(decision, node)
        if not place.is_open or id(place) in seen:
            return "DuplicateOutcomeError"
        seen.add(id(place))
        return None

    def _place(self, decision: int, node: Any) -> Place:
        promise = self.promises[decision]
        if node is None:
            return promise.places[0]
        return next(place for place in (*promise.places, *promise.spares) if place.node == node)

    def _observe(
        self,
        decisions: list[int],
        nodes: list[Any] | None,
        ok: list[bool],
        latency_ms: list[float],
        now: float,
    ) -> None:
        self.latest = max(self.latest, now) if decisions else self.latest  # nothing arrived then
        for i, id_ in enumerate(decisions):
            place = self._place(id_, None if nodes is None else nodes[i])
            self._give_back(place)
            place.is_open = False
            self.outcomes += 1
            if self.with_history:
                values, region = tracked(ok[i], latency_ms[i]), self.promises[id_].region
                self._learn(("node", place.node), values, now)
                if region is not None:
                    self._learn(("region_node", region, place.node), values, now)

    def _learn(self, key: tuple[Any, ...], values: list[float], now: float) -> None:
        self.history.setdefault(key, Statistics(now)).learn(values, now)
