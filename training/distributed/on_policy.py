"""Run the rehearsal on one worker, which reads telemetry one range of slices at a time.

What a model sees in service depends on all its earlier picks, so this step cannot be split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scheduler.model.model import Model
from scheduler.spec import Spec
from training.distributed.slice_ranges import SliceRange, Slices, plan_ranges
from training.distributed.workers import gathered
from training.evaluation.on_policy import Parts, serve_parts
from training.features.dataset import Dataset
from training.features.split import first_served
from training.progress import ProgressCallback, silent
from training.telemetry import Telemetry
from training.telemetry.read import read_part
from training.telemetry.source import read_clients, read_nodes

if TYPE_CHECKING:
    from distributed import Client


class _Asked(NamedTuple):
    """What the worker is told: the data and its slices, the models' artifacts, and the seed."""

    data: Path
    spec: Spec
    slices: Slices
    models: tuple[tuple[int, Path], ...]
    seed: int


def serve_on_cluster(  # noqa: PLR0913 - what a training run knows
    client: Client,
    data: Path,
    spec: Spec,
    models: Sequence[tuple[int, Path]],
    slices: Slices,
    *,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> Dataset:
    """Do what `training.evaluation.on_policy.serve_on_policy` does on one worker, again on another one if that is lost.

    Parameters
    ----------
    client, data
        As for `training.distributed.cluster_dataset`.
    models
        Artifacts of the models that serve, each with its first slice, in folders that all workers see under these
        paths.
    slices
        As `training.distributed.cluster_dataset` found them.

    Raises
    ------
    DataError
        As `training.evaluation.on_policy.serve_on_policy`.
    """
    asked = _Asked(data.resolve(), spec, slices, tuple((start, model.resolve()) for start, model in models), seed)
    task = client.submit(_rehearse, asked, pure=False)
    made: Dataset = gathered(client, [task], "rehearse on a worker", progress)[0]
    return made


def _rehearse(asked: _Asked) -> Dataset:
    data, spec = asked.data, asked.spec
    counts, until, middles, accepted = asked.slices
    start = first_served(accepted, spec)
    before = plan_ranges({number: n for number, n in counts.items() if number < start}, start)
    first, *others = plan_ranges({number: n for number, n in counts.items() if number >= start}, until)

    def read(ranges: list[SliceRange]) -> Iterator[Telemetry]:
        for one in ranges:
            part = read_part(data, spec, start=one.start, until=one.until, middles=middles)
            if len(part.telemetry):
                yield part.telemetry

    clients = read_clients(data, spec)
    nodes = read_nodes(data, spec)
    parts = Parts(accepted, clients, nodes, read(before), read([first._replace(start=start), *others]))
    return serve_parts(parts, spec, [(start, Model.load(model)) for start, model in asked.models], seed=asked.seed)
