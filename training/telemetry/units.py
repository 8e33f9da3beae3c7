"""Whether times are in seconds: the spec says how long a slice lasts, and the rows of a slice how long it did."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.errors import DataError
from scheduler.spec import Spec
from training.telemetry.data import Data
from training.telemetry.files.kinds import KNOWN_AFTER

FARTHEST = 1e11
"""Seconds before or after 1970: the year 5138. Milliseconds since 1970 are past it from 1973 on."""

FACTOR = 30.0
"""By so much a slice may last longer or shorter than the spec says. Uneven slices, holes in their numbers and a spec's
rough figure stay far below; the nearest wrong unit, a minute for a second, is 60."""

_SHARE = 0.05
"""Of the rows. Fewer with a wrong time are single bad rows, which are set aside; more are a unit."""

_ROWS = 10
"""A slice with fewer rows does not say how long it lasted: a tenth of them at either end, left out, is none."""

_COVERED = 0.8
"""Share of a slice from the first tenth of its rows to the last."""

_FEW = 3
"""With so few slices, rows at the end of one and at the beginning of the next make them look as short as can be."""

_NEAR = 0.2
"""Where only the distance of slices is known, it must be so near to a unit, since pauses make it long as well."""

_DATED = (631_152_000.0, 4_102_444_800.0)
"""1990 to 2100: times within are dates in seconds, unless their slices say otherwise."""

_UNITS = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
_LONG_UNITS = {60.0: "minutes", 3600.0: "hours", 86_400.0: "days"}

_LATEST = 100.0
"""Outcomes known after so many slices, and after ten times as long as the data lasts, have another unit than
milliseconds: nothing could be learned from them."""


def slice_times(rows: pl.LazyFrame) -> pl.DataFrame:
    """Return what the rows of each slice say of its time.

    Parameters
    ----------
    rows
        With ``@slice`` and ``@time``, as `training.telemetry.rules.derive` makes them.

    Returns
    -------
    pl.DataFrame
        By ``slice``: ``time``, the median, null where there is none; ``span``, from the first tenth of the rows to
        the last; ``rows``; and of times beyond `FARTHEST`, which the others leave out, ``far``, how many, and
        ``far_time``, their median.
    """
    known = rows.select("@slice", "@time").filter(pl.col("@slice").is_not_null() & pl.col("@time").is_finite())
    found = _by_slice(known)
    if found.select((pl.max_horizontal(-pl.col("least"), "most") > FARTHEST).any()).item():
        is_far = pl.col("@time").abs() > FARTHEST
        far = known.filter(is_far).group_by(slice="@slice").agg(far=pl.len(), far_time=pl.col("@time").median())
        near = _by_slice(known.filter(~is_far))
        found = near.join(far.collect(engine="streaming"), on="slice", how="full", coalesce=True)
    else:
        found = found.with_columns(far=pl.lit(0, pl.UInt32), far_time=pl.lit(None, pl.Float64))
    return found.drop("least", "most").with_columns(pl.col("rows", "far").fill_null(0)).sort("slice")


def _by_slice(known: pl.LazyFrame) -> pl.DataFrame:
    time = pl.col("@time")
    found = known.group_by(slice="@slice").agg(
        time=time.median(),
        early=time.quantile(0.1, "higher"),
        late=time.quantile(0.9, "lower"),
        least=time.min(),
        most=time.max(),
        rows=pl.len(),
    )
    frame = found.with_columns(span=pl.col("late") - pl.col("early")).collect(engine="streaming")
    return frame.select("slice", "time", "span", "rows", "least", "most")


def slice_length(slices: pl.DataFrame) -> float:
    """Return how many seconds a slice lasts by `slice_times`: the usual distance from one to the next; NaN of one."""
    known = slices.drop_nulls("time")
    if len(known) <= 1:
        return math.nan
    steps = np.diff(known["slice"].to_numpy().astype(np.int64))
    # Slices may be numbered by thousands, or by the second in which they begin: the least common step is one slice.
    return float(np.median(np.diff(known["time"].to_numpy()) / (steps / np.gcd.reduce(steps))))


def slice_seconds(slices: pl.DataFrame | None, spec: Spec) -> float:
    """Return how long a slice lasts: as long as the spec says, or as the times say where they contradict it.

    They contradict a length that most slices outlast, and one too long for how soon half as many slices have passed as
    there are. They never contradict the right one: from within a slice to within the k-th after it at least k - 1 pass,
    wherever slices begin and whichever are left out. A slice that is cut from the times lasts as long as the spec says.

    Parameters
    ----------
    slices
        As `slice_times` returns it; None where telemetry has no times.
    """
    seconds = spec.telemetry.slice.seconds
    if slices is None or spec.telemetry.slice.column is None:
        return seconds
    known = slices.drop_nulls("time")
    if known.is_empty():
        return seconds
    too_short, lag = float(np.median(known["span"])) > seconds, len(known) // 2
    too_long = lag > 1 and lag * _slope(known) < (lag - 1) * seconds
    length = slice_length(known)
    return length if (too_short or too_long) and length > 0.0 else seconds


def _slope(known: pl.DataFrame) -> float:
    """Return how many seconds a slice lasts over half of all slices, which no uneven slice changes much.

    Numbers that are left out count as no slice: dates such as 2024123123, taken for numbers, leave out most.
    """
    time, lag = known["time"].to_numpy(), len(known) // 2
    return float(np.median(time[lag:] - time[:-lag])) / lag


def check_units(folder: Data, spec: Spec, slices: pl.DataFrame) -> None:
    """Raise `DataError` where times are not in seconds, by the length that the spec says of a slice.

    Parameters
    ----------
    folder
        The telemetry's, for the message.
    slices
        As `slice_times` returns it. Too few slices or rows to tell pass.
    """
    n_far = int(slices["far"].sum())
    n_rows = n_far + int(slices["rows"].sum())
    where = f"{folder}: column {spec.telemetry.time!r}: expected times in seconds"
    if n_rows and n_far >= _SHARE * n_rows:
        far = slices.filter(pl.col("far") > 0)
        unit = _unit_of_far(far.select("slice", time="far_time"), spec.telemetry.slice.seconds)
        message = f"{where}, found {n_far:,} of {n_rows:,} beyond the year 5138, in slices {far['slice'][0]} to "
        raise DataError(f"{message}{far['slice'][-1]}: {unit}")
    seconds, known = spec.telemetry.slice.seconds, slices.drop_nulls("time")
    length = _wrong_length(known, seconds)
    if length is not None:
        first, last = float(known["time"].min()), float(known["time"].max())  # type: ignore[arg-type]
        message = f"{where} and slices of {seconds:g} s as telemetry.slice.seconds says, found that one lasts about "
        lasts = f"{length:,.0f}" if length >= 100 else f"{length:.3g}"  # noqa: PLR2004 - digits enough
        between = f"{lasts} s, between {date_text(first)} and {date_text(last)}"
        raise DataError(f"{message}{between}: {_unit_of_length(length / seconds, dated=_is_dated(known))}")


def _wrong_length(known: pl.DataFrame, seconds: float) -> float | None:
    """Return how long a slice lasts where that is not what the spec says, and None where it may be."""
    n_rows, step = int(known["rows"].sum()), slice_length(known)
    wide = known.filter((pl.col("rows") >= _ROWS) & (pl.col("span") > FACTOR * seconds))
    if len(wide) and int(wide["rows"].sum()) >= _SHARE * n_rows:
        return step if step > FACTOR * seconds else float(np.median(wide["span"])) / _COVERED
    dated = _is_dated(known)
    if not dated and any(abs(step / (seconds * unit) - 1) <= _NEAR for unit in _UNITS):
        return step
    if len(known) <= _FEW:
        return None
    slope = _slope(known)
    return slope if slope < seconds / FACTOR else None


def _unit_of_far(far: pl.DataFrame, seconds: float) -> str:
    """Return the likely unit of times beyond `FARTHEST`: slices last as they should in it, or it makes recent dates."""
    ratio, time = slice_length(far) / seconds, float(np.median(far["time"]))
    for factor, unit in _UNITS.items():
        if _within(ratio, factor, 5):
            return f"they are likely in {unit}"
    for factor, unit in _UNITS.items():
        if 0 < time / factor <= _DATED[1]:
            return f"they are likely in {unit}"
    return "look at their unit"


def _is_dated(known: pl.DataFrame) -> bool:
    return len(known) > 0 and _DATED[0] <= float(np.median(known["time"])) <= _DATED[1]


def _unit_of_length(ratio: float, *, dated: bool) -> str:
    """Return what is likely wrong where slices last ``ratio`` times what the spec says."""
    for factor, unit in _LONG_UNITS.items():
        if dated and _within(ratio, factor, 2):
            return f"telemetry.slice.seconds is likely in {unit}"
        if not dated and _within(ratio, 1 / factor, 2):
            return f"the times are likely in {unit}"
    for factor, unit in _UNITS.items():
        if _within(ratio, factor, 5):
            return f"the times are likely in {unit}"
        if _within(ratio, 1 / factor, 5):
            return f"telemetry.slice.seconds is likely in {unit}" if dated else f"seconds were likely read as {unit}"
    return "look at the unit of the times and at telemetry.slice.seconds"


def _within(ratio: float, factor: float, margin: float) -> bool:
    return factor / margin <= ratio <= factor * margin


def check_arrival(
    folder: Data, spec: Spec, time: NDArray[np.float64], arrival: NDArray[np.float64], *, in_seconds: bool
) -> None:
    """Raise `DataError` where outcomes arrive so late that their column is no delay.

    Parameters
    ----------
    in_seconds
        Whether `KNOWN_AFTER` says the delay, else the spec's columns do, in milliseconds.
    """
    known = np.isfinite(arrival)
    names = (KNOWN_AFTER,) if in_seconds else spec.telemetry.arrival
    if not names or not known.any():
        return
    time, delay = time[known], (arrival - time)[known]
    expected, stated = ("seconds", delay) if in_seconds else ("milliseconds", delay * 1e3)
    column, found = " or ".join(map(repr, names)), float(np.median(stated))
    asked = f"expected {expected} from the decision until its outcome was known"
    where = f"{folder}: column {column}: {asked}, found {found:,.6g}"
    for factor, unit in {1.0: "seconds", 1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}.items():
        of_time = stated / np.maximum(time * factor, 1.0)
        if _DATED[0] <= time[0] and abs(float(np.median(of_time)) - 1) < 1e-3:  # noqa: PLR2004 - a day in three years
            raise DataError(f"{where}: the column likely holds the time itself, in {unit}")
    usual = float(np.median(delay))
    lasted = float(time[-1] - time[0])
    if usual > _LATEST * spec.telemetry.slice.seconds and usual > 10 * lasted:
        raise DataError(f"{where}, over data of {lasted:,.6g} s: look at the unit of the column")


def date_text(seconds: float) -> str:
    """Return seconds since 1970 as a date and time in UTC, of any year."""
    return f"{np.datetime64(round(seconds), 's')}Z"
