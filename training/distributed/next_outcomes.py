"""Find the next outcome of the same client and node, from the last range of slices to the first.

So no more than a range and one row for each client and node is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from scheduler.spec import Spec
from training.features.targets import head_targets
from training.telemetry import Telemetry

AGAIN = "again."
"""Before a head's name: the column of its next outcomes."""

_PAIR = ["client", "node", "bounded"]


class Chunk(NamedTuple):
    """Rows of a range as telemetry and as a frame with their numbers ``row`` and which are ``kept``."""

    telemetry: Telemetry
    frame: pl.DataFrame


def next_outcomes(chunks: Iterable[Chunk], spec: Spec, bounds: tuple[int, int]) -> pl.DataFrame:
    """Return for each kept row, by head, the next outcome of its client and node, as one machine would find it.

    Parameters
    ----------
    chunks
        The last one first, with all rows of their clients and nodes, in the order of time.
    bounds
        First slices that are not fitted, and that only judge; a next outcome counts only before the next bound.

    Returns
    -------
    pl.DataFrame
        ``row`` and for each head ``again.HEAD``, null where there is none.
    """
    return pl.concat(list(_found(chunks, spec, bounds)))


def _found(chunks: Iterable[Chunk], spec: Spec, bounds: tuple[int, int]) -> Iterator[pl.DataFrame]:
    heads = list(spec.heads)
    later: pl.DataFrame | None = None
    for telemetry, frame in chunks:
        _, outcomes = head_targets(telemetry, spec, np.ones(len(telemetry), np.bool_))
        rows = frame.select("row", "kept", "client", "node").with_columns(
            pl.Series("bounded", np.searchsorted(bounds, telemetry.slice, side="right")),
            *(pl.Series(name, values, nan_to_null=True) for name, values in outcomes.items()),
        )
        known = rows if later is None else pl.concat([rows, later])
        again = [
            pl.when(pl.col(name).is_not_null())
            .then(pl.col(name).shift(-1).backward_fill().over(_PAIR))
            .alias(AGAIN + name)
            for name in heads
        ]
        yield known.select("row", "kept", *again).filter("kept").drop("kept")
        first = known.group_by(_PAIR, maintain_order=True).agg(pl.col(heads).drop_nulls().first())
        later = first.select(pl.lit(-1, pl.Int64).alias("row"), pl.lit(value=False).alias("kept"), *_PAIR, *heads)
