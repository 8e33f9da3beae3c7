"""Run the steps: split slices into shards, replay the shards, join the kept rows as one machine would have them."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.columns.ids import Id
from scheduler.errors import DataError
from scheduler.features.program import compile_features
from scheduler.history.store import CHANGE_POINTS, HISTORY, LATENT_FACTORS
from scheduler.model.manifest import TableUse
from scheduler.spec import Spec
from training.distributed.next_outcomes import AGAIN
from training.distributed.replay_shard import Replayed, Rows, replay_shard
from training.distributed.sharding import Shard, plan_shardings, sharding_spec
from training.distributed.sketch import estimate
from training.distributed.slice_ranges import (
    Met,
    Plan,
    SliceRange,
    Slices,
    SplitRange,
    meet_range,
    plan_ranges,
    split_range,
)
from training.distributed.workers import gathered
from training.features.dataset import Dataset, assemble, check_parts
from training.features.split import seen_until, split_slices, without_embargo
from training.features.targets import RowOutcomes
from training.features.vocabulary import by_frequency, category_counts
from training.heads.summary import TrainingWindow
from training.progress import ProgressCallback, silent
from training.telemetry import Categories
from training.telemetry.history_size import Memory, needed, sized
from training.telemetry.read import check_measured, slice_counts, slice_middles
from training.telemetry.slice_starts import starts_of
from training.telemetry.source import read_clients, read_nodes
from training.telemetry.units import check_units, slice_seconds

if TYPE_CHECKING:
    from distributed import Client


class ClusterDataset(NamedTuple):
    """The dataset that workers made from telemetry.

    Attributes
    ----------
    dataset
        As `training.features.dataset.build_dataset` would have built it.
    read
        As `training.pipeline.train.read_window` would say it, with what `training.features.split.seen_until` adds.
    slices
        Facts about the slices.
    evicted
        Evictions from all tables; if there are none, features equal those of one machine bit
        for bit.
    peak_bytes
        The largest memory of a worker.
    """

    dataset: Dataset
    read: TrainingWindow
    slices: Slices
    evicted: int
    peak_bytes: int


def cluster_dataset(  # noqa: PLR0913 - what a command line may say
    client: Client,
    data: Path,
    spec: Spec,
    *,
    until: int | None = None,
    seed: int = 0,
    n_shards: int | None = None,
    scratch: Path | None = None,
    progress: ProgressCallback = silent,
) -> ClusterDataset:
    """Read and replay telemetry on workers.

    Workers that are lost are made up for: their tasks run again on others, from files that are whole or not there.

    Parameters
    ----------
    client
        Connected; see `training.distributed.connect`.
    data
        A telemetry directory that all workers see under this path.
    until, seed
        As for `training.telemetry.read_telemetry` and `training.features.dataset.build_dataset`.
    n_shards
        Number of shards of each sharding; by default the number of workers. More shards need less memory each.
    scratch
        Where a folder for intermediate files is made, which all workers must see; by default the system's. Removed at
        the end.

    Raises
    ------
    DataError
        As reading or building on one machine would raise.
    """
    n_shards = n_shards or len(client.scheduler_info(n_workers=-1)["workers"])
    counts = slice_counts(data, spec, until)
    if not counts:
        check_measured(data, spec, 0, 0)
    ranges = plan_ranges(counts, until)
    with _scratch(scratch) as folder:
        plan = Plan(data.resolve(), spec, plan_shardings(spec, n_shards), folder)
        middles = _middles(client, plan, ranges, progress)
        asked = [client.submit(split_range, plan, one, middles, pure=False) for one in ranges]
        split: list[SplitRange] = gathered(client, asked, "split", progress)
        n_read, n_measured = sum(one.n_read for one in split), sum(one.n_measured for one in split)
        check_measured(data, spec, n_read, n_measured)
        slices = np.concatenate([one.slices for one in split])
        if not slices.size:
            raise DataError(f"{data}: expected at least one good row, found {n_read} bad ones")
        known = _before(client, plan, ranges, split, middles, split_slices(slices, spec).judge)
        plan = plan._replace(spec=sized(spec, _count_keys(known)))
        rows = _draw(plan, split, middles, seed, _vocabulary(plan, known))
        replayed = _replay(client, plan, rows, progress)
    features = compile_features(spec, rows.vocabulary)
    x, measured = _joined(plan, rows, replayed)
    made = assemble(spec, rows.bounds, features, rows.vocabulary, x, measured)
    check_parts(made, rows.bounds)
    memory = _memory(plan, _count_keys([one.met for one in split]), replayed)
    return ClusterDataset(
        dataset=made._replace(
            memory=memory, means=next((one.means for one in replayed.values() if one.means is not None), None)
        ),
        read=_read_window(split, slices, spec),
        slices=Slices(counts, until, middles, np.unique(slices)),
        evicted=sum(use.evicted for use in memory.tables.values()),
        peak_bytes=max(one.peak_bytes for one in replayed.values()),
    )


def _read_window(split: Sequence[SplitRange], slices: NDArray[np.int32], spec: Spec) -> TrainingWindow:
    n_read, n_rows = sum(one.n_read for one in split), sum(one.n_rows for one in split)
    return {
        "rows": n_rows,
        "rejected": n_read - n_rows,
        "first_slice": int(slices.min()),
        "last_slice": int(slices.max()),
        **seen_until(slices, np.concatenate([one.last_times for one in split]), spec),
    }


def _before(
    client: Client,
    plan: Plan,
    ranges: Sequence[SliceRange],
    split: Sequence[SplitRange],
    middles: pl.DataFrame | None,
    bound: int,
) -> list[Met]:
    """Return what the rows before a slice name; a range that the slice cuts is read again up to there."""
    found = []
    for one, what in zip(ranges, split, strict=True):
        if not what.slices.size or what.slices.min() >= bound:
            continue
        if what.slices.max() < bound:
            found.append(what.met)
            continue
        found.append(client.submit(meet_range, plan, one._replace(until=bound), middles, pure=False).result())
    return found


def _count_keys(met: Sequence[Met]) -> dict[str, int]:
    """Return about how many distinct values each history key has in all ranges together."""
    names = met[0].sketches
    return {name: estimate(np.maximum.reduce([one.sketches[name] for one in met])) for name in names}


def _memory(plan: Plan, keys: Mapping[str, int], replayed: Mapping[Shard, Replayed]) -> Memory:
    """Return how full the shards' tables became as if they were one.

    A sharding holds only the keys that its features read, and two shardings may hold the same.
    """
    nothing = dict.fromkeys((HISTORY, LATENT_FACTORS, CHANGE_POINTS), np.zeros(2, np.int64))
    used = Memory.of(plan.spec, keys, nothing)
    needs = [needed(sharding_spec(plan.spec, sharding), keys) for sharding in plan.shardings]
    tables = {}
    for name, use in used.tables.items():
        counters = np.sum([one.counters[name] for one in replayed.values()], axis=0)
        held = sum(sum(need.get(name, {}).values()) for need in needs)
        tables[name] = msgspec.structs.replace(TableUse.of(use.capacity, held, counters), keys=use.keys)
    return used._replace(tables=tables)


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="fogline-", dir=parent))
    try:
        yield folder.resolve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _middles(
    client: Client, plan: Plan, ranges: Sequence[SliceRange], progress: ProgressCallback
) -> pl.DataFrame | None:
    if plan.spec.telemetry.time is None:
        return None
    asked = [
        client.submit(slice_middles, plan.data, plan.spec, start=one.start, until=one.until, pure=False)
        for one in ranges
    ]
    slices = pl.concat(gathered(client, asked, "middle times", progress)).unique("slice").sort("slice")
    check_units(plan.data, plan.spec, slices)
    return slices


def _replay(client: Client, plan: Plan, rows: Rows, progress: ProgressCallback) -> dict[Shard, Replayed]:
    everywhere = client.scatter(rows, broadcast=True, hash=False)
    shards = [shard for sharding in plan.shardings for shard in sharding.shards()]
    asked = [client.submit(replay_shard, plan, shard, everywhere, pure=False) for shard in shards]
    return dict(zip(shards, gathered(client, asked, "replay shards", progress), strict=True))


def _draw(
    plan: Plan,
    split: Sequence[SplitRange],
    middles: pl.DataFrame | None,
    seed: int,
    vocabulary: dict[str, tuple[Id, ...]],
) -> Rows:
    """Return all rows' numbers and their random draws, as `training.features.dataset.build_dataset` makes them."""
    spec = plan.spec
    slices, first_times = (np.concatenate([getattr(one, name) for one in split]) for name in ("slices", "first_times"))
    lengths = np.concatenate([one.lengths for one in split])
    starts = np.cumsum(lengths) - lengths
    wanted = without_embargo(slices, slices, spec)
    candidates = np.cumsum(lengths[wanted])
    n = int(candidates[-1]) if candidates.size else 0
    rng = np.random.default_rng(seed)
    chosen = np.arange(n) if n <= spec.training.rows else np.sort(rng.choice(n, spec.training.rows, replace=False))
    run = np.searchsorted(candidates, chosen, side="right")
    n_rows = np.array([one.n_rows for one in split])
    begins = np.array([*(one.first_times.min(initial=np.inf) for one in split), np.inf])
    return Rows(
        offsets=np.cumsum(n_rows) - n_rows,
        n_rows=n_rows,
        ends=np.minimum.accumulate(begins[::-1])[::-1][1:],
        kept=starts[wanted][run] + chosen - (candidates - lengths[wanted])[run],
        starts=starts_of(slices, first_times, slice_seconds(middles, spec)),
        bounds=split_slices(slices, spec).bounds,
        reveal=spec.training.reveal,
        state=rng.bit_generator.state,
        categories=[{name: values for name, (values, _) in one.met.categories.items()} for one in split],
        vocabulary=vocabulary,
    )


def _vocabulary(plan: Plan, met: Sequence[Met]) -> dict[str, tuple[Id, ...]]:
    """Return what `training.features.vocabulary.find_vocabulary` would find in the rows of some ranges."""
    spec = plan.spec
    found: dict[str, tuple[Id, ...]] = {}
    clients, nodes = (
        np.logical_or.reduce(masks) for masks in zip(*((one.clients, one.nodes) for one in met), strict=True)
    )
    for side, columns, table, occurs in (
        ("request", spec.request, read_clients(plan.data, spec), clients),
        ("node", spec.node, read_nodes(plan.data, spec), nodes),
    ):
        for name in columns:
            counts: Counter[Id] = Counter()
            for one in met:
                values, times = one.categories.get(f"{side}.{name}", ((), np.zeros(0, np.int64)))
                counts.update(dict(zip(values, times.tolist(), strict=True)))
            raw = table.columns.get(name)
            if isinstance(raw, Categories):
                counts.update(dict(zip(raw.values, category_counts(raw, occurs).tolist(), strict=True)))
            if columns[name].type == "category":
                found[f"{side}.{name}"] = by_frequency(list(counts), np.array([*counts.values()], np.int64))
    return found


def _joined(plan: Plan, rows: Rows, replayed: Mapping[Shard, Replayed]) -> tuple[NDArray[np.float32], RowOutcomes]:
    """Put the shards' columns and rows into their places."""
    names = list(plan.spec.features)
    x = np.empty((rows.kept.size, len(names)), np.float32)
    for shard, one in replayed.items():
        columns = [names.index(name) for name in shard.sharding.features]
        x[np.searchsorted(rows.kept, one.rows)[:, None], columns] = one.x
    first = plan.shardings[0]
    known = pl.concat([one.outcomes for shard, one in replayed.items() if shard.sharding == first]).sort("row")
    values, again = (
        {name.removeprefix(prefix): known[name].to_numpy() for name in known.columns if name.startswith(prefix)}
        for prefix in ("outcome.", AGAIN)
    )
    propensity = known["propensity"].to_numpy() if "propensity" in known.columns else None
    return x, RowOutcomes(known["slice"].to_numpy(), known["ok"].to_numpy(), values, again, propensity)
