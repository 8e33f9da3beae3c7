"""What raw columns hold: kind, missing values, distinct values, range, and times with their unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import polars as pl

from training.draft.words import TIME, says, unit_of
from training.telemetry.files.kinds import is_text

Kind: TypeAlias = Literal["empty", "constant", "time", "boolean", "category", "integer", "number", "other"]

SAMPLE = 1_000_000
"""About as many rows are looked at: enough for shares of a thousandth, done in a second."""

SHOWN = 6
"""Frequent values that are shown of a column."""

FORMATS = (
    "%+", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S%.f", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%d",
)  # fmt: skip
"""How texts write times, ISO 8601 first."""

_DATED = (631_152_000.0, 4_102_444_800.0)
"""1990 to 2100 in seconds since 1970."""

_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_MOST = 0.95
"""Share of the values that must be read as times for a column of texts to be one of times."""


@dataclass(frozen=True)
class RawFacts:
    """What a sample of rows says of a raw column.

    Attributes
    ----------
    name, dtype, kind
        Its name, Polars' type, and what that is: a ``category`` is a text, an ``integer`` may be one.
    nulls
        Share without a value.
    distinct
        Distinct values of the sample.
    low, high, median
        Of numbers and of times in seconds; None of others.
    common
        The most frequent values with their counts.
    unit, format
        Of times: the unit since 1970 of numbers, the format of texts.
    example
        Of times in texts: one of them.
    dated
        Whether times are dates; others count from some start.
    """

    name: str
    dtype: pl.DataType
    kind: Kind
    nulls: float
    distinct: int
    low: float | None = None
    high: float | None = None
    median: float | None = None
    common: tuple[tuple[object, int], ...] = ()
    unit: str | None = None
    format: str | None = None
    example: str | None = None
    dated: bool = False


def sample_of(frame: pl.LazyFrame, n_rows: int) -> pl.DataFrame:
    """Return about `SAMPLE` rows, drawn by the hash of their number; all of them where there are fewer."""
    step = max(1, -(-n_rows // SAMPLE))
    if step == 1:
        return frame.collect(engine="streaming")
    # Every so-many-th row would be the same cell of a matrix that is measured over and over.
    return frame.filter(pl.int_range(pl.len()).hash(0) % step == 0).collect(engine="streaming")


def facts_of(sample: pl.DataFrame, time: str | None = None, outcome: str | None = None) -> dict[str, RawFacts]:
    """Return what a sample says of each column, in the order of columns.

    Where one column has dates, numbers that a name such as ``time_ms`` would make seconds from a start are durations,
    unless they were named as the time. So are those that were named as the outcome.
    """
    found = {series.name: _facts(series) for series in sample.get_columns()}
    dated = any(one.dated for one in found.values() if one.name != outcome)
    durations = {one.name for one in found.values() if one.kind == "time" and dated and not one.dated} - {time}
    durations |= {outcome} if outcome is not None else set()
    return {
        name: _facts(sample[name], is_time=False) if name in durations and one.dtype.is_numeric() else one
        for name, one in found.items()
    }


def _facts(series: pl.Series, *, is_time: bool = True) -> RawFacts:
    name, dtype = series.name, series.dtype
    if dtype.is_float():
        series = series.fill_nan(None)
    known = series.drop_nulls()
    nulls = 1.0 - len(known) / max(len(series), 1)
    if known.is_empty():
        return RawFacts(name, dtype, "empty", nulls, 0)
    if dtype.is_nested() or dtype == pl.Binary:
        return RawFacts(name, dtype, "other", nulls, 0)
    distinct = known.n_unique()
    time = _time(known) if is_time else None
    if time is not None:
        return _time_facts(known, time, nulls, distinct)
    low, high, median = _range(known)
    kind: Kind = _kind(known)
    if distinct == 1:
        kind = "constant"
    return RawFacts(name, dtype, kind, nulls, distinct, low, high, median, _common(known))


def _kind(known: pl.Series) -> Kind:
    dtype = known.dtype
    if dtype == pl.Boolean:
        return "boolean"
    if is_text(dtype):
        return "category"
    if dtype.is_integer():
        return "integer"
    if dtype.is_float() and (known == known.round()).all() and (known.abs() < 2.0**53).all():
        return "integer"
    return "number" if dtype.is_numeric() or isinstance(dtype, pl.Duration) else "other"


def _range(known: pl.Series) -> tuple[float | None, float | None, float | None]:
    if isinstance(known.dtype, pl.Duration):
        known = known.dt.total_microseconds() / 1e3
    if not known.dtype.is_numeric():
        return None, None, None
    low, high, median = known.min(), known.max(), known.median()
    return float(low), float(high), float(median)  # type: ignore[arg-type]


def _common(known: pl.Series) -> tuple[tuple[object, int], ...]:
    counts = known.alias("value").value_counts(sort=True).head(SHOWN)  # a column may be called "count"
    return tuple((value, int(count)) for value, count in counts.iter_rows())


def _time(known: pl.Series) -> tuple[str | None, str | None] | None:
    """Return the unit or the format with which a column is read as times; None if it is none."""
    if isinstance(known.dtype, pl.Datetime | pl.Date):
        return None, None
    if is_text(known.dtype):
        # From first to last: in the first days of a month a day may be read as a month.
        texts = known.gather_every(max(len(known) // 1_000, 1)).cast(pl.String).str.strip_chars()
        return next(((None, form) for form in FORMATS if _reads(texts, form)), None)
    if known.dtype == pl.Boolean or not known.dtype.is_numeric():
        return None
    return _number_time(known)


def _reads(texts: pl.Series, form: str) -> bool:
    read = texts.str.strptime(pl.Datetime("us", "UTC"), form, strict=False)
    return int(read.is_not_null().sum()) >= _MOST * len(read)


def _number_time(known: pl.Series) -> tuple[str, None] | None:
    """Return the unit of numbers that are times: dates between 1990 and 2100, or seconds from a start by their name."""
    middle = float(known.median())  # type: ignore[arg-type]
    named = says(known.name, TIME)
    for unit, factor in _UNITS.items():
        # A number of bytes may look like a date in seconds; one in milliseconds and more is no other number.
        if _DATED[0] <= middle / factor <= _DATED[1] and (named or (factor > 1.0 and known.n_unique() > 1)):
            return unit, None
    said = unit_of(known.name)
    bare = known.name.lower() in ("seconds", "sec", "t", "time", "ts", "timestamp", "elapsed_s", "time_s", "time_ms")
    bare |= known.name.lower() in ("milliseconds", "offset_s", "offset_ms", "when", "at")
    return (said or "s", None) if bare and float(known.min()) >= 0 else None  # type: ignore[arg-type]


def _time_facts(known: pl.Series, time: tuple[str | None, str | None], nulls: float, distinct: int) -> RawFacts:
    unit, form = time
    seconds = seconds_of(known, unit, form).drop_nulls()
    low, high, median = float(seconds.min()), float(seconds.max()), float(seconds.median())  # type: ignore[arg-type]
    dated = _DATED[0] <= median <= _DATED[1]
    example = None if form is None else str(known[0]).strip()
    return RawFacts(
        known.name, known.dtype, "time", nulls, distinct, low, high, median, (), unit, form, example, dated=dated
    )


def seconds_of(series: pl.Series, unit: str | None, form: str | None) -> pl.Series:
    """Return times as seconds."""
    if form is not None:
        series = series.cast(pl.String).str.strip_chars().str.strptime(pl.Datetime("us", "UTC"), form, strict=False)
    if isinstance(series.dtype, pl.Date):
        series = series.cast(pl.Datetime("us"))
    if isinstance(series.dtype, pl.Datetime):
        return series.dt.epoch("us").cast(pl.Float64) / 1e6
    return series.cast(pl.Float64) / _UNITS[unit or "s"]
