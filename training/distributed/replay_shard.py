"""Second step: a shard is replayed range by range on some worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.columns.ids import Id
from scheduler.history.store import new_history, table_counters
from training.distributed.next_outcomes import Chunk, next_outcomes
from training.distributed.sharding import Shard, sharding_spec
from training.distributed.slice_ranges import Plan, from_frame, shard_file
from training.features.replay import replay
from training.features.trained_means import Means, found_means, with_keys
from training.telemetry import Categories, Telemetry
from training.telemetry.source import read_clients, read_nodes

if TYPE_CHECKING:
    from distributed import Client

_ORDER = ["time", "slice", "client", "node"]


class Rows(NamedTuple):
    """All rows' numbers, and the draws that one machine would have made.

    Attributes
    ----------
    offsets
        (n_ranges,) int64 number of the first row of each range of slices.
    n_rows
        (n_ranges,) int64.
    ends
        (n_ranges,) float64 seconds: rows before are complete once the range was read.
    kept
        (n_kept,) int64 sorted numbers of the rows whose features are wanted.
    starts
        When each slice that there is begins, in order, in seconds.
    bounds
        First slices that stop training, that calibrate, and that only judge.
    reveal, state
        Share of the outcomes that history sees, and the state of the generator that draws which.
    categories
        What codes mean, by range and column: the telemetry's own categories.
    vocabulary
        The model's.
    """

    offsets: NDArray[np.int64]
    n_rows: NDArray[np.int64]
    ends: NDArray[np.float64]
    kept: NDArray[np.int64]
    starts: dict[int, float]
    bounds: tuple[int, int, int]
    reveal: float
    state: Any
    categories: list[dict[str, tuple[Id, ...]]]
    vocabulary: dict[str, tuple[Id, ...]]


class Replayed(NamedTuple):
    """A shard's kept rows: numbers and features of its sharding; of the first sharding also outcomes and next outcomes.

    ``counters`` are each table's, see `scheduler.history.store.table_counters`; ``peak_bytes`` is the worker's largest
    memory so far; ``means`` are those of training, of the sharding with such features.
    """

    rows: NDArray[np.int64]
    x: NDArray[np.float32]
    outcomes: pl.DataFrame
    counters: dict[str, NDArray[np.int64]]
    peak_bytes: int
    means: Means | None = None


def replay_shard(plan: Plan, shard: Shard, rows: Rows) -> Replayed:
    """Replay the outcomes of a shard, in the order of all, and return the features of its kept rows."""
    spec = sharding_spec(plan.spec, shard.sharding)
    history = new_history(spec)
    clients = read_clients(plan.data, spec)
    nodes = read_nodes(plan.data, spec)
    meaning = _union(rows.categories)

    def whole() -> Iterator[Telemetry]:
        for number in range(len(rows.ends)):
            frame = _numbered(pl.read_ipc(shard_file(plan, number, shard)), number, rows, meaning)
            yield from_frame(frame, clients, nodes, meaning)

    features = with_keys(whole(), spec, rows.vocabulary)
    found: list[NDArray[np.float32]] = []
    kept: list[pl.DataFrame] = []
    for chunk, end in _chunks(plan, shard, rows, meaning):
        telemetry = from_frame(chunk, clients, nodes, meaning)
        keep, revealed = chunk["kept"].to_numpy(), chunk["revealed"].to_numpy()
        found.append(replay(telemetry, spec, features, history, keep=keep, revealed=revealed, means=True, end=end))
        kept.append(chunk.filter(pl.col("kept")).select("row", "slice", "ok", pl.col("^propensity$|^outcome\\..*$")))
    known = pl.concat(kept)
    outcomes = known.select("row")
    if shard.sharding == plan.shardings[0]:
        frames = _backwards(plan, shard, rows, meaning)
        read = (Chunk(from_frame(frame, clients, nodes, meaning), frame) for frame in frames)
        outcomes = known.join(
            next_outcomes(read, plan.spec, np.fromiter(rows.starts, np.int32)), on="row", maintain_order="left"
        )
    return Replayed(
        rows=known["row"].to_numpy(),
        x=np.concatenate(found),
        outcomes=outcomes,
        counters=table_counters(history),
        peak_bytes=_peak_bytes(),
        means=found_means(features, whole(), spec, rows.vocabulary, rows.starts),
    )


def peak_memory(client: Client) -> int:
    """Return the largest memory, in bytes, that a worker that is now there has ever had."""
    return max(client.run(_peak_bytes).values())


def _peak_bytes() -> int:
    # Not `getrusage`: its peak includes the memory of the process that started the worker.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024


def _chunks(
    plan: Plan, shard: Shard, rows: Rows, meaning: Mapping[str, tuple[Id, ...]]
) -> Iterator[tuple[pl.DataFrame, float]]:
    """Give the rows in the order of time, each chunk with the time at which the next one begins.

    What the next range may precede waits for it. Rows whose outcome arrives only later come again in the next chunk,
    not to be kept twice.
    """
    late: pl.DataFrame | None = None
    for number, end in enumerate(rows.ends.tolist()):
        frame = _numbered(pl.read_ipc(shard_file(plan, number, shard)), number, rows, meaning)
        if late is not None and late.height:
            frame = pl.concat([late, frame]).sort(_ORDER, maintain_order=True)
        ready = frame.filter(pl.col("time") < end)
        later = pl.col("arrival").is_finite() & (pl.col("arrival") >= end)
        again = ready.filter(later).with_columns(kept=pl.lit(value=False))
        late = pl.concat([again, frame.filter(pl.col("time") >= end)])
        yield ready, end


def _backwards(plan: Plan, shard: Shard, rows: Rows, meaning: Mapping[str, tuple[Id, ...]]) -> Iterator[pl.DataFrame]:
    for number in reversed(range(len(rows.ends))):
        yield _numbered(pl.read_ipc(shard_file(plan, number, shard)), number, rows, meaning)


def _numbered(
    frame: pl.DataFrame, number_of_range: int, rows: Rows, meaning: Mapping[str, tuple[Id, ...]]
) -> pl.DataFrame:
    """Add the random draws of a range's rows, number the rows globally, and map category codes to common ones."""
    local = frame["row"].to_numpy()
    number = local + rows.offsets[number_of_range]
    place = np.searchsorted(rows.kept, number)
    kept = rows.kept[np.minimum(place, rows.kept.size - 1)] == number
    columns = [
        pl.Series("row", number),
        pl.Series("kept", kept),
        pl.Series("revealed", _draws(number_of_range, rows)[local] < rows.reveal),
    ]
    for name, values in rows.categories[number_of_range].items():
        places = {value: code for code, value in enumerate(meaning[name])}
        columns.append(pl.Series(name, Categories(frame[name].to_numpy(), values).recoded(places)))
    return frame.with_columns(columns)


def _draws(number_of_range: int, rows: Rows) -> NDArray[np.float64]:
    """Return the uniform numbers of a range's rows, as if those of all rows had been drawn one after the other."""
    bits = np.random.PCG64()
    bits.state = rows.state
    bits.advance(int(rows.offsets[number_of_range]))
    return np.random.Generator(bits).random(int(rows.n_rows[number_of_range]))


def _union(categories: list[dict[str, tuple[Id, ...]]]) -> dict[str, tuple[Id, ...]]:
    """Return all values that occur in any range, by column."""
    found: dict[str, dict[Id, None]] = {}
    for of_range in categories:
        for name, values in of_range.items():
            found.setdefault(name, {}).update(dict.fromkeys(values))
    return {name: tuple(values) for name, values in found.items()}
