"""What records say of decisions, outcomes and nodes, from all segments together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import polars as pl

from scheduler.columns.ids import Id
from scheduler.decisions.record.arrays import ADMITTED, LEARNED
from scheduler.decisions.record.columns import Columns, Ragged, joined, some_rows
from scheduler.decisions.record.read import SegmentReader, read_segments
from scheduler.errors import DataError
from scheduler.fleet.hooks import REMOVED
from scheduler.spec import Spec, spec_from_json

_DECISIONS = (
    "id",
    "time",
    "arm",
    "client",
    "request_values",
    "request_keys",
    "propensity",
    "n_slate",
    "nodes",
    "node_keys",
)
_OUTCOMES = ("decision", "kind", "time", "node_keys", "outcomes")

_TABLES = {"decisions": _DECISIONS, "outcomes": _OUTCOMES, "timeouts": None, "nodes": None}
"""Which columns of which tables are read; None for all."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many segments are done, of how many."""


class Collected(NamedTuple):
    """Rows of all segments of one spec.

    Attributes
    ----------
    spec
        The newest that decided, policy included.
    decisions, outcomes, timeouts, nodes
        Columns as they were recorded, with ``life`` for the scheduler that recorded them; None for none.
    candidates
        ``decision`` and ``candidates``, ids as texts, of the decisions that were recorded in full.
    names
        Categories by key.
    hashed
        Whether ids are hashed.
    skipped
        By reason, how many rows are left out.
    """

    spec: Spec
    decisions: dict[str, Any]
    outcomes: dict[str, Any] | None
    timeouts: dict[str, Any] | None
    nodes: dict[str, Any] | None
    candidates: pl.DataFrame
    names: dict[int, Id]
    hashed: bool
    skipped: dict[str, int]


def collect(folder: str | Path, progress: Progress) -> Collected:
    """Read all segments that the newest spec's fingerprint fits.

    Raises
    ------
    RecordError
        If there is no such folder.
    DataError
        If no decision is recorded.
    """
    segments = list(read_segments(folder))
    arms = [arm for segment in segments for arm in segment.manifest.arms]
    if not arms:
        raise DataError(f"{folder}: expected recorded decisions, found none")
    newest = max(arms, key=lambda arm: arm.since)
    spec = spec_from_json(newest.spec.encode())
    tables: dict[str, list[Columns]] = {table: [] for table in _TABLES}
    candidates, names = list[pl.DataFrame](), dict[int, Id]()
    skipped: Counter[str] = Counter()
    hashed = {segment.manifest.hashed for segment in segments}
    if len(hashed) > 1:
        raise DataError(f"{folder}: expected ids all hashed or all as they are, found both")
    for done, segment in enumerate(segments):
        progress(done, len(segments))
        if any(arm.fingerprint != newest.fingerprint for arm in segment.manifest.arms):
            skipped["decisions of another fingerprint"] += sum(len(b["time"]) for b in segment.batches("decisions"))
        else:
            names |= segment.names()
            for table, wanted in _TABLES.items():
                tables[table] += _batches(segment, table, wanted)
            candidates += [_candidates(columns) for columns in segment.batches("full")]
        for table in (*tables, "full"):
            if torn := segment.torn(table).rows:
                skipped[f"torn rows of {table}"] += torn
    progress(len(segments), len(segments))
    decisions, outcomes, timeouts, nodes = (joined(parts) if parts else None for parts in tables.values())
    if decisions is None:
        raise DataError(f"{folder}: expected recorded decisions, found none")
    none = pl.DataFrame(schema={"decision": pl.Int64, "candidates": pl.List(pl.String)})
    lists = pl.concat([none, *candidates]).unique("decision")
    return Collected(spec, decisions, outcomes, timeouts, nodes, lists, names, hashed.pop(), dict(skipped))


def _batches(segment: SegmentReader, table: str, wanted: tuple[str, ...] | None) -> list[Columns]:
    """Return the batches of a table with the scheduler that they are of; outcomes from elsewhere are no decision's."""
    found = []
    for batch in segment.batches(table):
        columns = {name: column for name, column in batch.items() if wanted is None or name in wanted}
        columns["life"] = np.full(len(batch["time"]), segment.manifest.life, np.int64)
        if table == "nodes":
            columns = some_rows(columns, np.flatnonzero(np.asarray(columns["kind"]) != REMOVED))
        if table == "outcomes":
            columns = some_rows(columns, np.flatnonzero(np.asarray(columns["kind"]) != LEARNED))
        found.append(columns)
    return found


def _candidates(columns: dict[str, Any]) -> pl.DataFrame:
    """Return the candidates that no filter dropped."""
    nodes: Ragged = columns["nodes"]
    stays = np.asarray(columns["verdict"].values) == ADMITTED
    spans = zip(nodes.starts[:-1].tolist(), nodes.starts[1:].tolist(), strict=True)
    lists = [[nodes.values[i] for i in range(first, end) if stays[i]] for first, end in spans]
    data = {"decision": columns["id"], "candidates": lists}
    return pl.DataFrame(data, schema={"decision": pl.Int64, "candidates": pl.List(pl.String)})
