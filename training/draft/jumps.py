"""Whether what is measured holds for a while and then jumps, for all nodes of a client at once."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import polars as pl

from training.draft.times import Slices

HOLDS = 0.5
"""Share of outcomes that are what the pair had before from which on values hold; noise alone repeats far less."""

TOLERANCE = 0.02
"""Logarithms of costs within this are the same value: 2 %, which rounding and clocks add."""

TOGETHER = 0.5
"""Share of a client's pairs that must change in one slice for it to be a jump of the client."""

JUMPS = 30
"""Jumps that must be seen before their distances say anything."""


class Jumps(NamedTuple):
    """Jumps of clients: the median time between two, how regular they are, and how often a value stays through one."""

    length: float
    shape: int
    same: float


def find_jumps(rows: pl.DataFrame, slices: Slices) -> Jumps | None:
    """Return how values jump; None where they drift, as most do.

    Parameters
    ----------
    rows
        With ``@time``, ``@client``, ``@node`` and ``@cost``.
    """
    pairs = rows.filter(pl.col("@cost").is_not_null()).sort("@time", maintain_order=True)
    before = pl.col("@cost").shift(1).over("@client", "@node")
    number = ((pl.col("@time") - slices.origin) / slices.seconds).floor().cast(pl.Int64)
    again = pairs.select("@client", number.alias("s"), same=(pl.col("@cost") - before).abs() <= TOLERANCE)
    again = again.drop_nulls()
    if again.is_empty() or float(again["same"].mean() or 0.0) < HOLDS:  # type: ignore[arg-type]
        return None
    cells = again.group_by("@client", "s").agg(same=pl.col("same").mean(), n=pl.len()).filter(pl.col("n") > 1)
    jumps = cells.filter(1.0 - pl.col("same") >= TOGETHER).sort("@client", "s")
    gaps = jumps.select(gap=pl.col("s").diff().over("@client")).drop_nulls()["gap"].to_numpy().astype(np.float64)
    if len(gaps) < JUMPS:
        return None
    changed = (pl.col("n") * (1.0 - pl.col("same"))).sum()
    if jumps.select(changed).item() < TOGETHER * cells.select(changed).item():
        return None  # values change one by one
    deviation = float(gaps.std() / gaps.mean())
    # A Weibull's coefficient of variation is nearly one over its shape to the power 0.92.
    shape = min(max(round(max(deviation, 0.06) ** -1.086), 1), 16)
    same = float(jumps.select((pl.col("n") * pl.col("same")).sum() / pl.col("n").sum()).item())
    return Jumps(
        float(np.median(gaps)) * slices.seconds,
        shape,
        float(f"{min(max(same, 0.01), 0.9):.2g}") if math.isfinite(same) else 0.1,
    )
