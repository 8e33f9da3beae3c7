"""Plain twins of history and features: dicts, floats and the words of a spec file, no code of the library."""

import datetime as dt
import hashlib
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


def mixed(a: int, b: int) -> int:
    z = (a ^ (b + 0x9E3779B97F4A7C15 + (a << 6) + (a >> 2)) % 2**64) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def word(part: int | str) -> int:
    """The 64 bits an id or category is hashed to."""
    if isinstance(part, str):
        return int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little")
    message = part.to_bytes(9, "little", signed=True)
    return int.from_bytes(hashlib.blake2s(message, digest_size=8, person=b"integer").digest(), "little")


class Someone:
    """A client or node of a factor model, each number rounded to float32 as it is stored."""

    def __init__(self, key: int, rank: int, variance: float, now: float) -> None:
        self.seen = now
        self.slow, self.fast, self.slow_variance, self.fast_variance, self.vector_variance = 0.0, 0.0, 0.5, 0.02, 0.3
        self.vector, draw = [], key
        for _ in range(rank):
            draw = mixed(draw, key)
            self.vector.append(0.2 * math.sqrt(math.sqrt(variance)) * ((draw >> 11) / 2**52 - 1))
        self.round()

    def round(self) -> None:
        for name in ("slow", "fast", "slow_variance", "fast_variance", "vector_variance"):
            setattr(self, name, float(F32(getattr(self, name))))
        self.vector = [float(F32(x)) for x in self.vector]

    def fade(self, model: Mapping, now: float) -> float:
        return math.exp2(-max(now - self.seen, 0.0) * (1.0 / seconds(model.get("half_life", "1h"))))

    def bias(self, model: Mapping, now: float) -> float:
        return self.slow + self.fast * self.fade(model, now)

    def visit(self, model: Mapping, now: float) -> None:
        fade = self.fade(model, now)
        forgotten = max(now - self.seen, 0.0) * (1.0 / seconds(model.get("memory", "4d")))
        self.fast *= fade
        self.fast_variance = 0.02 + (self.fast_variance - 0.02) * fade * fade
        self.slow_variance = min(self.slow_variance + forgotten * 0.5, 0.5)
        self.vector_variance = min(self.vector_variance + forgotten * 0.3, 0.3)
        self.seen = max(now, self.seen)
        self.round()

    def settle(self, other: list[float], share: float, step: float, total: float, deviation: float) -> None:
        towards = [p + self.vector_variance * q * step / deviation for p, q in zip(self.vector, other, strict=True)]
        self.vector = towards
        self.slow += self.slow_variance * step
        self.fast += self.fast_variance * step
        self.slow_variance *= 1.0 - self.slow_variance / total
        self.fast_variance *= 1.0 - self.fast_variance / total
        self.vector_variance *= 1.0 - share / total / len(other)
        self.round()


def inner(a: list[float], b: list[float]) -> float:
    total = 0.0
    for x, y in zip(a, b, strict=True):
        total += x * y
    return total


class LatentFactors:
    """One factor model: everyone by key, and the running levels of its value."""

    def __init__(self, model: Mapping) -> None:
        self.model = model
        self.known: dict[int, Someone] = {}
        self.n, self.mean, self.variance, self.noise = 0, 0.0, 0.0, 0.0

    def part(self, which: str, client: int | None, node: int | None, now: float) -> float:
        c, n = self.known.get(client), self.known.get(node)
        biases = [0.0 if one is None else one.bias(self.model, now) for one in (c, n)]
        dot = 0.0 if c is None or n is None else inner(c.vector, n.vector)
        if which == "prediction":
            return self.mean + (biases[0] + biases[1]) + dot if self.n else NAN
        needed = {"client": (c,), "node": (n,), "pair": (c, n)}[which]
        return NAN if None in needed else {"client": biases[0], "node": biases[1], "pair": dot}[which]

    def learn(self, client: int | None, node: int | None, x: float, now: float) -> float:
        if math.isnan(x) or client is None or node is None:
            return NAN
        if self.variance == 0:
            residual = x - self.mean if self.n else NAN
            self.level(x, x - self.mean)
            return residual
        for key in (client, node):
            self.known.setdefault(key, Someone(key, self.model["rank"], self.variance, now)).visit(self.model, now)
        residual = x - self.part("prediction", client, node, now)
        self.level(x, self.share(self.known[client], self.known[node], residual))
        return residual

    def level(self, x: float, surprise: float) -> None:
        self.n += 1
        rate = 1.0 / self.n
        square = (1.0 - rate) * (x - self.mean) ** 2
        if self.n > 100 and self.variance > 0:
            square = min(square, 100.0 * self.variance)
        self.variance += rate * (square - self.variance)
        self.mean += rate * surprise

    def share(self, c: Someone, n: Someone, residual: float) -> float:
        deviation = math.sqrt(self.variance)
        shares = [
            one.vector_variance * inner(other.vector, other.vector) / deviation for one, other in ((c, n), (n, c))
        ]
        doubt = c.slow_variance + c.fast_variance + n.slow_variance + n.fast_variance
        doubt += shares[0] + shares[1]
        total = doubt + self.noise
        bound = 3.0 * math.sqrt(total) * deviation
        surprise = min(max(residual, -bound), bound)
        rate = max(1.0 / self.n, 1e-4)
        self.noise = max(self.noise + rate * (max((surprise / deviation) ** 2 - doubt, 0.0) - self.noise), 1e-3)
        before = list(c.vector)
        c.settle(n.vector, shares[0], surprise / total, total, deviation)
        n.settle(before, shares[1], surprise / total, total, deviation)
        return surprise


class Group:
    """What is known of when a group last changed: spans of time with their chances, the oldest first."""

    def __init__(self, kind: Mapping, now: float) -> None:
        self.kind = kind
        self.seen = now
        self.edges = [now] * 32
        self.chances = [F32(0)] * 31 + [F32(1)]

    def began(self, span: int) -> float:
        end = self.edges[span]
        return end if span == 0 else self.edges[span - 1] + 0.5 * (end - self.edges[span - 1])

    def gone(self, began: float, now: float) -> float:
        share = max(now - began, 0.0) / seconds(self.kind.get("length", "1h"))
        total = 1.0
        for _ in range(self.kind.get("shape", 1)):
            total *= share
        return total

    def lasts(self, began: float, now: float) -> float:
        return math.exp2(-max(self.gone(began, now) - self.gone(began, self.seen), 0.0))

    def after(self, span: int, time: float) -> float:
        end = self.edges[span]
        if end <= time:
            return 0.0
        width = end - self.edges[span - 1] if span > 0 else 0.0
        return min((end - time) / width, 1.0) if width > 0 else 1.0

    def part(self, which: str, seen: float, now: float) -> float:
        now, spans = max(now, self.seen), range(32)
        if which == "age":
            return sum(float(self.chances[s]) * (now - self.began(s)) for s in spans)
        if which == "ended":
            return sum(float(self.chances[s]) * (1.0 - self.lasts(self.began(s), now)) for s in spans)
        stale = sum(float(self.chances[s]) * self.after(s, seen) for s in reversed(spans))
        return NAN if math.isnan(seen) else max(1.0 - stale, 0.0)

    def advance(self, now: float) -> None:
        new = 0.0
        for span, chance in enumerate(map(float, self.chances)):
            left = self.lasts(self.began(span), now)
            new += chance * (1.0 - left)
            self.chances[span] = F32(chance * left)
        width = seconds(self.kind.get("length", "1h")) / 16
        if math.floor(now / width) > math.floor(self.edges[-1] / width):
            oldest = F32(self.chances[0] + self.chances[1])
            self.chances = [oldest, *self.chances[2:], F32(0)]
            self.edges = [*self.edges[1:], now]
        self.chances[-1] = F32(float(self.chances[-1]) + new)
        self.edges[-1] = self.seen = now

    def weigh(self, seen: float, *, changed: bool) -> None:
        same, total = self.kind.get("same", 0.1), 0.0
        for span in range(32):
            after = self.after(span, seen)
            likely = after * (1.0 - same) + (1.0 - after) * 1e-3 if changed else after * same + 1.0 - after
            self.chances[span] = F32(float(self.chances[span]) * likely)
            total += float(self.chances[span])
        self.chances = [F32(float(chance) / total) for chance in self.chances]

    def learn(self, x: float, last: float, seen: float, now: float) -> None:
        now = max(now, self.seen)
        if now > self.seen:
            self.advance(now)
        if not math.isnan(last):
            self.weigh(seen, changed=abs(x - last) > self.kind.get("tolerance", 0.0))


def seed(text: str) -> int:
    """The number with which the keys of what a text defines begin."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class History:
    """Entries by key: a name and the raw ids and categories it is made of."""

    def __init__(self, spec: Mapping) -> None:
        self.values = spec["history"]["values"]
        self.half_lives = spec["history"]["half_lives"]
        self.rates = [1.0 / seconds(h) for h in self.half_lives]
        self.keys = spec["history"]["keys"]
        self.entries: dict[Hashable, Entry] = {}
        self.latent_factors = {name: LatentFactors(model) for name, model in spec.get("latent_factors", {}).items()}
        self.kinds = spec.get("change_points", {})
        self.groups: dict[Hashable, Group] = {}
        self.trained_features = [one for one in spec["features"].values() if one["op"] == "trained_mean"]
        self.means: dict[Hashable, tuple[np.float32, np.float32]] = {}

    def key(self, name: str, request: Mapping, node: Mapping) -> Hashable:
        parts = []
        for part in self.keys[name]:
            side, _, column = part.partition(".")
            owner = request if side in ("client", "request") else node
            parts.append(owner.get(column or "id"))
        return None if any(part is None for part in parts) else (name, *map(repr, parts))

    def entity(self, name: str, side: str, request: Mapping, node: Mapping) -> int | None:
        """The hash under which a factor model knows one side: of its key's definition, the parts, and the model's."""
        model = self.latent_factors[name].model
        made_of = {side: "|".join(self.keys[model.get(side, side)]) for side in ("client", "node")}
        total = self.hashed(model.get(side, side), request, node)
        if total is None:
            return None
        settings = (model["rank"], model.get("half_life", "1h"), model.get("memory", "4d"))
        return mixed(total, seed(" ".join((*made_of.values(), model["value"], *map(str, settings)))))

    def hashed(self, key: str, request: Mapping, node: Mapping) -> int | None:
        """The hash of a history key: of its definition and its parts."""
        total = seed("|".join(self.keys[key]))
        for part in self.keys[key]:
            where, _, column = part.partition(".")
            raw = (request if where in ("client", "request") else node).get(column or "id")
            if raw is None:
                return None
            total = mixed(total, word(raw))
        return total

    def train(self, request: Mapping, node: Mapping, values: list[float]) -> None:
        """Add an outcome to the means of training, under every key that a feature reads."""
        for key in {key for one in self.trained_features for key in one["keys"]}:
            hashed = self.hashed(key, request, node)
            for value in {one["value"] for one in self.trained_features}:
                x = values[self.values.index(value)]
                if hashed is not None and not math.isnan(x):
                    n, mean = map(float, self.means.get((hashed, value), (0.0, 0.0)))
                    self.means[hashed, value] = F32(n + 1.0), F32(mean + (x - mean) / (n + 1.0))

    def trained(self, feature: Mapping, request: Mapping, node: Mapping, _: float) -> float:
        """From coarse to fine: each mean of training drawn towards the one before by its strength."""
        found, strength = NAN, feature.get("strength", 5.0)
        for key in reversed(feature["keys"]):
            n, mean = map(float, self.means.get((self.hashed(key, request, node), feature["value"]), (0.0, NAN)))
            if n > 0:
                found = mean if math.isnan(found) else (n * mean + strength * found) / (n + strength)
        return found

    def expected(self, feature: Mapping, request: Mapping, node: Mapping, now: float) -> float:
        """A part of a factor model."""
        sides = [self.entity(feature["of"], side, request, node) for side in ("client", "node")]
        return self.latent_factors[feature["of"]].part(feature.get("part", "prediction"), *sides, now)

    def learn(self, request: Mapping, node: Mapping, values: list[float], now: float) -> None:
        for name, factors in self.latent_factors.items():
            sides = [self.entity(name, side, request, node) for side in ("client", "node")]
            residual = factors.learn(*sides, values[self.values.index(factors.model["value"])], now)
            if f"residual({name})" in self.values:
                values[self.values.index(f"residual({name})")] = residual
        for name, kind in self.kinds.items():
            self.regroup(name, kind, self.keyed(kind, request, node), values[self.values.index(kind["value"])], now)
        for name in self.keys:
            key = self.key(name, request, node)
            if key is not None:
                new = Entry(len(self.values), len(self.half_lives), now)
                self.entries.setdefault(key, new).update(values, self.rates, now)

    def keyed(self, kind: Mapping, request: Mapping, node: Mapping) -> tuple[Hashable, Entry | None]:
        """The key of a group, and what is known of the member."""
        group = self.key(kind.get("group", "client"), request, node)
        return group, self.entries.get(self.key(kind.get("member", "pair"), request, node))

    def regroup(self, name: str, kind: Mapping, keyed: tuple[Hashable, Entry | None], x: float, now: float) -> None:
        group, member = keyed
        if math.isnan(x) or group is None:
            return
        if (name, group) not in self.groups:
            self.groups[name, group] = Group(kind, now)
            return
        v = self.values.index(kind["value"])
        last, seen = (NAN, NAN) if member is None else (member.last[v], member.seen)
        self.groups[name, group].learn(x, last, seen, now)

    def change_point(self, feature: Mapping, request: Mapping, node: Mapping, now: float) -> float:
        """What is known of the last change in a group."""
        group, member = self.keyed(self.kinds[feature["of"]], request, node)
        known = self.groups.get((feature["of"], group))
        seen = NAN if member is None else member.seen
        return NAN if known is None else known.part(feature["part"], seen, now)

    def shrunk(self, feature: Mapping, request: Mapping, node: Mapping, now: float) -> float:
        """From coarse to fine: each mean drawn towards the one before by its strength."""
        found, strength = NAN, feature.get("strength", 5.0)
        for key in reversed(feature["keys"]):
            entry = self.entries.get(self.key(key, request, node))
            v, h = self.values.index(feature["value"]), self.half_lives.index(feature["half_life"])
            if entry is not None and entry.weight[v][h] > 0:
                mean = float(entry.mean[v][h])
                weight = float(entry.weight[v][h]) * math.exp2(-max(now - entry.seen, 0.0) * self.rates[h])
                found = mean if math.isnan(found) else (weight * mean + strength * found) / (weight + strength)
        return found

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
    known = asked.history
    reads = {
        "history": known.statistic,
        "shrunk": known.shrunk,
        "trained_mean": known.trained,
        "latent_factors": known.expected,
        "change_point": known.change_point,
    }
    if op in reads:
        return reads[op](one, asked.request, asked.node, asked.now)
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
