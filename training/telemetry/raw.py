"""Raw telemetry: files of any layout and frames, opened as one frame whose columns are the spec's."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import polars as pl

from scheduler.errors import DataError
from scheduler.spec import RawColumn, Spec
from training.telemetry.data import Data, Files, Frames
from training.telemetry.files.kinds import (
    NUMBER,
    SLICE_OF_TIME,
    UTC,
    is_text,
    refuse,
    telemetry_types,
    widened,
)
from training.telemetry.tables import naming

TABLES = ("clients", "nodes")
"""Files of these names hold clients and nodes, not telemetry."""

PARQUET = (".parquet", ".pq")
TEXTS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
SUFFIXES = (*PARQUET, *TEXTS)

NULLS = ["", "NA", "N/A", "n/a", "null", "NULL", "None", "nan", "NaN", "-", "\\N", "*"]
"""What stands for a missing value in texts; ``ping`` and ``traceroute`` write ``*``."""

_DATES, _NUMBERS, _TEXTS = "dates", "numbers", "texts"
"""Kinds of columns: of several files those of one kind go together, and numbers with texts."""

_SEPARATORS = ",;\t|"
_COMMA = re.compile(r"(?:^|[;\t|])\s*-?\d+,\d+\s*(?:$|[;\t|])")
"""A number with a decimal comma, as in ``12,5``."""

_LOOKED_AT = 200
"""Lines that show how a file writes numbers."""

_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


class RawFrame(NamedTuple):
    """Raw rows as they are, the files they lie in, and what messages call them."""

    frame: pl.LazyFrame
    files: list[Path]
    where: Path


def raw_files(data: str | Path | Files) -> list[Path]:
    """Return the files that hold telemetry: those named, and all of a folder but its tables, sorted.

    Raises
    ------
    DataError
        If there is none.
    """
    paths = data.paths if isinstance(data, Files) else (Path(data),)
    found = [file for path in paths for file in _files_of(path)]
    if not found:
        expected = "expected telemetry.parquet or telemetry/**/*.parquet, or other Parquet or CSV files"
        raise DataError(f"{data}: {expected}, found neither")
    return found


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise DataError(f"{path}: expected a file or folder of telemetry, found none")
        return [path]
    files = [file for file in sorted(path.rglob("*")) if file.name.lower().endswith(SUFFIXES) and file.is_file()]
    files = [file for file in files if not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)]
    own = [file for file in files if _stem(file) == "telemetry" or file.relative_to(path).parts[0] == "telemetry"]
    return own or [file for file in files if _stem(file) not in TABLES]


def _stem(file: Path) -> str:
    return file.name.partition(".")[0].lower()


def table_file(data: Data, name: str) -> Path | None:
    """Return the file beside telemetry that holds clients or nodes, if there is one."""
    if isinstance(data, Frames | Files) or not Path(data).is_dir():
        return None
    files = [Path(data) / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), None)


def open_raw(data: Data) -> RawFrame:
    """Open raw telemetry: Parquet lazily, texts and frames in memory.

    Raises
    ------
    DataError
        If a file is missing or cannot be read.
    """
    if isinstance(data, Frames):
        return RawFrame(data.telemetry.lazy(), [], Path(data.name))
    files = raw_files(data)
    frames = [open_file(file) for file in files]
    where = files[0] if len(files) == 1 else Path(str(data))
    if len(frames) == 1:
        return RawFrame(frames[0], files, where)
    with naming(*files):
        schemas = [frame.collect_schema() for frame in frames]
        if all(schema == schemas[0] for schema in schemas):
            return RawFrame(pl.concat(frames), files, where)
        together = pl.concat(_alike(files, frames, schemas), how="diagonal_relaxed")
        together.collect_schema()
        return RawFrame(together, files, where)


def _alike(files: Sequence[Path], frames: Sequence[pl.LazyFrame], schemas: Sequence[pl.Schema]) -> list[pl.LazyFrame]:
    """Return frames whose columns Polars can bring to one type without changing what they say."""
    names = dict.fromkeys(name for schema in schemas for name in schema)
    targets = {name: _common_type(name, files, schemas) for name in names}
    return [
        frame.with_columns(widened(name, schema[name], target) for name in schema if (target := targets[name]))
        for frame, schema in zip(frames, schemas, strict=True)
    ]


def _common_type(name: str, files: Sequence[Path], schemas: Sequence[pl.Schema]) -> pl.DataType | None:
    """Return the type that a column needs where its files differ: text for what is one anywhere, UTC for dates.

    None where Polars widens it.

    Raises
    ------
    DataError
        If the files hold different things, such as dates and seconds.
    """
    found = {file: schema[name] for file, schema in zip(files, schemas, strict=True) if name in schema}
    found = {file: dtype for file, dtype in found.items() if dtype != pl.Null}
    if len(set(found.values())) < 2:  # noqa: PLR2004 - one type
        return None
    kinds = {file: _kind(dtype) for file, dtype in found.items()}
    if {*kinds.values()} <= {_NUMBERS, _TEXTS}:
        return pl.String() if _TEXTS in kinds.values() else None
    first = next(iter(found))
    other = next((file for file in found if kinds[file] != kinds[first]), None)
    if other is not None:
        refuse(other, name, f"{kinds[first]}, as in {first}", f"{kinds[other]}: {found[other]}")
    return UTC if kinds[first] == _DATES else None


def _kind(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Date | pl.Datetime):
        return _DATES
    if is_text(dtype):
        return _TEXTS
    return _NUMBERS if dtype.is_numeric() or dtype == pl.Boolean else f"values of type {dtype.base_type()}"


def open_file(file: Path) -> pl.LazyFrame:
    """Open one file by what its name ends with.

    Raises
    ------
    DataError
        If it cannot be read, or is of no known kind.
    """
    name = file.name.lower()
    with naming(file):
        if name.endswith(PARQUET):
            frame = pl.scan_parquet(file, hive_partitioning="=" in str(file.parent), glob=False)
            frame.collect_schema()
            return frame
        if name.endswith(TEXTS):
            return _read_text(file).lazy()
    raise DataError(f"{file}: expected a file that ends with {', '.join(SUFFIXES)}, found {file.name!r}")


def _read_text(file: Path) -> pl.DataFrame:
    """Read a table of texts: separator and types are those of its contents; all rows are looked at for types."""
    data = file.read_bytes()
    if file.name.lower().endswith(".gz"):
        data = gzip.decompress(data)  # of a file that was cut off Polars would read what is there
    lines = [line.decode("utf-8", errors="replace").lstrip("\ufeff") for line in islice(io.BytesIO(data), _LOOKED_AT)]
    if not "".join(lines).strip():
        raise DataError(f"{file}: expected a line of column names and rows below it, found an empty file")
    separator = max(_SEPARATORS, key=lines[0].count)
    comma = separator != "," and any(_COMMA.search(line) for line in lines)
    frame = pl.read_csv(
        data,
        separator=separator,
        null_values=NULLS,
        infer_schema_length=None,
        decimal_comma=comma,
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
    )
    frame = frame.rename({name: name.strip().strip("\ufeff") for name in frame.columns})
    # Where a file has no value Polars says text, which would make texts of the numbers of other files.
    return frame.with_columns(
        pl.lit(None).alias(one.name) for one in frame.iter_columns() if one.null_count() == len(one)
    )


def telemetry_of(raw: RawFrame, spec: Spec) -> pl.LazyFrame:
    """Return raw rows with the columns of the spec, and slices by time where no column numbers them.

    Raises
    ------
    DataError
        If a raw column is missing.
    """
    schema = raw.frame.collect_schema()
    made = [made_column(raw.where, name, column, schema).alias(name) for name, column in spec.raw.items()]
    frame = raw.frame.with_columns(made)
    kinds = {name: kind for name, kind in telemetry_types(spec).items() if kind == NUMBER}
    known = frame.collect_schema()
    floats = [name for name in kinds if name in known and known[name].is_float()]
    frame = frame.with_columns(pl.col(name).fill_nan(None) for name in floats)  # how pandas writes what is missing
    roles = spec.telemetry
    time = roles.time
    if roles.slice.column is None and time is not None and time in known:
        seconds = _seconds(pl.col(time), known[time])
        number = ((seconds - roles.slice.origin) / roles.slice.seconds).floor()
        # A time that is no number has no slice; where it is too far away the rules say so.
        number = pl.when(seconds.is_finite() & number.abs().lt(2.0**62)).then(number)
        frame = frame.with_columns(number.cast(pl.Int64).alias(SLICE_OF_TIME))
    return frame


def _seconds(time: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        return time.dt.epoch("us").cast(pl.Float64) / 1e6
    return time.cast(pl.Float64, strict=False)


def made_column(where: Path, name: str, raw: RawColumn, schema: pl.Schema) -> pl.Expr:
    """Return a telemetry column as its raw one says."""
    if raw.column is None:
        return pl.lit(raw.value)
    if raw.column not in schema:
        is_there = f"; {name!r} is there already, and a spec for such data has no [raw]" if name in schema else ""
        found = f"no such column; there are {', '.join(schema)}{is_there}"
        refuse(where, raw.column, f"a column, of which {name!r} is made", found)
    column, dtype = pl.col(raw.column), schema[raw.column]
    if dtype.is_float():
        column = column.fill_nan(None)
    made = {"same": _same, "number": _number, "text": _text, "time": _time, "boolean": _boolean}[raw.type]
    return made(column, dtype, raw)


def source_in_words(data: Data, spec: Spec, name: str) -> str:
    """Return of which raw column a telemetry column is made, how, and a value there, for an error about the column.

    Empty where it is read by its own name.
    """
    raw = spec.raw.get(name)
    if raw is None or raw.column is None:
        return ""
    values = open_raw(data).frame.select(pl.col(raw.column).drop_nulls().head(1)).collect(engine="streaming")
    found = f"whose first value is {values.item()!r}" if values.height else "which has no value"
    how = f"type {raw.type}" if raw.format is None else f"type {raw.type} in format {raw.format!r}"
    return f"; [raw] makes {name!r} ({how}) of column {raw.column!r}, {found}"


def _same(column: pl.Expr, _dtype: pl.DataType, _raw: RawColumn) -> pl.Expr:
    return column


def _text(column: pl.Expr, _dtype: pl.DataType, _raw: RawColumn) -> pl.Expr:
    return column.cast(pl.String)


def _number(column: pl.Expr, dtype: pl.DataType, raw: RawColumn) -> pl.Expr:
    if isinstance(dtype, pl.Duration):
        column = column.dt.total_microseconds() / 1e3
    number = column.cast(pl.Float64, strict=False)
    if raw.inverse is not None:
        return pl.when(number > 0).then(raw.inverse / number)
    number = number * raw.scale if raw.scale != 1.0 else number
    return number if raw.min is None and raw.max is None else pl.when(_between(number, raw)).then(number)


def _time(column: pl.Expr, dtype: pl.DataType, raw: RawColumn) -> pl.Expr:
    """Return seconds since 1970; a text without a zone is UTC."""
    if isinstance(dtype, pl.Date):
        column, dtype = column.cast(pl.Datetime("us")), pl.Datetime("us")
    if isinstance(dtype, pl.Datetime):
        return _seconds(column, dtype)
    if is_text(dtype) and raw.format is not None:
        text = column.cast(pl.String).str.strip_chars()
        return _seconds(text.str.strptime(pl.Datetime("us", "UTC"), raw.format, strict=False), pl.Datetime("us"))
    return column.cast(pl.Float64, strict=False) / _PER_SECOND[raw.unit]


def _boolean(column: pl.Expr, dtype: pl.DataType, raw: RawColumn) -> pl.Expr:
    if raw.good is not None:
        if any(isinstance(value, bool) for value in raw.good) and dtype == pl.Boolean:
            return column.is_in([value for value in raw.good if isinstance(value, bool)])
        numeric = dtype.is_numeric() and all(isinstance(value, int) for value in raw.good)
        if numeric:
            return column.cast(pl.Float64).is_in([float(value) for value in raw.good])
        texts = [str(value).lower() for value in raw.good]
        return column.cast(pl.String).str.strip_chars().str.to_lowercase().is_in(texts)
    if raw.min is None and raw.max is None:
        return column.is_not_null()
    return _between(column.cast(pl.Float64, strict=False), raw).fill_null(value=False)  # no code: there was no answer


def _between(number: pl.Expr, raw: RawColumn) -> pl.Expr:
    within = pl.lit(value=True)
    if raw.min is not None:
        within &= number >= raw.min
    if raw.max is not None:
        within &= number <= raw.max
    return within
