"""Find the next outcome of the same client and node, from the last range of slices to the first.

So no more than a range and one row for each client and node is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.spec import Spec
from training.features.split import split_slices, without_embargo
from training.features.targets import head_targets
from training.telemetry import Telemetry

AGAIN = "again."
"""Before a head's name: the column of its next outcomes."""

_PAIR = ["client", "node", "bounded"]


class Chunk(NamedTuple):
    """Rows of a range as telemetry and as a frame with their numbers ``row`` and which are ``kept``."""

    telemetry: Telemetry
    frame: pl.DataFrame


def next_outcomes(chunks: Iterable[Chunk], spec: Spec, slices: NDArray[np.int32]) -> pl.DataFrame:
    """Return for each kept row, by head, the next outcome of its client and node, as one machine would find it.

    Parameters
    ----------
    chunks
        The last one first, with all rows of their clients and nodes, in the order of time.
    slices
        All that there are. A next outcome counts only before the next of two bounds, the first slices that are not
        fitted and that only judge, and outside an embargo.

    Returns
    -------
    pl.DataFrame
        ``row`` and for each head ``again.HEAD``, null where there is none.
    """
    return pl.concat(list(_found(chunks, spec, slices)))


def _found(chunks: Iterable[Chunk], spec: Spec, slices: NDArray[np.int32]) -> Iterator[pl.DataFrame]:
    heads, split = list(spec.heads), split_slices(slices, spec)
    bounds = split.stop, split.judge
    later: pl.DataFrame | None = None
    for telemetry, frame in chunks:
        _, outcomes = head_targets(telemetry, spec, np.ones(len(telemetry), np.bool_))
        usable = without_embargo(telemetry.slice, slices, spec)
        rows = frame.select("row", "kept", "client", "node").with_columns(
            pl.Series("bounded", np.searchsorted(bounds, telemetry.slice, side="right")),
            *(pl.Series(name, np.where(usable, values, np.nan), nan_to_null=True) for name, values in outcomes.items()),
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
