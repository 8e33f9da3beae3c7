"""The telemetry of a directory: its files found, held to the spec's columns and types, and opened as one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from scheduler.errors import DataError
from scheduler.spec import Spec
from training.telemetry.files.codes import INTEGERS, Holder, check_ids, code_types
from training.telemetry.files.kinds import (
    BOOLEAN,
    ID,
    INTEGER,
    Schema,
    check_types,
    check_whole,
    refuse,
    slice_column,
    telemetry_types,
    widened,
    widest,
)
from training.telemetry.files.partitions import Value, partitions, typed
from training.telemetry.tables import CLIENTS, NODES, naming, scan, table_schema

NUMBER_OF_FILE = "@file number"
"""Column that counts the files, where they are read in another order than that of their names."""

_PATH = "@file path"


class Source(NamedTuple):
    """The telemetry to read, and the files it lies in."""

    frame: pl.LazyFrame
    files: list[Path]


class _File(NamedTuple):
    """A file: its number, its columns, and what folders' names say of the spec's columns, with the types of that."""

    number: int
    path: Path
    schema: Schema
    said: dict[str, Value]
    said_types: Schema


def has_telemetry(folder: Path) -> bool:
    """Tell whether a folder is laid out as a telemetry directory, or holds nothing that could be telemetry."""
    return (folder / "telemetry.parquet").is_file() or next(
        iter((folder / "telemetry").glob("**/*.parquet")), None
    ) is not None


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

    Files whose folder says another slice are not even opened. Columns that files hold with other types are brought to
    one that the spec takes; a column may stand in the file or in the names of its folders.

    Raises
    ------
    DataError
        If a file is missing or unreadable, lacks a column, holds it with a wrong type, or holds something else than its
        folder's name says.
    """
    column = slice_column(spec)
    found = {file: _folders(file, folder) for file in telemetry_files(folder)}
    paths = [file for file, folders in found.items() if _within(file, column, folders, start, until)]
    if not paths:
        raise DataError(f"{folder}: expected telemetry of slices from {start} until {until}, found none")
    files = _opened(folder, spec, {path: found[path] for path in paths})
    with naming(*paths):
        frame = _joined(files, telemetry_types(spec))
    return Source(within(frame, column, start, until), paths)


def within(frame: pl.LazyFrame, column: str, start: int | None, until: int | None) -> pl.LazyFrame:
    """Return the rows of slices from ``start`` and before ``until``; those without a slice stay, to be counted."""
    if start is not None:
        frame = frame.filter((pl.col(column) >= start).fill_null(value=True))
    if until is not None:
        frame = frame.filter((pl.col(column) < until).fill_null(value=True))
    return frame


def _folders(file: Path, folder: Path) -> dict[str, str | None]:
    return {} if file.parent == folder else partitions(file, folder / "telemetry")


def _within(file: Path, column: str, folders: Mapping[str, str | None], start: int | None, until: int | None) -> bool:
    number = typed(file, column, folders.get(column), INTEGER)
    return not isinstance(number, int) or ((start is None or number >= start) and (until is None or number < until))


def _opened(folder: Path, spec: Spec, found: Mapping[Path, dict[str, str | None]]) -> list[_File]:
    """Look at the columns of each file; every one must hold what the spec says, in the file or in its folders."""
    kinds = telemetry_types(spec)
    holders = []
    for path, folders in found.items():
        with naming(path):
            schema = pl.read_parquet_schema(path)
        check_types(path, schema, {n: kind for n, kind in kinds.items() if n in schema or n not in folders})
        holders.append(Holder(path, schema))
    ids = ((CLIENTS, spec.telemetry.client), (NODES, spec.telemetry.node))
    clients, nodes = (_table(folder / table, column, holders) for table, column in ids)
    check_ids(holders, spec, clients, nodes)
    codes = code_types(holders, spec, clients, nodes)
    files = []
    for number, holder in enumerate(holders):
        path = holder.file
        said = {
            name: typed(path, name, text, kinds[name], texts=codes.get(name) != INTEGERS)
            for name, text in found[path].items()
            if name in kinds
        }
        types = {name: _said_type(kinds[name], texts=codes.get(name) != INTEGERS) for name in said}
        files.append(_File(number, path, holder.schema, said, types))
    return files


def _table(file: Path, column: str, holders: Sequence[Holder]) -> Holder:
    """Return what a table holds; one without a file has the ids of telemetry."""
    if file.is_file():
        return Holder(file, table_schema(file))
    kinds = (holder.schema[column] for holder in holders if column in holder.schema)
    return Holder(file, {"id": next(kinds, pl.Null())})


def _said_type(kind: str, *, texts: bool) -> pl.DataType:
    if kind == ID:
        return pl.String() if texts else pl.Int64()
    return {INTEGER: pl.Int64(), BOOLEAN: pl.Boolean()}.get(kind, pl.Float64())


def _joined(files: Sequence[_File], kinds: Mapping[str, str]) -> pl.LazyFrame:
    """Return the rows of all files, each column in one type; files of one schema are opened together."""
    types = _common_types(files, kinds)
    groups: dict[Any, list[_File]] = {}
    for file in files:
        groups.setdefault((*file.schema.items(), *file.said), []).append(file)
    for group in groups.values():
        _check_values(group, {name: types[name] for name in kinds})
    frames = [_group(group, types, kinds, numbered=len(groups) > 1) for group in groups.values()]
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def _common_types(files: Sequence[_File], kinds: Mapping[str, str]) -> Schema:
    """Return the type that each column is brought to; other columns than the spec's are left out if there is none."""
    seen: dict[str, dict[pl.DataType, None]] = {}
    for file in files:
        for name, dtype in (*file.schema.items(), *file.said_types.items()):
            seen.setdefault(name, {})[dtype] = None
    types = {name: widest(kinds[name], list(d)) if name in kinds else _supertype(list(d)) for name, d in seen.items()}
    return {name: dtype for name, dtype in types.items() if dtype is not None}


def _supertype(dtypes: Sequence[pl.DataType]) -> pl.DataType | None:
    if len(dtypes) == 1:
        return dtypes[0]
    try:
        return pl.concat([pl.DataFrame(schema={"": d}) for d in dtypes], how="vertical_relaxed").schema[""]
    except pl.exceptions.PolarsError:
        return None


def _check_values(group: Sequence[_File], types: Schema) -> None:
    """Raise `DataError` where a value does not fit the type it is brought to, or is not what the folder's name says."""
    for file in group:
        check_whole(file.path, scan(file.path), file.schema, {n: t for n, t in types.items() if n in file.schema})
    for name, dtype in group[0].schema.items():
        if name not in group[0].said:
            continue
        compared = dtype if dtype.is_float() else types[name]  # a float32 has not all digits of the folder's name
        held, said = widened(name, dtype, compared), _said(group, name).cast(compared)
        rows = scan(*(file.path for file in group), paths=_PATH)
        differs = rows.filter(held.ne_missing(said)).select(_PATH, name).head(1).collect(engine="streaming")
        if differs.height:
            path, value = differs.row(0)
            said_here = next(file.said[name] for file in group if str(file.path) == path)
            refuse(path, name, f"{said_here!r} as the folder's name says", f"{value!r}")


def _group(group: Sequence[_File], types: Schema, kinds: Mapping[str, str], *, numbered: bool) -> pl.LazyFrame:
    schema = group[0].schema
    columns = []
    for name, target in types.items():
        if name in schema and name in kinds:
            columns.append(widened(name, schema[name], target))
        elif name in schema:  # a value that is not read is never an error
            columns.append(pl.col(name).cast(target, strict=False))
        elif name in group[0].said:
            columns.append(_said(group, name).cast(target).alias(name))
        else:
            columns.append(pl.lit(None, target).alias(name))
    if numbered:
        numbers = [file.number for file in group]
        columns.append(_by_file(group, numbers, pl.Int32()).alias(NUMBER_OF_FILE))
    by_path = numbered or group[0].said
    return scan(*(file.path for file in group), paths=_PATH if by_path else None).select(columns)


def _said(group: Sequence[_File], name: str) -> pl.Expr:
    return _by_file(group, [file.said[name] for file in group], group[0].said_types[name])


def _by_file(group: Sequence[_File], values: Sequence[Value], dtype: pl.DataType) -> pl.Expr:
    """Return for each row the value of its file."""
    if len(set(values)) == 1:
        return pl.lit(values[0], dtype)
    paths = [str(file.path) for file in group]
    return pl.col(_PATH).replace_strict(paths, pl.Series(values, dtype=dtype), return_dtype=dtype)
