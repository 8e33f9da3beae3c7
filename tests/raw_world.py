"""Raw telemetry as other people write it, made up: who asks whom, and how long it takes."""

import datetime as dt

import numpy as np
import polars as pl

START = dt.datetime(2026, 5, 1, tzinfo=dt.UTC).timestamp()
HOURS = 24.0


def pings(n: int = 6_000, seed: int = 0) -> pl.DataFrame:
    """Return ``seconds`` since 1970, ``asker`` (8), ``answerer`` (20), ``kind``, ``ok``, ``ms``, null if not ok."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 8, n), rng.integers(0, 20, n)
    far = rng.normal(3.0, 0.6, (8, 20))
    ok = rng.random(n) > 0.02 + 0.3 * (b % 5 == 0)
    ms = np.exp(far[a, b] + 0.2 * rng.normal(size=n)).round(2)
    frame = {
        "seconds": START + np.sort(rng.uniform(0.0, HOURS * 3_600.0, n)).round(3),
        "asker": a,
        "answerer": b,
        "kind": rng.choice(["udp", "tcp"], n),
        "ok": ok,
        "ms": ms,
    }
    return pl.DataFrame(frame).with_columns(pl.when("ok").then("ms"))


def iso(seconds: pl.Series) -> pl.Series:
    """Return times as texts of ISO 8601 with a zone."""
    return (seconds * 1e6).cast(pl.Int64).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")


def deliveries(n: int = 8_000, seed: int = 0) -> pl.DataFrame:
    """Return what 60 users in 6 places get of 40 servers in the same ones, as `pings`; both have one of 3 networks."""
    rng = np.random.default_rng(seed)
    user, server = rng.integers(0, 60, n), rng.integers(0, 40, n)
    places = np.array(["fra", "ams", "lon", "par", "mad", "waw"])
    user_place, server_place = places[np.arange(60) * 7 % 6], places[rng.permutation(40) % 6]
    near = user_place[user] == server_place[server]
    ok = rng.random(n) > 0.05
    frame = {
        "seconds": START + np.sort(rng.uniform(0.0, HOURS * 3_600.0, n)).round(3),
        "user": [f"u{one}" for one in user],
        "user_place": user_place[user],
        "user_net": [f"AS{one % 3}" for one in user],
        "server": [f"edge{one}" for one in server],
        "server_place": server_place[server],
        "server_net": [f"AS{one // 3 % 3}" for one in server],
        "ok": ok,
        "ms": (np.where(near, 20.0, 60.0) * np.exp(0.3 * rng.normal(size=n))).round(2),
    }
    return pl.DataFrame(frame).with_columns(pl.when("ok").then("ms"))
