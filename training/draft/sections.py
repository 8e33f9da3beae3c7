"""Sections of a drafted spec: history keys from fine to coarse, features, heads, utility, training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from training.draft.attributes import Attribute
from training.draft.draft import Draft
from training.draft.jumps import TOLERANCE
from training.draft.names import Names
from training.draft.times import duration_text
from training.draft.words import LATITUDE, LONGITUDE, identifier, says
from training.features.split import FEWEST_REHEARSED

FAILING = 0.0005
"""Share of failures from which on there are enough to learn from."""

FEW_IDS = 256
"""Clients or nodes whose ids may themselves be features; of more, trees learn single ones by heart."""

LATENT = 5
"""Clients and nodes from which on latent factors can tell the two apart."""

GROUPS = 0.7
"""Distinct values of a category, of one client or node each: with more it says what the id says."""

DECISIONS = 80_000
"""Decisions of an evaluation: enough to tell 1 % of the mean cost from noise, done in some minutes."""

MOST_REQUESTS = 20
"""Request rounds of a slice: more repeat each other."""

ROUNDS = 300
"""Boosting rounds, at most: at this learning rate a head stops before them, or gains little from more."""

DAY = 86_400.0

_HEADS = {"failure", "failed", "typical"}
"""Names of other heads and latent factors."""

T = TypeVar("T")

Feature = tuple[str, dict[str, Any]]
"""A feature's name, which another may have too, and its definition."""


class Key(NamedTuple):
    """A history key: its parts, and what of it becomes features."""

    parts: list[str]
    failed: bool = True
    variance: bool = False
    counted: bool = False
    fine: bool = False


class Sections:
    """The sections of a draft as plain values."""

    def __init__(self, made: Draft, names: Names) -> None:
        self._made, self._names = made, names
        self.alone = made.roles.client is None
        self.lives = [duration_text(seconds) for seconds in made.change.half_lives]
        self.value = f"log1p({names.cost})"
        self.fails = names.ok is not None and made.costs.failed >= FAILING
        self.latent = not self.alone and min(made.n_clients, made.n_nodes) >= LATENT
        self.name = _short(names.cost)

    def keys(self) -> dict[str, Key]:
        """Return the history keys, from fine to coarse."""
        return _named(self._keys(), set())

    def _keys(self) -> list[tuple[str, Key]]:
        found: list[tuple[str, Key]] = []
        request = [one for one in self._categories("request") if one.of == "row"]
        if not self.alone:
            for one in request[:1]:
                key = Key(["client", "node", f"request.{self._name(one)}"], fine=True)
                found.append((f"pair_{self._identifier(one)}", key))
            found.append(("pair", Key(["client", "node"], variance=True, counted=True, fine=True)))
        groups = [one for one in self._categories("request") if one.of == "client" and self._groups(one)]
        carriers = [one for one in self._categories("node") if self._groups(one)]
        for one in (*request[:2], *groups[:2]):
            key = Key([f"request.{self._name(one)}", "node"], counted=True)
            found.append((f"{self._identifier(one)}_node", key))
        found.append(("node", Key(["node"], variance=True, counted=True)))
        for one, other in [(a, b) for a in groups[:1] for b in carriers[:2]]:
            parts = [f"request.{self._name(one)}", f"node.{self._name(other)}"]
            found.append((f"{self._identifier(one)}_{self._identifier(other)}", Key(parts)))
        if not self.alone:
            found.append(("client", Key(["client"])))
        return found + [(f"node_{self._identifier(one)}", Key([f"node.{self._name(one)}"])) for one in carriers[:2]]

    def _categories(self, side: str) -> list[Attribute]:
        """Return the categories of a side; those of middling size first, which group most evenly."""
        own = [one for one in self._made.attributes if one.side == side and one.type == "category"]
        n = self._made.n_clients if side == "request" else self._made.n_nodes
        return sorted(own, key=lambda one: abs(math.log(max(one.distinct, 1)) - 0.5 * math.log(max(n, 1))))

    def _groups(self, one: Attribute) -> bool:
        n = self._made.n_clients if one.side == "request" else self._made.n_nodes
        return 1 < one.distinct <= GROUPS * n

    def _name(self, one: Attribute) -> str:
        return self._names.attributes[(one.side, one.column)]

    def _identifier(self, one: Attribute) -> str:
        return identifier(self._name(one))

    def columns(self, side: str) -> dict[str, dict[str, Any]]:
        """Return ``[request]`` or ``[node]``."""
        found: dict[str, dict[str, Any]] = {}
        table = "clients" if side == "request" else "nodes"
        if self._id_is_feature(side):
            found["id"] = {"type": "category", "source": table}
        for one in self._made.attributes:
            if one.side == side:
                column: dict[str, Any] = {"type": "category"} if one.type == "category" else {}
                found[self._name(one)] = column | ({} if one.source == "telemetry" else {"source": one.source})
        return found

    def _id_is_feature(self, side: str) -> bool:
        made = self._made
        if any(self._name(one) == "id" for one in made.attributes if one.side == side):
            return False
        return 1 < (made.n_clients if side == "request" else made.n_nodes) <= FEW_IDS

    def values(self) -> list[str]:
        """Return the values of history."""
        found = ["failed"] if self.fails else []
        found.append(self.value)
        found += [f"log1p({name})" for name in self._names.further]
        return found + ([f"residual({self.name})"] if self.latent else [])

    def latent_factors(self) -> dict[str, dict[str, Any]]:
        """Return the low-rank models: of the cost, and of failures where there are some."""
        if not self.latent:
            return {}
        found: dict[str, dict[str, Any]] = {self.name: {"value": self.value, "half_life": self.lives[0]}}
        if self.fails:
            found["failed"] = {"value": "failed", "half_life": self.lives[0], "rank": 4}
        return found

    def change_points(self) -> dict[str, dict[str, Any]]:
        """Return the change points of clients, where values hold and then jump."""
        jumps = self._made.jumps
        if jumps is None:
            return {}
        kind = {"value": self.value, "tolerance": TOLERANCE, "length": duration_text(jumps.length)}
        return {"client": {**kind, "shape": jumps.shape, "same": jumps.same}}

    def features(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the features by group, whose names become comments."""
        groups = {
            "What is asked, who asks, who could serve.": self._plain_features(),
            "What was measured of late and over time, from the finest key to the coarsest.": self._history_features(),
        }
        if self.latent:
            groups["Who is slow whoever asks, and who is slower than usual now."] = self._latent_features()
        if self._made.jumps is not None:
            groups["Whether what was measured still holds."] = [
                ("change_age", {"op": "change_point", "of": "client", "part": "age"}),
                ("change_ended", {"op": "change_point", "of": "client", "part": "ended"}),
                ("pair_fresh", {"op": "change_point", "of": "client", "part": "fresh"}),
            ]
        taken = set[str]()
        return {title: _named(group, taken) for title, group in groups.items()}

    def _plain_features(self) -> list[Feature]:
        made, found = self._made, list[Feature]()
        for side, op in (("request", "request"), ("node", "node")):
            if self._id_is_feature(side):
                found.append(("client" if side == "request" else "node", {"op": op, "column": "id"}))
            for one in made.attributes:
                if one.side == side:
                    found.append((f"{op}_{self._identifier(one)}", {"op": op, "column": self._name(one)}))
        span = made.slices.span
        if made.roles.time is not None and made.facts[made.roles.time].dated and span >= 2 * DAY:
            found.append(("hour", {"op": "clock", "period": "24h"}))
        return found + self._shared_features()

    def _shared_features(self) -> list[Feature]:
        """Return features that compare what clients and nodes have alike: the same country, the distance."""
        found = list[Feature]()
        for shared in self._made.shared:
            pair = {"request": self._name(shared.request), "node": self._name(shared.node)}
            found.append((f"same_{identifier(shared.about)}", {"op": "equal", **pair}))
        sides = {side: [one for one in self._made.attributes if one.side == side] for side in ("request", "node")}
        places = {side: [_axis(own, axis) for axis in (LATITUDE, LONGITUDE)] for side, own in sides.items()}
        if all(place is not None for both in places.values() for place in both):
            pair_of = {side: [self._name(one) for one in both if one] for side, both in places.items()}
            found.append(("distance", {"op": "distance", **pair_of}))
        return found

    def _history_features(self) -> list[Feature]:
        found = list[Feature]()
        for key, wanted in self.keys().items():
            if self.fails:
                found += [(f"{key}_failed_{_id(life)}", _history(key, "mean", "failed", life)) for life in self.lives]
            for life in self.lives:
                found.append((f"{key}_{self.name}_{_id(life)}", _history(key, "mean", self.value, life)))
            if wanted.fine:
                last = {"op": "history", "key": key, "stat": "last", "value": self.value}
                found.append((f"{key}_{self.name}_last", last))
                found.append((f"{key}_age", {"op": "history", "key": key, "stat": "age"}))
            if wanted.variance:
                found.append((f"{key}_{self.name}_spread", _history(key, "variance", self.value, self.lives[-1])))
            if wanted.counted:
                value = "failed" if self.fails else self.value
                found.append((f"{key}_count", _history(key, "count", value, self.lives[-1])))
            if key in ("pair", "node"):
                for name in self._names.further:
                    found.append((f"{key}_{identifier(name)}", _history(key, "mean", f"log1p({name})", self.lives[-1])))
        return found

    def _latent_features(self) -> list[Feature]:
        name = self.name
        found: list[Feature] = [(f"factors_{name}", {"op": "latent_factors", "of": name})]
        parts = ("client", "node", "pair")
        found += [(f"factors_{name}_{part}", {"op": "latent_factors", "of": name, "part": part}) for part in parts]
        if self.fails:
            found.append(("factors_failed", {"op": "latent_factors", "of": "failed"}))
            found.append(("factors_failed_node", {"op": "latent_factors", "of": "failed", "part": "node"}))
        for key in ("node", "client", "pair"):
            value = f"residual({name})"
            found += [(f"{key}_residual_{_id(life)}", _history(key, "mean", value, life)) for life in self.lives[:2]]
        return found

    def heads(self) -> dict[str, dict[str, Any]]:
        """Return the predicted quantities."""
        unit = self._made.cost.unit
        found: dict[str, dict[str, Any]] = {"failure": {"target": "failed", "link": "logistic"}} if self.fails else {}
        found[self.name] = {"target": self.value, "link": "log", "given_ok": True, "unit": unit}
        found["typical"] = {"target": "log1p(cost)", "link": "identity"}
        return found

    def failure_cost(self) -> float:
        """Return what a failure costs: more than nearly all successes, in a round number."""
        made = self._made
        return made.options.failure_cost if made.options.failure_cost is not None else _round_up(made.costs.high)

    def utility(self) -> dict[str, float]:
        """Return the weights: the mean cost, and half the median cost for its logarithm."""
        found = {"failure": -_digits(max(self.failure_cost(), self._made.costs.of_failure))} if self.fails else {}
        return {**found, self.name: -1.0, "typical": -_digits(0.5 * self._made.costs.median)}

    def training(self) -> dict[str, Any]:
        """Return how to fit: as serving sees it where clients measured several nodes at a time."""
        made = self._made
        several = made.slices.nodes >= 3  # noqa: PLR2004 - of two there is little to choose from
        rehearsed = several and made.slices.start - made.slices.first >= FEWEST_REHEARSED
        few = made.n_rows < 50_000  # noqa: PLR2004 - trees of 31 leaves learn noise by heart
        lightgbm = {
            "num_leaves": 15 if few else 31,
            "learning_rate": 0.05,
            "min_data_in_leaf": int(min(max(made.n_rows // 5_000, 20), 200)),
            "feature_fraction": 0.4,
            "lambda_l2": 20.0,
        }
        return {
            **({"reveal": 0.3} if several else {}),
            **({"rehearse": 0.6} if rehearsed else {}),
            "rows": 1_000_000,
            "rounds": ROUNDS,
            "lightgbm": lightgbm,
        }

    def requests(self) -> int:
        """Return the request rounds of a slice."""
        n_slices = max(self._made.slices.n - self._made.slices.start, 1)
        return int(min(max(DECISIONS // max(n_slices * self._made.n_clients, 1), 1), MOST_REQUESTS))


def _named(pairs: Iterable[tuple[str, T]], taken: set[str]) -> dict[str, T]:
    """Return pairs by name; a name that is taken gets an underscore, as columns may differ by their case alone."""
    found: dict[str, T] = {}
    for name, value in pairs:
        while name in taken:
            name += "_"  # noqa: PLW2901 - until it is free
        taken.add(name)
        found[name] = value
    return found


def _axis(own: list[Attribute], axis: frozenset[str]) -> Attribute | None:
    return next((one for one in own if one.type == "number" and says(one.column, axis)), None)


def _history(key: str, stat: str, value: str, life: str) -> dict[str, Any]:
    return {"op": "history", "key": key, "stat": stat, "value": value, "half_life": life}


def _id(life: str) -> str:
    return life.replace(".", "_")


def _short(name: str) -> str:
    """Return what a head is called: latency for durations in milliseconds, else the outcome's name."""
    short = "latency" if name.endswith("_ms") else name.lower()
    return f"{short}_cost" if short in _HEADS else short


def _round_up(value: float) -> float:
    """Return the next 1, 2 or 5 with zeros."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1.0, 2.0, 5.0, 10.0) if step * unit >= value)


def _digits(value: float) -> float:
    return float(f"{value:.2g}")
