"""Telemetry opened: rows by slice and the tables of clients and nodes, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import polars as pl

from scheduler.errors import DataError
from scheduler.spec import Column, Spec
from training.telemetry.data import Data, Files, Frames
from training.telemetry.files.kinds import (
    check_types,
    check_whole,
    is_text,
    slice_column,
    telemetry_types,
    widened,
    widest,
)
from training.telemetry.files.scan import Source, has_telemetry, scan_telemetry, within
from training.telemetry.raw import open_file, open_raw, table_file, telemetry_of
from training.telemetry.tables import CLIENTS, NODES, entities_of, naming, read_entities
from training.telemetry.telemetry import Entities

_TABLES = {"clients": CLIENTS, "nodes": NODES}


class Opened(Protocol):
    """Telemetry that can be read."""

    def rows(self, start: int | None, until: int | None) -> Source:
        """Return the rows of slices from ``start`` and before ``until``, with the spec's columns."""

    def table(self, name: str, columns: Mapping[str, Column]) -> Entities:
        """Return the table ``clients`` or ``nodes`` with some columns."""


def open_data(data: Data, spec: Spec) -> Opened:
    """Open telemetry: a telemetry directory as it is described, anything else as raw files or frames.

    Raises
    ------
    DataError
        If there is no telemetry, or it cannot be read.
    """
    plain = not spec.raw and spec.telemetry.slice.column is not None
    if not isinstance(data, Frames | Files) and plain and has_telemetry(Path(data)):
        return _Directory(Path(data), spec)
    return _Raw(data, spec)


def read_clients(data: Data, spec: Spec) -> Entities:
    """Return the table of clients with the columns that the spec takes from it."""
    return clients_of(open_data(data, spec), spec)


def read_nodes(data: Data, spec: Spec) -> Entities:
    """Return the table of nodes with the columns that the spec takes from it."""
    return nodes_of(open_data(data, spec), spec)


def clients_of(opened: Opened, spec: Spec) -> Entities:
    """Return the clients of opened telemetry."""
    return opened.table("clients", spec.request_columns("clients"))


def nodes_of(opened: Opened, spec: Spec) -> Entities:
    """Return the nodes of opened telemetry."""
    return opened.table("nodes", spec.node_columns("nodes"))


def _ids_column(spec: Spec, name: str) -> str:
    return spec.telemetry.client if name == "clients" else spec.telemetry.node


def _only_ids(columns: Mapping[str, Column]) -> bool:
    """Tell whether a table needs no file, because it has no more columns than ids, which telemetry has too."""
    return all(name == "id" for name in columns)


class _Directory:
    """A telemetry directory. A table without a file has the ids that are in telemetry."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        self._folder, self._spec = folder, spec

    def rows(self, start: int | None, until: int | None) -> Source:
        return scan_telemetry(self._folder, self._spec, start, until)

    def table(self, name: str, columns: Mapping[str, Column]) -> Entities:
        file = self._folder / _TABLES[name]
        if file.is_file() or not _only_ids(columns):
            return read_entities(file, columns)
        source = self.rows(None, None)
        with naming(*source.files):
            return _derived(self._folder, source.frame, _ids_column(self._spec, name), columns)


class _Raw:
    """Raw files or frames."""

    def __init__(self, data: Data, spec: Spec) -> None:
        self._data, self._spec = data, spec
        self._raw = open_raw(data)

    @cached_property
    def _frame(self) -> pl.LazyFrame:
        """The spec's columns, in the types that a telemetry directory has."""
        spec, where = self._spec, self._raw.where
        with naming(*self._raw.files or [where]):
            frame = telemetry_of(self._raw, spec)
            schema, kinds = frame.collect_schema(), telemetry_types(spec)
            check_types(where, schema, kinds)
            targets = {name: widest(kind, [schema[name]]) for name, kind in kinds.items()}
            check_whole(where, frame, schema, targets)
            return frame.with_columns(widened(name, schema[name], target) for name, target in targets.items())

    def rows(self, start: int | None, until: int | None) -> Source:
        return Source(within(self._frame, slice_column(self._spec), start, until), self._raw.files or [self._raw.where])

    def table(self, name: str, columns: Mapping[str, Column]) -> Entities:
        given = getattr(self._data, name) if isinstance(self._data, Frames) else None
        file = table_file(self._data, name)
        if given is None and file is None:
            if not _only_ids(columns):
                wanted = ", ".join(columns)
                raise DataError(
                    f"{self._data}: expected a table of {name} with the columns {wanted}, found no such table"
                )
            return _derived(self._raw.where, self._frame, _ids_column(self._spec, name), columns)
        if file is not None and file.suffix == ".parquet":
            return self._checked(name, file, read_entities(file, columns))
        where = Path(f"{self._data}: {name}") if file is None else file
        frame = given.lazy() if given is not None else open_file(where)
        return self._checked(name, where, entities_of(where, frame, columns))

    def _checked(self, name: str, where: Path, table: Entities) -> Entities:
        """Return a table whose ids are of the telemetry's type."""
        column = _ids_column(self._spec, name)
        texts = is_text(self._frame.collect_schema()[column])
        if texts != (table.ids.dtype.kind == "O"):
            of_table, of_rows = ("integers", "strings") if texts else ("strings", "integers")
            raise DataError(
                f"{where}: column 'id': expected {of_rows} as in column {column!r} of telemetry, found {of_table}"
            )
        return table


def _derived(where: Path, frame: pl.LazyFrame, column: str, columns: Mapping[str, Column]) -> Entities:
    """Return the table of all ids in a telemetry column, in their order."""
    found = frame.select(pl.col(column).drop_nulls().unique()).collect(engine="streaming")[column]
    if found.is_empty():
        raise DataError(f"{where}: column {column!r}: expected ids, found none")
    found = found.cast(pl.String) if is_text(found.dtype) else found
    return entities_of(where, found.sort().alias("id").to_frame().lazy(), columns)
