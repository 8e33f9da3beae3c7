"""The tables of clients and nodes of a telemetry directory, and columns as arrays."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.spec import Column
from training.memory_errors import is_shortage
from training.telemetry.files.kinds import (
    ID,
    NUMBER,
    SET,
    VECTOR,
    Schema,
    check_types,
    check_whole,
    is_text,
    refuse,
    widened,
    widest,
)
from training.telemetry.telemetry import Categories, Entities

CLIENTS, NODES = "clients.parquet", "nodes.parquet"

_UNREADABLE = (OSError, EOFError, zlib.error, pl.exceptions.PolarsError, pl.exceptions.PanicException)


@contextmanager
def naming(*files: Path) -> Iterator[None]:
    """Turn what Polars or the system says about files into a `DataError` that names the bad one.

    Raises
    ------
    DataError
        Where a file cannot be read.
    MemoryError
        Where it can, but not in the memory that there is.
    """
    try:
        yield
    except _UNREADABLE as error:
        if is_shortage(error):
            raise MemoryError(f"{error}, in reading {', '.join(map(str, files[:3]))}") from error
        where = files[0] if len(files) == 1 else _first_unreadable(files)
        kind = "readable parquet" if where.suffix in (".parquet", ".pq", "") else "a readable file"
        raise DataError(f"{where}: expected {kind}, found: {error}") from error


def _first_unreadable(files: Sequence[Path]) -> Path:
    for file in files:
        try:
            scan(file).select(pl.all().count()).collect(engine="streaming")
        except _UNREADABLE:
            return file
    return files[0].parent


def scan(*files: Path, paths: str | None = None) -> pl.LazyFrame:
    """Open files of one schema; what folders' names say is no part of them.

    ``paths`` names a column that receives the file's path.
    """
    options: dict[str, Any] = {"glob": False, "hive_partitioning": False, "extra_columns": "ignore"}
    return pl.scan_parquet(list(files), include_file_paths=paths, **options)


def table_schema(file: Path) -> Schema:
    """Return the columns and types of a table of clients or nodes.

    Raises
    ------
    DataError
        If the file is missing or unreadable, or has no column ``id`` of integers or strings.
    """
    if not file.is_file():
        raise DataError(f"{file}: expected a table with a column 'id', found no such file")
    with naming(file):
        schema = pl.read_parquet_schema(file)
    check_types(file, schema, {"id": ID})
    return schema


def read_entities(file: Path, columns: Mapping[str, Column]) -> Entities:
    """Read a table of clients or nodes: its column ``id`` and those the spec takes from it.

    Sets of categories may be left out of the table; where they are there they are checked and no more, since no feature
    reads them.

    Raises
    ------
    DataError
        If the file is missing, unreadable or empty, a column is missing or of a wrong type, an id is null or
        there twice, a set has a null, or a number is not finite or out of the spec's range.
    """
    table_schema(file)
    return entities_of(file, scan(file), columns)


def entities_of(file: Path, table: pl.LazyFrame, columns: Mapping[str, Column]) -> Entities:
    """Return a table of clients or nodes as `read_entities` does; ``file`` is what messages call it."""
    kinds = {"category": ID, "number": NUMBER, "vector": VECTOR}
    sets = [name for name, column in columns.items() if column.type == "categories"]
    columns = {name: column for name, column in columns.items() if name not in sets}
    with naming(file):
        schema = table.collect_schema()
        check_types(file, schema, {"id": ID, **{name: kinds[column.type] for name, column in columns.items()}})
        _check_sets(file, table, [name for name in sets if name in schema])
        codes = ["id", *(name for name, column in columns.items() if column.type == "category")]
        types = {name: widest(ID, [schema[name]]) for name in codes}
        check_whole(file, table, schema, types)
        wanted = table.select("id", *(name for name in columns if name != "id"))
        frame = wanted.with_columns(widened(name, schema[name], target) for name, target in types.items()).collect()
    return Entities(
        ids=_ids(file, frame["id"]),
        columns={name: _table_column(file, frame[name], column) for name, column in columns.items()},
    )


def _check_sets(file: Path, table: pl.LazyFrame, names: Sequence[str]) -> None:
    schema = table.collect_schema()
    check_types(file, schema, dict.fromkeys(names, SET))
    for name in names:
        if schema[name] == pl.Null:
            continue
        sets = table.select(name).collect()[name]
        sets = sets.arr.to_list() if isinstance(sets.dtype, pl.Array) else sets
        if sets.list.eval(pl.element().null_count()).list.sum().sum():
            refuse(file, name, f"{SET}, none of them null", "a null in a list")


def _ids(file: Path, ids: pl.Series) -> NDArray[Any]:
    if len(ids) == 0:
        raise DataError(f"{file}: expected at least one row, found none")
    if ids.null_count():
        refuse(file, "id", "no null", f"{ids.null_count()} nulls")
    twice = ids.filter(ids.is_duplicated()).unique(maintain_order=True).to_list()
    if twice:
        refuse(file, "id", "every id once", "twice or more: " + ", ".join(map(repr, twice[:10])))
    if ids.dtype.is_integer():
        return ids.cast(pl.Int64).to_numpy(writable=True)
    return np.array(ids.to_list(), dtype=object)


def _table_column(file: Path, series: pl.Series, column: Column) -> NDArray[np.float64] | Categories:
    if column.type == "category":
        return categories(series)
    values = _vectors(file, series, column.size) if column.type == "vector" else numbers(series)
    _check_range(file, series, column, values)
    return values


def _vectors(file: Path, series: pl.Series, size: int) -> NDArray[np.float64]:
    """Return (n, size) numbers, a row of NaN for a null."""
    rows = series.to_list()
    try:
        lengths = {len(row) for row in rows if row is not None} - {size}
        blank = [None] * size
        values = np.array([blank if row is None else row for row in rows], dtype=np.float64)
    except (TypeError, ValueError):
        lengths, values = set(series.list.len().drop_nulls().to_list()), np.empty(0)
    if lengths or values.shape != (len(rows), size):
        refuse(file, series.name, f"lists of {size} numbers", f"{series.dtype} of lengths {sorted(lengths)}")
    return values


def _check_range(file: Path, series: pl.Series, column: Column, values: NDArray[np.float64]) -> None:
    bad = np.isinf(values)
    if series.dtype.is_float():
        bad |= series.is_nan().fill_null(value=False).to_numpy()
    if column.min is not None:
        bad |= values < column.min
    if column.max is not None:
        bad |= values > column.max
    if bad.any():
        low = "-inf" if column.min is None else f"{column.min:g}"
        high = "inf" if column.max is None else f"{column.max:g}"
        refuse(file, series.name, f"finite numbers from {low} to {high}, or null", values[bad][0])


def numbers(series: pl.Series) -> NDArray[np.float64]:
    """Return a series as (n,) float64, NaN for null."""
    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy(writable=True)


def categories(series: pl.Series) -> Categories:
    """Return a series of integers or strings as codes into its distinct values, which are sorted."""
    present = series.drop_nulls().unique()
    values = present.cast(pl.String).sort() if is_text(present.dtype) else present.sort()
    if is_text(series.dtype):
        series = series.cast(pl.String)
    if values.is_empty():
        return Categories(np.full(len(series), -1, np.int32), ())
    codes = series.replace_strict(
        values, pl.Series(range(len(values)), dtype=pl.Int32), default=-1, return_dtype=pl.Int32
    )
    return Categories(codes.to_numpy(writable=True), tuple(values.to_list()))
