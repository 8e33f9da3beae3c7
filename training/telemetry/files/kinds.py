"""What a column must be, what else passes for it, and the type that columns of several files are widened to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NoReturn, TypeAlias

import polars as pl
from polars.datatypes import DataTypeClass

from scheduler.errors import DataError
from scheduler.spec import Spec

Schema: TypeAlias = Mapping[str, pl.DataType]
"""Columns with their types."""

INTEGER, NUMBER, ID, VECTOR, SET, TIME, BOOLEAN = (
    "an integer",
    "a number",
    "an integer or a string",
    "a list of numbers",
    "a list of integers or strings",
    "a datetime or a number of seconds",
    "a boolean",
)

SLICE_OF_TIME = "@slice of time"
"""Column with the number of a row's slice where that follows from its time."""

KNOWN_AFTER = "known_after_s"
"""Column with the seconds from a decision until its outcome was known, infinite for never; read wherever it is."""

_TEXT = (pl.String, pl.Categorical, pl.Enum)

_FIT = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
"""Integers that 64 bits with a sign hold in any case."""

_EXACT = 2.0**53
"""Up to here float64 tells every integer from the next."""

UTC = pl.Datetime("us", "UTC")
"""What dates and times of files are brought to; those without a zone are UTC."""


def slice_column(spec: Spec) -> str:
    """Return the column that numbers slices, which reading makes where the telemetry has none."""
    return spec.telemetry.slice.column or SLICE_OF_TIME


def telemetry_types(spec: Spec) -> dict[str, str]:
    """Return the telemetry columns that a spec reads, with what each must be."""
    roles = spec.telemetry
    types: dict[str, str] = {}
    for columns in (spec.request_columns("telemetry"), spec.node_columns("telemetry")):
        types |= {name: ID if column.type == "category" else NUMBER for name, column in columns.items()}
    types |= dict.fromkeys(spec.outcomes, NUMBER)
    types |= {roles.client: ID, roles.node: ID, slice_column(spec): INTEGER}
    if roles.time is not None:
        types[roles.time] = TIME
    if roles.propensity is not None:
        types[roles.propensity] = NUMBER
    if roles.ok is not None:
        types[roles.ok] = BOOLEAN
    return types


def says_when_known(spec: Spec, columns: Collection[str]) -> bool:
    """Tell whether telemetry of these columns has `KNOWN_AFTER`, and the spec no use of its own for that name."""
    return KNOWN_AFTER in columns and KNOWN_AFTER not in telemetry_types(spec)


def check_types(file: Path, schema: Schema, expected: Mapping[str, str]) -> None:
    """Raise `DataError` for the first column that is missing or of a wrong type."""
    for name, kind in expected.items():
        if name not in schema:
            refuse(file, name, kind, "no such column; there are " + ", ".join(schema))
        if not _is(schema[name], kind):
            refuse(file, name, kind, schema[name])


def refuse(file: Path, column: str, expected: str, found: object) -> NoReturn:
    """Raise `DataError` that names a file and a column."""
    raise DataError(f"{file}: column {column!r}: expected {expected}, found {found}")


def _is(dtype: pl.DataType | DataTypeClass, kind: str) -> bool:
    if dtype == pl.Null:  # a column without any value fits all: what it is needed for complains later
        return True
    if kind in (VECTOR, SET):
        inner = getattr(dtype, "inner", None) if isinstance(dtype, pl.List | pl.Array) else None
        if inner is None or inner == pl.Null:  # lists that are all empty fit both
            return inner is not None
        return _is(inner, NUMBER) if kind == VECTOR else inner.is_integer() or is_text(inner)
    whole = dtype.is_integer() or dtype.is_float() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)
    numeric = dtype.is_numeric()
    return {
        INTEGER: whole,
        NUMBER: numeric or dtype == pl.Boolean,
        ID: whole or is_text(dtype),
        TIME: numeric or dtype == pl.Datetime,
        BOOLEAN: dtype == pl.Boolean,
    }[kind]


def is_text(dtype: pl.DataType | DataTypeClass) -> bool:
    """Tell whether a column holds texts, however they are stored."""
    return dtype in _TEXT


def widest(kind: str, dtypes: Collection[pl.DataType]) -> pl.DataType:
    """Return the type to which columns of one kind are brought together.

    Columns of one type stay as they are. Whole numbers that are stored as float or decimal, as integers with nulls
    often are, become integers.

    Parameters
    ----------
    kind
        What the column must be; the types have passed `check_types`.
    dtypes
        Those of the files.
    """
    present = set(dtypes) - {pl.Null()}
    texts = any(map(is_text, present))
    if len(set(dtypes)) == 1 and (kind not in (INTEGER, ID) or texts or present <= {*_FIT}):
        return next(iter(dtypes))
    if not present:
        return pl.Null()
    dated = all(d == pl.Datetime for d in present)
    return {
        INTEGER: pl.Int64(),
        NUMBER: pl.Float64(),
        ID: pl.String() if texts else pl.Int64(),
        TIME: UTC if dated else pl.Float64(),
        BOOLEAN: pl.Boolean(),
    }[kind]


def widened(name: str, dtype: pl.DataType, target: pl.DataType) -> pl.Expr:
    """Return a column in the type that `widest` has found; NaN is no integer but a null."""
    column = pl.col(name)
    if dtype == target:
        return column
    if dtype.is_float() and target.is_integer():
        column = column.fill_nan(None)
    if isinstance(dtype, pl.Datetime):
        if target.is_float():
            return seconds(name, dtype).alias(name)
        zoned = dtype.time_zone is not None
        column = column.dt.convert_time_zone("UTC") if zoned else column.dt.replace_time_zone("UTC")
    return column.cast(target)


def seconds(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column of times as seconds; those of a datetime without a zone are UTC."""
    if dtype == pl.Datetime:
        return pl.col(name).dt.epoch("us").cast(pl.Float64) / 1e6
    return pl.col(name).cast(pl.Float64)


def check_whole(file: Path, frame: pl.LazyFrame, schema: Schema, targets: Schema) -> None:
    """Raise `DataError` where a column that is to become integers holds what is none, or none of 64 bits."""
    for name, target in targets.items():
        dtype = schema[name]
        if target != pl.Int64 or dtype == pl.Null or dtype in _FIT:
            continue
        column = pl.col(name)
        if dtype.is_float():
            bad = column.is_infinite() | (column.is_finite() & ((column != column.round()) | (column.abs() > _EXACT)))
        else:
            bad = column.is_not_null() & column.cast(pl.Int64, strict=False).is_null()
        found = frame.filter(bad).select(name).head(1).collect(engine="streaming")
        if found.height:
            refuse(file, name, "whole numbers of 64 bits", f"{found.item()} in a column of type {dtype}")
