"""The made-up fleet: household boxes whose quality follows carrier, place, hour and luck, mostly hidden."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from training.simulator.noise import drift, mix, normal, uniform
from training.telemetry import Categories, Columns, Entities

START = 1_704_067_200.0
"""2024-01-01 00:00 UTC, when every world begins. Its hours are UTC's everywhere."""

HOUR, DAY = 3600.0, 86_400.0

ISPS = ("cable", "mobile", "north", "south")
CITIES = {  # region: latitude and longitude of its middle, in degrees
    "centre": (30.6, 114.3),
    "east": (31.2, 121.5),
    "north": (39.9, 116.4),
    "northeast": (45.8, 126.5),
    "south": (23.1, 113.3),
    "west": (30.7, 104.1),
}
NATS = ("cone", "open", "symmetric")
DISKS = ("flash", "hdd", "ssd")
WORKLOADS = ("download", "live", "vod")
CUSTOMERS = ("bronze", "gold", "silver")

# Carriers that meet at too few points, and the milliseconds and failures that this adds at the evening peak.
_PEERING = {
    ("north", "south"): (140.0, 0.10),
    ("mobile", "cable"): (90.0, 0.05),
    ("cable", "south"): (60.0, 0.02),
}

_TIMED_OUT = 0.4  # of the failures; the rest are refused at once
_REPORT_EVERY = 300.0  # seconds between two reports of a node: the load that rules and models see is that old
_BREAK_EVERY = 2 * HOUR  # a flaky node is broken or not for so long
_HOLDERS, _CONTENTS = 32, 400

CANDIDATES = 20
"""Default number of holders that a request is offered."""

# Streams of noise, so that no two uses share a draw.
_OK, _LATENCY, _THROUGHPUT, _FAIL, _DRIFT, _USE, _BREAK, _REPORT = range(8)


class Requests(NamedTuple):
    """n requests; ``workload`` and ``customer`` are int32 positions in `WORKLOADS` and `CUSTOMERS`.

    ``time`` is float64 seconds, ``client`` int32 positions, ``bitrate_kbps`` float64, ``content`` int32.
    """

    time: NDArray[np.float64]
    client: NDArray[np.int32]
    workload: NDArray[np.int32]
    bitrate_kbps: NDArray[np.float64]
    customer: NDArray[np.int32]
    content: NDArray[np.int32]

    def part(self, low: int, high: int) -> Requests:
        """Return the requests from ``low`` and before ``high``."""
        parts: list[Any] = [column[low:high] for column in self]
        return Requests(*parts)

    def columns(self) -> Columns:
        """Return the request columns as telemetry has them."""
        return {
            "workload": Categories(self.workload, WORKLOADS),
            "bitrate_kbps": self.bitrate_kbps,
            "customer": Categories(self.customer, CUSTOMERS),
        }


class World:
    """A fleet of household boxes and the client groups around them.

    What happens to a request at a node is a function of the seed, the request and the node alone: every
    policy meets the same luck, and the outcome of the nodes it did not pick is known too. Load does not feed
    back.

    Parameters
    ----------
    seed
        0 or more; the same seed makes the same world.
    n_nodes, n_clients
        Sizes of the fleet and of the client population.

    Attributes
    ----------
    nodes, clients
        What everyone may know, as tables.
    """

    def __init__(self, seed: int = 0, *, n_nodes: int = 600, n_clients: int = 80) -> None:
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.clients = Entities(ids=np.arange(n_clients, dtype=np.int64), columns=_place(rng, n_clients))
        boxes = _place(rng, n_nodes)
        boxes["nat"] = Categories(rng.choice(3, n_nodes, p=[0.5, 0.3, 0.2]).astype(np.int32), NATS)
        boxes["disk"] = Categories(rng.choice(3, n_nodes, p=[0.5, 0.3, 0.2]).astype(np.int32), DISKS)
        boxes["uplink_kbps"] = rng.choice([4e3, 8e3, 16e3, 32e3], n_nodes, p=[0.2, 0.4, 0.3, 0.1])
        boxes["price_per_gb"] = rng.choice([0.01, 0.02, 0.04], n_nodes)
        self.nodes = Entities(ids=1000 + np.arange(n_nodes, dtype=np.int64), columns=boxes)
        self._hide(rng, n_nodes)
        self.km = _distances(self.clients.columns, boxes)
        self._holders = self._draw_holders(rng)

    def _hide(self, rng: np.random.Generator, n: int) -> None:
        """Draw the hidden properties of each box: how good, flaky, peaky and honest it is."""
        slow, flaky, peaky, lies = (rng.random(n) < share for share in (0.12, 0.10, 0.50, 0.08))
        self._quality = rng.normal(0.0, 0.3, n) + np.where(slow, 0.9, 0.0)
        self._break_share = np.where(flaky, rng.uniform(0.15, 0.5, n), 0.01)
        self._base_use = rng.uniform(0.05, 0.3, n)
        self._peak_use = np.where(peaky, rng.uniform(0.3, 0.65, n), 0.1)
        self._peak_hour = rng.normal(20.5, 1.0, n)
        self._lies = lies

    def _draw_holders(self, rng: np.random.Generator) -> NDArray[np.int32]:
        """Draw the holders of each content by the client's region: (regions, contents, holders), mostly local ones."""
        region = _codes(self.nodes, "region")
        weight = np.where(region == np.arange(len(CITIES))[:, None], 4.0, 1.0)
        wait = rng.exponential(size=(len(CITIES), _CONTENTS, len(self.nodes))) / weight[:, None, :]
        return np.argsort(wait, axis=2)[:, :, :_HOLDERS].astype(np.int32)

    def requests(self, n: int, begin: float, end: float, seed: int) -> Requests:
        """Draw ``n`` requests between two times (seconds), sorted by time, more of them in the evening."""
        rng = np.random.default_rng([self.seed, seed])
        grid = np.linspace(begin, end, 1 + max(1, int((end - begin) / 60.0)))
        busy = np.cumsum(0.35 + evening((grid[1:] + grid[:-1]) / 2, 20.0))
        time = np.sort(np.interp(rng.random(n) * busy[-1], np.r_[0.0, busy], grid))
        return self.requests_at(np.round(time, 3), rng)

    def requests_at(self, time: NDArray[np.float64], rng: np.random.Generator) -> Requests:
        """Draw a request for each of some times (seconds)."""
        n = len(time)
        workload = rng.choice(3, n, p=[0.2, 0.35, 0.45]).astype(np.int32)
        low, high = np.array([[4_000.0, 9_000.0], [800.0, 3_000.0], [1_500.0, 6_000.0]])[workload].T
        return Requests(
            time=time,
            client=rng.integers(len(self.clients), size=n).astype(np.int32),
            workload=workload,
            bitrate_kbps=np.round(rng.uniform(low, high)),
            customer=rng.choice(3, n, p=[0.5, 0.15, 0.35]).astype(np.int32),
            content=rng.integers(_CONTENTS, size=n).astype(np.int32),
        )

    def candidates(self, requests: Requests, k: int) -> NDArray[np.int32]:
        """Return (n, k) nodes that hold the requested content, k at most 32."""
        region = _codes(self.clients, "region")[requests.client]
        return self._holders[region, requests.content, :k]

    def use(self, node: NDArray[Any], time: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of a node's uplink that its household uses, 0 to 0.95."""
        peak = self._peak_use[node] * evening(time, self._peak_hour[node])
        own = self._base_use[node] + peak + 0.08 * drift(self.seed + _USE, node, time, HOUR / 2)
        return np.clip(own, 0.0, 0.95)

    def reported_load(self, time: float) -> NDArray[np.float64]:
        """Return the load that each node last reported, 0 to 1: some minutes old, and wrong for some boxes."""
        node = np.arange(len(self.nodes))
        phase = uniform(self.seed, _REPORT, node) * _REPORT_EVERY
        reported = np.floor((time - phase) / _REPORT_EVERY) * _REPORT_EVERY + phase
        load = np.round(self.use(node, reported), 2)
        load[self._lies] = 0.1
        return load

    def outcomes(self, requests: Requests, node: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return what happens to requests at nodes.

        Parameters
        ----------
        requests
            n requests.
        node
            (n, k) positions in ``nodes``.

        Returns
        -------
        dict
            (n, k) arrays: ``ok`` (bool); float32 and NaN where there is none: ``latency_ms`` to the first
            byte, ``throughput_kbps``, and ``fail_ms`` until the failure.
        """
        time, client = requests.time[:, None], requests.client[:, None]
        workload, bitrate = requests.workload[:, None], requests.bitrate_kbps[:, None]
        luck = mix(self.seed, time, client, workload, bitrate)
        far_ms, far_failures = self._path(client, node, time)
        use, broken = self.use(node, time), self._broken(node, time)
        free = _number(self.nodes, "uplink_kbps")[node] * (1.0 - use)
        throughput = free * np.exp(0.2 * normal(luck, node, _THROUGHPUT)) / (1.0 + far_ms / 200.0)
        short = 1.0 / (1.0 + np.exp(-4.0 * (bitrate / np.maximum(free, 1.0) - 1.3)))
        symmetric = _codes(self.nodes, "nat")[node] == NATS.index("symmetric")
        failure = 0.008 + far_failures + 0.5 * broken + 0.25 * short + 0.04 * symmetric
        ok = uniform(luck, node, _OK) >= failure
        hidden = self._quality[node] + 0.25 * drift(self.seed + _DRIFT, node, time, 6 * HOUR) + 0.8 * broken
        box_ms = (18.0 + _disk_ms(self.nodes, node, workload)) / (1.0 - 0.8 * use) + 35.0 * symmetric
        latency = (far_ms + box_ms * np.exp(hidden)) * np.exp(0.2 * normal(luck, node, _LATENCY))
        fate = uniform(luck, node, _FAIL)
        fail = np.where(fate < _TIMED_OUT, 3_000.0, 120.0 + 400.0 * fate)  # timed out, or refused
        return {
            "ok": ok,
            "latency_ms": np.where(ok, latency, np.nan).astype(np.float32),
            "throughput_kbps": np.where(ok, throughput, np.nan).astype(np.float32),
            "fail_ms": np.where(ok, np.nan, fail).astype(np.float32),
        }

    def _path(
        self, client: NDArray[Any], node: NDArray[Any], time: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return milliseconds and failures that the way between client and node adds."""
        left = _codes(self.clients, "isp")[client]
        right = _codes(self.nodes, "isp")[node]
        peak = evening(time, 20.5)
        ms = 6.0 + 0.03 * self.km[client, node] + np.where(left == right, 0.0, 14.0)
        peering_ms, peering_failures = _PEERING_TABLES
        return ms + peak * peering_ms[left, right], peak * peering_failures[left, right]

    def _broken(self, node: NDArray[Any], time: NDArray[np.float64]) -> NDArray[np.bool_]:
        period = np.floor(time / _BREAK_EVERY + uniform(self.seed, _BREAK, node))
        return uniform(self.seed, _BREAK, node, period) < self._break_share[node]


def evening(time: NDArray[np.float64], hour: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return how near a time is to an hour of the day: 1 at it, 0.6 two hours off, 0 by night."""
    off = (time / HOUR - hour + 12.0) % 24.0 - 12.0
    return np.exp(-0.5 * (off / 2.0) ** 2)


def _place(rng: np.random.Generator, n: int) -> Columns:
    """Draw carriers, regions and coordinates."""
    region = rng.integers(len(CITIES), size=n).astype(np.int32)
    lat, lon = np.array(list(CITIES.values()))[region].T
    return {
        "isp": Categories(rng.choice(4, n, p=[0.2, 0.2, 0.3, 0.3]).astype(np.int32), ISPS),
        "region": Categories(region, tuple(CITIES)),
        "lat": np.round(lat + rng.normal(0, 0.8, n), 3),
        "lon": np.round(lon + rng.normal(0, 0.8, n), 3),
    }


def _distances(clients: dict[str, Any], nodes: dict[str, Any]) -> NDArray[np.float64]:
    """Return great-circle kilometres, (clients, nodes)."""
    lat_1, lon_1 = (np.radians(clients[name])[:, None] for name in ("lat", "lon"))
    lat_2, lon_2 = (np.radians(nodes[name])[None, :] for name in ("lat", "lon"))
    half = np.sin((lat_2 - lat_1) / 2) ** 2 + np.cos(lat_1) * np.cos(lat_2) * np.sin((lon_2 - lon_1) / 2) ** 2
    return 12_742.0 * np.arcsin(np.sqrt(half))


def _disk_ms(nodes: Entities, node: NDArray[Any], workload: NDArray[Any]) -> NDArray[np.float64]:
    """Return what reading from the disk adds: most for video on demand, which jumps about."""
    seek = np.array([14.0, 30.0, 2.0])[_codes(nodes, "disk")[node]]
    return seek * np.where(workload == WORKLOADS.index("vod"), 1.0, 0.3)


def _peering_tables() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ms, failures = np.zeros((2, len(ISPS), len(ISPS)))
    for (left, right), (added_ms, added_failures) in _PEERING.items():
        for pair in ((left, right), (right, left)):
            at = ISPS.index(pair[0]), ISPS.index(pair[1])
            ms[at], failures[at] = added_ms, added_failures
    return ms, failures


_PEERING_TABLES = _peering_tables()


def _codes(table: Entities, name: str) -> NDArray[np.int32]:
    return cast("Categories", table.columns[name]).codes


def _number(table: Entities, name: str) -> NDArray[np.float64]:
    return cast("NDArray[np.float64]", table.columns[name])
