"""Writes a telemetry directory from records: a row for each decision and node with its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.columns.schema import Schema
from scheduler.errors import InputError
from scheduler.spec import FAILED
from training.telemetry.files.codes import Place
from training.telemetry.files.kinds import KNOWN_AFTER
from training.telemetry.records.collect import Collected, Progress, collect
from training.telemetry.records.outcomes import Places, known_outcomes, places_of
from training.telemetry.records.slices import record_slices
from training.telemetry.records.values import Categories, are_integers, columns_of, ids_of, series
from training.telemetry.write import names_in, write_tables

PROPENSITY = "propensity"
"""Name of the column where the spec has none for it."""


@dataclass(frozen=True, kw_only=True)
class DatasetReport:
    """What was written.

    ``decisions`` were read, with ``rows`` outcomes; ``missing`` nodes of slates have none. ``timeouts`` of the rows are
    failures because no outcome came in time, ``late`` came after that. ``unnamed`` categories are null because their
    names were not recorded; ``nodes_unknown`` have no columns for the same reason. ``skipped`` are rows that were left
    out, by reason.
    """

    spec: str
    fingerprint: str
    decisions: int
    rows: int
    missing: int
    timeouts: int
    late: int
    clients: int
    nodes: int
    nodes_unknown: int
    unnamed: int
    skipped: dict[str, int]


def write_dataset(
    records: str | Path,
    out: str | Path,
    *,
    origin: float | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> DatasetReport:
    """Write ``telemetry.parquet``, ``nodes.parquet`` and ``clients.parquet`` from records.

    A timeout is a failed request whose outcomes are null; the column ``timeout`` says so. An outcome that came after
    its timeout is used in the place of it, once, and ``late`` says so. ``known_after_s`` is how many seconds after the
    decision the scheduler was told the outcome: infinite for a timeout, because nobody told it. Besides these and the
    spec's columns there are ``decision``, ``place`` (in the slate; a propensity is that of place 0), and ``candidates``
    where the decision was recorded in full.

    Parameters
    ----------
    records
        Folder that `Scheduler.record` wrote to.
    out
        Made where it is missing.
    origin
        When slice 0 begins, in seconds; by default a whole number of slices, with the first decision in slice 0.
    force
        Also write to a folder that is not empty; its three files are replaced, none of them after an error.
    progress
        Told after each segment.

    Raises
    ------
    InputError
        If there is a file in the place of the folder, or something in the folder.
    RecordError
        If there is no such folder.
    DataError
        If no decision is recorded, or nothing came of any.
    """
    _check_place(Path(out), force=force)
    found = collect(records, progress or (lambda _done, _of: None))
    spec, n = found.spec, len(found.decisions["id"])
    places = places_of(found)
    categories, node_rows = _categories(found), _node_rows(found)
    rows = _joined(found, places, node_rows)
    texts = _node_texts(found, places)
    telemetry = _telemetry(found, places, texts, rows, categories, origin)
    clients, nodes = _clients(found, categories), _nodes(found, texts, node_rows, categories)
    write_tables(Path(out), clients=clients, nodes=nodes, telemetry=telemetry)
    known = set() if node_rows is None else set(node_rows["key"].to_list())
    return DatasetReport(
        spec=spec.name,
        fingerprint=spec.fingerprint(),
        decisions=n,
        rows=telemetry.height,
        missing=int((places.place < found.decisions["n_slate"][places.row]).sum())
        - rows.filter(pl.col("is_slate")).height,
        timeouts=int(telemetry["timeout"].sum()),
        late=int(telemetry["late"].sum()),
        clients=clients.height,
        nodes=nodes.height,
        nodes_unknown=len(set(places.key.tolist()) - known),
        unnamed=len(categories.unnamed),
        skipped=found.skipped,
    )


def _check_place(out: Path, *, force: bool) -> None:
    """Raise `InputError` where telemetry or anything else would be lost."""
    names = names_in(out)
    if names and not force:
        raise InputError(f"{out}: expected an empty folder (--force writes over it), found {', '.join(names[:5])}")


def _node_rows(found: Collected) -> pl.DataFrame | None:
    """Return which recorded row of nodes says what a node was like from which decision on."""
    rows = found.nodes
    if rows is None:
        return None
    data = {"life": rows["life"], "key": rows["key"], "decision": rows["decision"]}
    return pl.DataFrame(data).with_row_index("node_row").sort("decision", maintain_order=True)


def _joined(found: Collected, places: Places, node_rows: pl.DataFrame | None) -> pl.DataFrame:
    """Return a row for each place that has an outcome or a timeout, by time, with the row of its node's state."""
    frame = known_outcomes(found, places)
    if node_rows is None:
        frame = frame.with_columns(node_row=pl.lit(None, pl.UInt32))
    else:
        ordered = frame.sort("decision")
        frame = ordered.join_asof(node_rows, on="decision", by=["life", "key"], check_sortedness=False)
    return frame.sort("time", "decision", "at")


def _categories(found: Collected) -> Categories:
    """Return the categories of all columns."""
    spec, keys = found.spec, dict[Place, NDArray[np.uint64]]()
    sides = [(spec.request, found.decisions["request_keys"])]
    sides += [(spec.node, found.nodes["node_keys"])] if found.nodes is not None else []
    for columns, rows in sides:
        for name, at in Schema(columns).key_columns.items():
            place = columns[name].source, name
            keys[place] = np.union1d(keys.get(place, np.zeros(0, np.uint64)), rows[:, at])
    own = {("clients", "id"), ("nodes", "id")}
    return Categories(spec, found.names, {place: some for place, some in keys.items() if place not in own})


def _telemetry(
    found: Collected,
    places: Places,
    texts: Mapping[int, str],
    rows: pl.DataFrame,
    categories: Categories,
    origin: float | None,
) -> pl.DataFrame:
    spec, roles, decisions = found.spec, found.spec.telemetry, found.decisions
    at = rows["at"].to_numpy()
    of = places.row[at]
    ids = _ids(found, decisions["client"], decisions["request_keys"][:, 0])
    node_ids = _ids(found, places.text, places.key, texts)
    time, place = decisions["time"][of], places.place[at]
    out: dict[str, Any] = {
        roles.client: ids[of],
        roles.node: node_ids[at],
        "decision": decisions["id"][of],
        "place": place,
        "timeout": rows["timeout"],
        "late": rows["late"],
        KNOWN_AFTER: rows[KNOWN_AFTER],
    }
    if roles.time is not None:
        out[roles.time] = time
    if roles.slice.column is not None:
        out[roles.slice.column] = record_slices(decisions, roles.slice, origin)[of].astype(np.int32)
    if roles.ok is not None:
        out[roles.ok] = rows[FAILED] == 0.0
    out |= {name: rows[name].fill_nan(None) for name in spec.outcomes}
    first = (place == 0) & (decisions["n_slate"][of] > 0)
    out[roles.propensity or PROPENSITY] = pl.Series(np.where(first, decisions["propensity"][of], np.nan)).fill_nan(None)
    schema = Schema(spec.request)
    values = decisions.get("request_values", np.zeros((len(decisions["id"]), 0)))
    request = values[of], decisions["request_keys"][of]
    out |= columns_of(spec.request_columns("telemetry"), schema, request, categories)
    out |= columns_of(spec.node_columns("telemetry"), Schema(spec.node), _states(found, rows), categories)
    frame = pl.DataFrame(out).join(found.candidates, on="decision", how="left", maintain_order="left")
    return frame if roles.ok is not None else frame.filter((rows[FAILED] == 0.0).to_numpy())


def _states(found: Collected, rows: pl.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Return the columns of each row's node as of its decision; missing where they were not recorded."""
    schema = Schema(found.spec.node)
    values = np.full((rows.height, schema.width), np.nan)
    keys = np.zeros((rows.height, schema.n_keys), np.uint64)
    if found.nodes is not None:
        known = rows["node_row"].is_not_null().to_numpy()
        at = rows["node_row"].drop_nulls().to_numpy()
        keys[known] = found.nodes["node_keys"][at]
        if schema.width:
            values[known] = found.nodes["values"][at]
    return values, keys


def _ids(
    found: Collected, texts: list[str], keys: NDArray[np.uint64], known: Mapping[int, str] | None = None
) -> pl.Series:
    """Return ids as a column; hashed ones are texts, and others if any of them or of those ``known`` by key is one."""
    if found.hashed:
        return series(list(texts), as_text=True)
    known = dict(zip(keys.tolist(), texts, strict=True)) if known is None else known
    ids = ids_of(known)
    return series([ids[text] for text in texts], as_text=not are_integers(ids.values()))


def _node_texts(found: Collected, places: Places) -> dict[int, str]:
    """Return the id of each node of a slate, and of each whose columns are known, as text by key."""
    texts = dict(zip(places.key.tolist(), places.text, strict=True))
    if found.nodes is not None:
        texts |= dict(zip(found.nodes["key"].tolist(), found.nodes["node"], strict=True))
    return texts


def _clients(found: Collected, categories: Categories) -> pl.DataFrame:
    """Return each client as its last decision knew it."""
    spec, decisions = found.spec, found.decisions
    ids = _ids(found, decisions["client"], decisions["request_keys"][:, 0])
    order = np.argsort(decisions["time"], kind="stable")
    last = pl.DataFrame({"id": ids, "row": np.arange(len(ids))})[order].unique("id", keep="last", maintain_order=True)
    at = last["row"].to_numpy()
    values = decisions.get("request_values", np.zeros((len(ids), 0)))
    rows = values[at], decisions["request_keys"][at]
    wanted = {name: column for name, column in spec.request_columns("clients").items() if name != "id"}
    return pl.DataFrame({"id": last["id"]} | columns_of(wanted, Schema(spec.request), rows, categories))


def _nodes(
    found: Collected, texts: Mapping[int, str], node_rows: pl.DataFrame | None, categories: Categories
) -> pl.DataFrame:
    """Return each node of a slate, and each whose columns are known, as it was last."""
    spec, schema = found.spec, Schema(found.spec.node)
    keys = list(texts)
    frame = pl.DataFrame({"key": pl.Series(keys, dtype=pl.UInt64)})
    if node_rows is None:
        frame = frame.with_columns(node_row=pl.lit(None, pl.UInt32))
    else:
        last = node_rows.unique("key", keep="last", maintain_order=True).select("key", "node_row")
        frame = frame.join(last, on="key", how="left", maintain_order="left")
    ids = _ids(found, list(texts.values()), np.array(keys, np.uint64))
    wanted = {name: column for name, column in spec.node_columns("nodes").items() if name != "id"}
    return pl.DataFrame({"id": ids} | columns_of(wanted, schema, _states(found, frame), categories))
