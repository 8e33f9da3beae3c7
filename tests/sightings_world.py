"""Sightings of nodes whose chances of being seen, and whose speeds, are known."""

from pathlib import Path

import numpy as np
import polars as pl

CHANCES = {"steady": 0.9, "fickle": 0.2}
N_SNAPSHOTS, N_NODES, JOINED = 80, 120, 60


def nodes() -> pl.DataFrame:
    """Return the table of nodes: every other one is steady."""
    kinds = np.where(np.arange(N_NODES) % 2, "steady", "fickle")
    return pl.DataFrame({"id": range(N_NODES), "country": ["KR"] * N_NODES, "kind": kinds})


def write_sightings(folder: Path) -> Path:
    """Write nodes seen at each snapshot with the chance of their kind, a sixth of them only from snapshot JOINED on.

    The speed of a node is its own, times noise of a standard deviation of 0.2 in the logarithm.
    """
    rng = np.random.default_rng(3)
    own = np.exp(rng.normal(11.0, 1.0, N_NODES))
    rows = [
        (at + 5, at * 21_600.0, 0, node, float(own[node] * np.exp(0.2 * rng.normal())))
        for at in range(N_SNAPSHOTS)
        for node in range(N_NODES)
        if rng.random() < CHANCES["steady" if node % 2 else "fickle"] and (node % 6 or at >= JOINED)
    ]
    sightings = pl.DataFrame(rows, ["slice", "ts", "client_id", "node_id", "throughput_kbps"], orient="row")
    folder.mkdir(parents=True, exist_ok=True)
    sightings.with_columns(
        rtt_ms=20.0, sessions=1, uptime_s=pl.lit(None, pl.Float64), total_users=5, score=pl.lit(None, pl.Int64)
    ).write_parquet(folder / "telemetry.parquet")
    nodes().write_parquet(folder / "nodes.parquet")
    pl.DataFrame({"id": [0]}).write_parquet(folder / "clients.parquet")
    return folder
