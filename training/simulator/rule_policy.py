"""The rule pile: how the fleet was scheduled before there was a model. Every rule gives or takes points."""

# ruff: noqa: PLR2004 - rules consist of thresholds

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from training.policies import Question, Seen
from training.simulator.fleet import DISKS, HOUR, NATS, WORKLOADS, Requests, World
from training.telemetry import Categories, Telemetry

Points: TypeAlias = NDArray[np.floating[Any]]

_FORGET_S = 600.0  # a failure weighs half as much after ten minutes

_BLACKLIST = 2.0  # from so many recent failures on, a node is out


class Sight(NamedTuple):
    """What rules can see of n requests and k candidates each: columns, reports, failures they met.

    All are (n, 1) or (n, k); ``load`` is 0 to 1, ``failures`` recent ones, ``hour`` 0 to 24.
    """

    same_isp: NDArray[np.bool_]
    same_region: NDArray[np.bool_]
    km: NDArray[np.float64]
    nat: NDArray[np.int32]
    disk: NDArray[np.int32]
    uplink_kbps: NDArray[np.float64]
    price_per_gb: NDArray[np.float64]
    load: NDArray[np.float64]
    failures: NDArray[np.float64]
    workload: NDArray[np.int32]
    bitrate_kbps: NDArray[np.float64]
    hour: NDArray[np.float64]


def _same_carrier(s: Sight) -> Points:
    return 40.0 * s.same_isp


def _same_region(s: Sight) -> Points:
    return 30.0 * s.same_region


def _far_away(s: Sight) -> Points:
    return -25.0 * (s.km > 1500)


def _next_door(s: Sight) -> Points:
    return 10.0 * (s.km < 50)


def _open_nat(s: Sight) -> Points:
    return 10.0 * (s.nat == NATS.index("open")) - 15.0 * (s.nat == NATS.index("symmetric"))


def _other_carrier_in_the_evening(s: Sight) -> Points:
    return -30.0 * (~s.same_isp & (s.hour >= 19) & (s.hour < 23))


def _blacklist(s: Sight) -> Points:
    return -1000.0 * (s.failures >= _BLACKLIST)


def _failed_lately(s: Sight) -> Points:
    return -15.0 * (s.failures >= 0.5)


def _busy(s: Sight) -> Points:
    return -20.0 * (s.load > 0.6) - 40.0 * (s.load > 0.8)


def _uplink_too_small(s: Sight) -> Points:
    return -80.0 * (s.uplink_kbps < s.bitrate_kbps)


def _ample_uplink(s: Sight) -> Points:
    return 8.0 * (s.uplink_kbps >= 3 * s.bitrate_kbps)


def _slow_disk_for_vod(s: Sight) -> Points:
    return -6.0 * ((s.disk == DISKS.index("hdd")) & (s.workload == WORKLOADS.index("vod")))


def _cheap_for_downloads(s: Sight) -> Points:
    return 12.0 * ((s.price_per_gb < 0.02) & (s.workload == WORKLOADS.index("download")))


def _least_load(s: Sight) -> Points:
    return -5.0 * s.load


RULES: dict[str, Callable[[Sight], Points]] = {
    "same carrier": _same_carrier,
    "same region": _same_region,
    "far away": _far_away,
    "next door": _next_door,
    "open nat": _open_nat,
    "other carrier in the evening": _other_carrier_in_the_evening,
    "blacklist": _blacklist,
    "failed lately": _failed_lately,
    "busy": _busy,
    "uplink too small": _uplink_too_small,
    "ample uplink": _ample_uplink,
    "slow disk for vod": _slow_disk_for_vod,
    "cheap for downloads": _cheap_for_downloads,
    "least load": _least_load,
}


class RulePile:
    """The incumbent: adds up the points of all rules and takes the highest sum.

    Parameters
    ----------
    world
        Only its two tables are looked at.
    """

    def __init__(self, world: World) -> None:
        self._clients, self._nodes, self._km = world.clients.columns, world.nodes.columns, world.km
        self._failures = np.zeros(len(world.nodes))
        self._seen_at = -np.inf

    def points(self, requests: Requests, candidates: NDArray[Any], load: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, k) sums of points.

        Parameters
        ----------
        requests
            n requests.
        candidates
            (n, k) node positions.
        load
            (n_nodes,) as reported.
        """
        sight = self.sight(requests, candidates, load)
        total = np.zeros(candidates.shape)
        for rule in RULES.values():
            total += rule(sight)
        return total

    def pick(self, requests: Requests, candidates: NDArray[Any], load: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return (n,) places in the rows of ``candidates``, of equals the first; see `points`."""
        return np.argmax(self.points(requests, candidates, load), axis=1)

    def observe(self, node: NDArray[Any], ok: NDArray[np.bool_], now: float) -> None:
        """Take note of outcomes that have arrived, (n,) each, at a time (seconds) which must not go back."""
        self._failures *= 0.5 ** ((now - self._seen_at) / _FORGET_S)
        self._seen_at = now
        np.add.at(self._failures, node[~ok], 1.0)

    def sight(self, requests: Requests, candidates: NDArray[Any], load: NDArray[np.float64]) -> Sight:
        """Return what the rules see; takes what `points` takes."""
        client = requests.client[:, None]
        return Sight(
            same_isp=self._same("isp", client, candidates),
            same_region=self._same("region", client, candidates),
            km=self._km[client, candidates],
            nat=_values(self._nodes["nat"])[candidates],
            disk=_values(self._nodes["disk"])[candidates],
            uplink_kbps=_values(self._nodes["uplink_kbps"])[candidates],
            price_per_gb=_values(self._nodes["price_per_gb"])[candidates],
            load=load[candidates],
            failures=self._failures[candidates],
            workload=requests.workload[:, None],
            bitrate_kbps=requests.bitrate_kbps[:, None],
            hour=requests.time[:, None] / HOUR % 24.0,
        )

    def _same(self, column: str, client: NDArray[Any], node: NDArray[Any]) -> NDArray[np.bool_]:
        return _values(self._clients[column])[client] == _values(self._nodes[column])[node]


def _values(column: NDArray[Any] | Categories) -> NDArray[Any]:
    return column.codes if isinstance(column, Categories) else column


class Rules:
    """The rule pile, asked like any other policy."""

    def __init__(self, world: World) -> None:
        self._pile = RulePile(world)

    def warm(self, telemetry: Telemetry) -> None:
        """Let the pile see the last failures."""
        last = slice(-10_000, None)  # failures are forgotten within minutes
        for node, ok, time in zip(telemetry.node[last], telemetry.ok[last], telemetry.arrival[last], strict=True):
            self._pile.observe(np.array([node]), np.array([ok]), float(time))

    def pick(self, question: Question) -> NDArray[np.integer]:
        """Return the columns of the most points."""
        return self._pile.pick(_requests(question), question.candidates, np.asarray(question.node_state["load"]))

    def learn(self, seen: Seen) -> None:
        """Note failures."""
        self._pile.observe(seen.node, seen.ok, float(seen.arrival.max()))


def _requests(question: Question) -> Requests:
    n = len(question.client)
    columns = question.request
    return Requests(
        time=np.full(n, question.time),
        client=question.client,
        workload=_codes(columns["workload"]),
        bitrate_kbps=np.asarray(columns["bitrate_kbps"]),
        customer=_codes(columns["customer"]),
        content=np.zeros(n, np.int32),  # which content is asked for no rule looks at
    )


def _codes(column: NDArray[np.float64] | Categories) -> NDArray[np.int32]:
    if not isinstance(column, Categories):
        raise TypeError(f"expected a category column, found {type(column).__name__}")
    return column.codes
