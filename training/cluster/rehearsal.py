"""Last step: the rehearsal, served by one worker, which reads telemetry a window at a time.

What a model sees when it serves depends on all that it picked before, so it cannot be dealt.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.model import Model
from scheduler.spec import Spec
from training.cluster.windows import Window, plan_windows
from training.cluster.workers import gathered
from training.dataset import Dataset
from training.ingest import Telemetry
from training.ingest.read import read_part, slice_counts, slice_middles
from training.ingest.tables import CLIENTS, NODES, read_entities
from training.progress import Report, silent
from training.rehearsal import Parts, first_served, rehearse_parts

if TYPE_CHECKING:
    from distributed import Client


class _Asked(NamedTuple):
    """What the worker is told: the data and what of it counts, the first model's artifact, and the seed."""

    data: Path
    spec: Spec
    slices: NDArray[np.int32]
    until: int | None
    model: Path
    seed: int


def rehearse_on_cluster(  # noqa: PLR0913 - what a training run knows
    client: Client,
    data: Path,
    spec: Spec,
    model: Path,
    slices: NDArray[np.int32],
    *,
    until: int | None = None,
    seed: int = 0,
    progress: Report = silent,
) -> Dataset:
    """Do what `training.rehearsal.rehearse` does on one worker, again on another one if that is lost.

    Parameters
    ----------
    client, data, until
        As for `training.cluster.cluster_dataset`.
    model
        Artifact of the model that serves, in a folder that all workers see under this path.
    slices
        Those with accepted rows, in order.

    Raises
    ------
    DataError
        As `training.rehearsal.rehearse`.
    """
    asked = _Asked(data.resolve(), spec, slices, until, model.resolve(), seed)
    made: list[Dataset] = gathered(
        client, [client.submit(_rehearse, asked, pure=False)], "rehearse on a worker", progress
    )
    return made[0]


def _rehearse(asked: _Asked) -> Dataset:
    data, spec = asked.data, asked.spec
    start, counts = first_served(asked.slices, spec), slice_counts(data, spec, asked.until)
    middles = _middles(asked, counts)
    before = plan_windows({number: n for number, n in counts.items() if number < start}, start)
    first, *others = plan_windows({number: n for number, n in counts.items() if number >= start}, asked.until)

    def read(windows: list[Window]) -> Iterator[Telemetry]:
        for one in windows:
            part = read_part(data, spec, start=one.start, until=one.until, middles=middles)
            if len(part.telemetry):
                yield part.telemetry

    clients = read_entities(data / CLIENTS, spec.request_columns("clients"))
    nodes = read_entities(data / NODES, spec.node_columns("nodes"))
    parts = Parts(asked.slices, clients, nodes, read(before), read([first._replace(start=start), *others]))
    return rehearse_parts(parts, spec, Model.load(asked.model), seed=asked.seed)


def _middles(asked: _Asked, counts: dict[int, int]) -> pl.DataFrame | None:
    """Return the median time of each slice; None where the spec has no time."""
    if asked.spec.telemetry.time is None:
        return None
    windows = plan_windows(counts, asked.until)
    found = [slice_middles(asked.data, asked.spec, start=w.start, until=w.until) for w in windows]
    return pl.concat([one for one in found if one is not None]).unique("slice").sort("slice")
