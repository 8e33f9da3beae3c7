"""Plain twins of history and features: dicts, floats and the words of a spec file, no code of the library."""

import datetime as dt
import math
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

import numpy as np

NAN = float("nan")
F32 = np.float32


def seconds(text: str) -> float:
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[text[-1]]
    return dt.timedelta(**{unit: float(text[:-1])}).total_seconds()


class Entry:
    """What is known under one key, each number rounded to float32 as it is stored."""

    def __init__(self, n_values: int, n_half_lives: int, now: float) -> None:
        self.seen = now
        self.last = [NAN] * n_values
        self.weight = [[F32(0)] * n_half_lives for _ in range(n_values)]
        self.mean = [[F32(0)] * n_half_lives for _ in range(n_values)]
        self.squares = [[F32(0)] * n_half_lives for _ in range(n_values)]

    def update(self, values: list[float], rates: list[float], now: float) -> None:
        elapsed = max(now - self.seen, 0.0)
        self.seen = max(now, self.seen)
        for v, x in enumerate(values):
            for h, rate in enumerate(rates):
                fade = math.exp2(-elapsed * rate) if elapsed > 0 else 1.0
                weight = float(self.weight[v][h]) * fade
                squares = float(self.squares[v][h]) * fade
                if not math.isnan(x):
                    mean = float(self.mean[v][h])
                    weight += 1.0
                    step = x - mean
                    mean += step / weight
                    self.mean[v][h] = F32(mean)
                    squares = min(max(squares + step * (x - mean), 0.0), float(np.finfo(F32).max))
                self.weight[v][h] = F32(weight)
                self.squares[v][h] = F32(squares)
            if not math.isnan(x):
                self.last[v] = float(F32(x))


class History:
    """Entries by key: a name and the raw ids and categories it is made of."""

    def __init__(self, spec: Mapping) -> None:
        self.values = spec["history"]["values"]
        self.half_lives = spec["history"]["half_lives"]
        self.rates = [1.0 / seconds(h) for h in self.half_lives]
        self.keys = spec["history"]["keys"]
        self.entries: dict[Hashable, Entry] = {}

    def key(self, name: str, request: Mapping, node: Mapping) -> Hashable:
        parts = []
        for part in self.keys[name]:
            side, _, column = part.partition(".")
            owner = request if side in ("client", "request") else node
            parts.append(owner.get(column or "id"))
        return None if any(part is None for part in parts) else (name, *map(repr, parts))

    def learn(self, request: Mapping, node: Mapping, values: list[float], now: float) -> None:
        for name in self.keys:
            key = self.key(name, request, node)
            if key is not None:
                new = Entry(len(self.values), len(self.half_lives), now)
                self.entries.setdefault(key, new).update(values, self.rates, now)

    def statistic(self, feature: Mapping, request: Mapping, node: Mapping, now: float) -> float:
        entry = self.entries.get(self.key(feature["key"], request, node))
        if entry is None:
            return NAN
        elapsed = max(now - entry.seen, 0.0)
        if feature["stat"] == "age":
            return elapsed
        v = self.values.index(feature["value"])
        if feature["stat"] == "last":
            slowest = max(range(len(self.rates)), key=lambda h: -self.rates[h])
            return entry.last[v] if entry.weight[v][slowest] > 0 else NAN
        h = self.half_lives.index(feature["half_life"])
        weight = float(entry.weight[v][h])
        if feature["stat"] == "count":
            return weight * math.exp2(-elapsed * self.rates[h])
        if weight == 0:
            return NAN
        return float(entry.mean[v][h]) if feature["stat"] == "mean" else float(entry.squares[v][h]) / weight


class Asked(NamedTuple):
    """One request for one node at one moment, and what was known then; columns as dicts of raw values."""

    request: Mapping
    node: Mapping
    history: History
    now: float


def feature(spec: Mapping, one: Mapping, asked: Asked, codes: Callable) -> float:
    """One feature of raw columns, in float64."""
    op = one["op"]
    if op == "clock":
        return asked.now * (1.0 / seconds(one["period"])) % 1.0
    if op == "history":
        return asked.history.statistic(one, asked.request, asked.node, asked.now)
    if op in ("request", "node"):
        side = asked.request if op == "request" else asked.node
        if spec[op][one["column"]].get("type") == "category":
            return codes(f"{op}.{one['column']}", side.get(one["column"]))
        return number(side, one["column"])
    return pair(one, asked.request, asked.node)


def pair(one: Mapping, request: Mapping, node: Mapping) -> float:
    left, right = one["request"], one["node"]
    if one["op"] == "difference":
        return abs(number(request, left) - number(node, right))
    if one["op"] == "distance":
        return great_circle(*(number(request, name) for name in left), *(number(node, name) for name in right))
    if request.get(left) is None or node.get(right) is None:
        return NAN
    if one["op"] == "equal":
        return float(repr(request[left]) == repr(node[right]))
    total = 0.0
    for a, b in zip(request[left], node[right], strict=True):
        total += a * b
    return total


def number(side: Mapping, name: str) -> float:
    return NAN if side.get(name) is None else float(side[name])


def great_circle(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    if any(map(math.isnan, (lat_a, lon_a, lat_b, lon_b))):
        return NAN
    north = math.sin(math.radians(lat_b - lat_a) / 2)
    east = math.sin(math.radians(lon_b - lon_a) / 2)
    h = north**2 + math.cos(math.radians(lat_a)) * math.cos(math.radians(lat_b)) * east**2
    return 2 * 6371.0088 * math.asin(math.sqrt(min(h, 1.0)))


def codes_of(vocabulary: Mapping):
    """Codes of raw categories: their place in the vocabulary, NaN for those it lacks."""

    def code(name: str, value: Hashable) -> float:
        known = [repr(v) for v in vocabulary.get(name, ())]
        return float(known.index(repr(value))) if value is not None and repr(value) in known else NAN

    return code


def row(spec: Mapping, asked: Asked, codes: Callable) -> np.ndarray:
    """A whole feature row as float32."""
    values = [feature(spec, one, asked, codes) for one in spec["features"].values()]
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype(F32)
