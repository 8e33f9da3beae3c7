"""The files of a telemetry directory: found, opened, and held to the spec's columns and types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.datatypes import DataTypeClass

from scheduler.errors import DataError
from scheduler.spec import Column, Spec
from training.telemetry.telemetry import Categories, Entities

CLIENTS, NODES = "clients.parquet", "nodes.parquet"

INTEGER, NUMBER, ID, VECTOR, SET, TIME, BOOLEAN = (
    "an integer",
    "a number",
    "an integer or a string",
    "a list of numbers",
    "a list of integers or strings",
    "a datetime or a number of seconds",
    "a boolean",
)
_TEXT = (pl.String, pl.Categorical, pl.Enum)

_UNREADABLE = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)


class Source(NamedTuple):
    """The telemetry to read, and the files it lies in."""

    frame: pl.LazyFrame
    files: list[Path]


@contextmanager
def naming(*files: Path) -> Iterator[None]:
    """Turn what Polars or the system says about files into a `DataError` that names the bad one."""
    try:
        yield
    except _UNREADABLE as error:
        where = files[0] if len(files) == 1 else _first_unreadable(files)
        raise DataError(f"{where}: expected readable parquet, found: {error}") from error


def _first_unreadable(files: Sequence[Path]) -> Path:
    for file in files:
        try:
            pl.scan_parquet(file, glob=False).select(pl.all().count()).collect(engine="streaming")
        except _UNREADABLE:
            return file
    return files[0].parent


def telemetry_files(folder: Path) -> list[Path]:
    """Return ``telemetry.parquet``, or else all files under ``telemetry/``, sorted.

    Raises
    ------
    DataError
        If there is neither.
    """
    single = folder / "telemetry.parquet"
    if single.is_file():
        return [single]
    files = sorted((folder / "telemetry").glob("**/*.parquet"))
    if not files:
        raise DataError(f"{folder}: expected telemetry.parquet or telemetry/**/*.parquet, found neither")
    return files


def scan_telemetry(folder: Path, spec: Spec, start: int | None, until: int | None) -> Source:
    """Open the telemetry of slices from ``start`` and before ``until``; no other row is looked at.

    Files whose hive partition says another slice are not even opened.

    Raises
    ------
    DataError
        If a file is missing or unreadable, or lacks a column, or holds it with a wrong type.
    """
    column = spec.telemetry.slice.column
    files = [f for f in telemetry_files(folder) if _within(_partition(f, folder, column), start, until)]
    if not files:
        raise DataError(f"{folder}: expected telemetry of slices from {start} until {until}, found none")
    hive = files != [folder / "telemetry.parquet"]
    _check_files(files, spec, hive=hive)
    with naming(*files):
        frame = pl.scan_parquet(files, hive_partitioning=hive, extra_columns="ignore", glob=False)
        check_types(files[0], dict(frame.collect_schema()), telemetry_types(spec))
    # A row without a slice is kept, to be counted as rejected.
    if start is not None:
        frame = frame.filter((pl.col(column) >= start).fill_null(value=True))
    if until is not None:
        frame = frame.filter((pl.col(column) < until).fill_null(value=True))
    return Source(frame, files)


def _partition(file: Path, folder: Path, column: str) -> int | None:
    for part in file.relative_to(folder).parts[:-1]:
        name, _, value = part.partition("=")
        if name == column and value.isdecimal():
            return int(value)
    return None


def _within(number: int | None, start: int | None, until: int | None) -> bool:
    return number is None or ((start is None or number >= start) and (until is None or number < until))


def _check_files(files: list[Path], spec: Spec, *, hive: bool) -> None:
    """Every file must hold the spec's columns alike: Polars would find out only half-way through."""
    expected: dict[str, Any] = {}
    for file in files:
        with naming(file):
            schema: dict[str, Any] = dict(pl.read_parquet_schema(file))
        partitions = {part.partition("=")[0] for part in file.parts if "=" in part} if hive else set()
        wanted = {n: kind for n, kind in telemetry_types(spec).items() if n not in partitions}
        check_types(file, schema, wanted)
        for name in wanted:
            if expected.setdefault(name, schema[name]) != schema[name]:
                _refuse(file, name, f"{expected[name]} as in {files[0].name}", schema[name])


def telemetry_types(spec: Spec) -> dict[str, str]:
    """Return the telemetry columns that a spec reads, with what each must be."""
    roles = spec.telemetry
    types: dict[str, str] = {}
    for columns in (spec.request_columns("telemetry"), spec.node_columns("telemetry")):
        types |= {name: ID if column.type == "category" else NUMBER for name, column in columns.items()}
    types |= dict.fromkeys(spec.outcomes, NUMBER)
    types |= {roles.client: ID, roles.node: ID, roles.slice.column: INTEGER}
    if roles.time is not None:
        types[roles.time] = TIME
    if roles.ok is not None:
        types[roles.ok] = BOOLEAN
    return types


def check_types(file: Path, schema: Mapping[str, Any], expected: Mapping[str, str]) -> None:
    """Raise `DataError` for the first column that is missing or of a wrong type."""
    for name, kind in expected.items():
        if name not in schema:
            _refuse(file, name, kind, "no such column; there are " + ", ".join(schema))
        if not _is(schema[name], kind):
            _refuse(file, name, kind, schema[name])


def _refuse(file: Path, column: str, expected: str, found: object) -> None:
    raise DataError(f"{file}: column {column!r}: expected {expected}, found {found}")


def _is(dtype: pl.DataType | DataTypeClass, kind: str) -> bool:
    if dtype == pl.Null:  # a column without any value fits all: what it is needed for complains later
        return True
    numeric = dtype.is_integer() or dtype.is_float()
    return {
        INTEGER: dtype.is_integer(),
        NUMBER: numeric or dtype == pl.Boolean,
        ID: dtype.is_integer() or dtype in _TEXT,
        VECTOR: isinstance(dtype, pl.List | pl.Array),
        SET: isinstance(dtype, pl.List | pl.Array) and _is(dtype.inner, ID),
        TIME: numeric or dtype == pl.Datetime,
        BOOLEAN: dtype == pl.Boolean,
    }[kind]


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
    if not file.is_file():
        raise DataError(f"{file}: expected a table with a column 'id', found no such file")
    kinds = {"category": ID, "number": NUMBER, "vector": VECTOR}
    sets = [name for name, column in columns.items() if column.type == "categories"]
    columns = {name: column for name, column in columns.items() if name not in sets}
    with naming(file):
        schema: dict[str, Any] = dict(pl.read_parquet_schema(file))
        check_types(file, schema, {"id": ID} | {name: kinds[column.type] for name, column in columns.items()})
        _check_sets(file, schema, [name for name in sets if name in schema])
        frame = pl.read_parquet(file, columns=list(dict.fromkeys(["id", *columns])))
    return Entities(
        ids=_ids(file, frame["id"]),
        columns={name: _table_column(file, frame[name], column) for name, column in columns.items()},
    )


def _check_sets(file: Path, schema: Mapping[str, Any], names: Sequence[str]) -> None:
    check_types(file, schema, dict.fromkeys(names, SET))
    for name in names:
        if schema[name] == pl.Null:
            continue
        sets = pl.read_parquet(file, columns=[name])[name].cast(pl.List(schema[name].inner))
        if sets.list.eval(pl.element().null_count()).list.sum().sum():
            _refuse(file, name, f"{SET}, none of them null", "a null in a list")


def _ids(file: Path, ids: pl.Series) -> NDArray[Any]:
    if len(ids) == 0:
        raise DataError(f"{file}: expected at least one row, found none")
    if ids.null_count():
        _refuse(file, "id", "no null", f"{ids.null_count()} nulls")
    twice = ids.filter(ids.is_duplicated()).unique(maintain_order=True).to_list()
    if twice:
        _refuse(file, "id", "every id once", "twice or more: " + ", ".join(map(repr, twice[:10])))
    if ids.dtype.is_integer():
        with naming(file):
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
        _refuse(file, series.name, f"lists of {size} numbers", f"{series.dtype} of lengths {sorted(lengths)}")
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
        _refuse(file, series.name, f"finite numbers from {low} to {high}, or null", values[bad][0])


def numbers(series: pl.Series) -> NDArray[np.float64]:
    """Return a series as (n,) float64, NaN for null."""
    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy(writable=True)


def categories(series: pl.Series) -> Categories:
    """Return a series of integers or strings as codes into its distinct values, which are sorted."""
    present = series.drop_nulls().unique()
    values = present.cast(pl.String).sort() if present.dtype in _TEXT else present.sort()
    if series.dtype in _TEXT:
        series = series.cast(pl.String)
    if values.is_empty():
        return Categories(np.full(len(series), -1, np.int32), ())
    codes = series.replace_strict(
        values, pl.Series(range(len(values)), dtype=pl.Int32), default=-1, return_dtype=pl.Int32
    )
    return Categories(codes.to_numpy(writable=True), tuple(values.to_list()))
