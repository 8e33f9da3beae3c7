"""The published protocol: which cells are known, which are asked for, and by what a prediction is judged."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

LONGEST_S = 19.9
"""Values from here on are the prober giving up, not a measurement."""

UNITS_S = 1_000.0


class Cells(NamedTuple):
    """Cells of one slice.

    Attributes
    ----------
    at
        (n,) int64 places in the flattened (n_services, n_clients) matrix.
    seconds
        (n,) float64 response times.
    """

    at: NDArray[np.int64]
    seconds: NDArray[np.float64]


class Figures(NamedTuple):
    """Errors of one slice: mean absolute, that over the mean, root mean square, median and 90th percentile relative."""

    mae_s: float
    nmae: float
    rmse_s: float
    mre: float
    npre: float


def read_slices(data: Path) -> tuple[list[Cells], tuple[int, int]]:
    """Return the measured cells of each slice in order, and (n_services, n_clients)."""
    n_services, n_clients = (pl.read_parquet(data / f"{name}.parquet").height for name in ("nodes", "clients"))
    seconds = pl.col("response_ms") / UNITS_S
    rows = (
        pl.scan_parquet(data / "telemetry.parquet")
        .filter(pl.col("ok") & (seconds > 0) & (seconds < LONGEST_S))
        .select("slice", (pl.col("node_id").cast(pl.Int64) * n_clients + pl.col("client_id")).alias("at"), seconds)
        .sort("slice", "at")
        .collect()
    )
    slices = [
        Cells(one["at"].to_numpy(), one["response_ms"].cast(pl.Float64).to_numpy())
        for one in rows.partition_by("slice", maintain_order=True)
    ]
    return slices, (n_services, n_clients)


def draw(cells: Cells, shape: tuple[int, int], density: float, rng: np.random.Generator) -> tuple[Cells, Cells]:
    """Draw density x size of the matrix for training; the rest is for testing.

    Left out of the test are services and clients without a cell in training.
    """
    order = rng.permutation(cells.at.size)
    train, test = np.split(order, [int(density * shape[0] * shape[1])])
    service, client = np.divmod(cells.at, shape[1])
    seen = np.isin(service, service[train]) & np.isin(client, client[train])
    test = test[seen[test]]
    return Cells(cells.at[train], cells.seconds[train]), Cells(cells.at[test], cells.seconds[test])


def judge(truth_s: NDArray[np.float64], predicted_s: NDArray[np.float64]) -> Figures:
    """Return the errors of predictions, both (n,) seconds."""
    error = np.abs(predicted_s - truth_s)
    relative = error / truth_s
    mae = float(error.mean())
    return Figures(
        mae,
        mae / float(truth_s.mean()),
        float(np.sqrt(np.mean(error**2))),
        float(np.median(relative)),
        float(np.percentile(relative, 90)),
    )
