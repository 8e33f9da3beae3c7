"""How long slices should be, and how fast what was measured changes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import polars as pl

from scheduler.errors import DataError

NICE = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
    86_400, 172_800, 604_800, 1_209_600, 2_592_000,
)  # fmt: skip
"""Lengths of a slice in seconds that people use."""

MOST_SLICES = 200
"""Slices of a data set: so many show a course; more make a spec slow to evaluate, and few nodes meet in one."""

MEET = 10
"""Nodes that a client should have measured in a slice, so that there is something to choose from."""

ON_A_GRID = 20
"""Rows at each distinct time from which on measurements were made in rounds."""

TRAINED = 0.7
"""Share of the rows that training takes; the others are for evaluation."""

LEAST_SLICES = 10
"""Fewer cannot be split into history, fitted, calibrated and judged slices, and some to evaluate on."""


class Slices(NamedTuple):
    """Slices: their length, where the first begins, how many there are, and nodes that a client meets in one.

    ``start`` is the first of the last third or so of the rows, which is for evaluation. ``n`` counts from slice 0, and
    ``first`` is the first with rows.
    """

    seconds: float
    origin: float
    n: int
    nodes: float
    start: int
    why: str
    first: int = 0

    @property
    def span(self) -> float:
        """Return how many seconds the slices with rows last together."""
        return (self.n - self.first) * self.seconds


class Change(NamedTuple):
    """After how many seconds half of a node's level is lost, None if that is not seen; and half-lives by that."""

    memory: float | None
    half_lives: tuple[float, ...]


def find_slices(rows: pl.DataFrame, seconds: float | None = None) -> Slices:
    """Choose a length of slices.

    Parameters
    ----------
    rows
        With ``@time`` in seconds, ``@client`` and ``@node``.
    seconds
        A length that somebody chose.

    Raises
    ------
    DataError
        If all rows are of one moment.
    """
    times = rows["@time"].drop_nulls()
    first, last = float(times.min()), float(times.max())  # type: ignore[arg-type]
    if first == last:
        raise DataError(
            f"telemetry: expected rows of different times (--time COLUMN), found {first:g} s in all of them"
        )
    if seconds is not None:
        return _slices(rows, seconds, first, last, "as was asked for")
    distinct = times.unique().sort()
    if len(distinct) > 1 and len(times) >= ON_A_GRID * len(distinct):
        gap = float(np.median(np.diff(distinct.to_numpy())))
        if (last - first) / gap <= 20 * MOST_SLICES:  # a clock's resolution makes no rounds
            return _slices(rows, _rounded(gap), first, last, "because everything was measured in rounds this far apart")
    span = max(last - first, 1e-3)
    lengths = [length for length in NICE if LEAST_SLICES * 2 <= span / length <= MOST_SLICES] or [span / MOST_SLICES]
    n_nodes = rows["@node"].n_unique()
    enough = min(MEET, n_nodes / 2)
    tried = [_slices(rows, length, first, last, "") for length in lengths]
    best = next((one for one in tried if one.nodes >= enough), tried[-1])
    many = (
        f"so that a client meets {best.nodes:g} nodes in one" if best.nodes > 1 else "the longest that leaves 20 slices"
    )
    return best._replace(why=many)


def _rounded(gap: float) -> float:
    """Return a gap without the digits that a clock's resolution adds."""
    return float(f"{gap:.6g}")


class OwnSlices(NamedTuple):
    """Slices that a column numbers: their length by the times, and when number 0 begins."""

    seconds: float
    origin: float


def own_slices(number: pl.Series, time: pl.Series) -> OwnSlices | None:
    """Return the slices that a column numbers; None where its numbers do not follow each other in time."""
    rows = pl.DataFrame({"s": number.cast(pl.Int64, strict=False), "t": time}).drop_nulls()
    spans = rows.group_by("s").agg(pl.col("t").min().alias("low"), pl.col("t").max().alias("high")).sort("s")
    if spans.height < LEAST_SLICES or (spans["low"][1:] < spans["high"][:-1]).any():
        return None
    steps = np.diff(spans["low"].to_numpy()) / np.diff(spans["s"].to_numpy())
    seconds = min(NICE, key=lambda length: abs(length / float(np.median(steps)) - 1.0))
    if abs(seconds / float(np.median(steps)) - 1.0) > 0.1:  # noqa: PLR2004 - rows do not begin where slices do
        seconds = _rounded(float(np.median(steps)))
    first = spans.row(0, named=True)
    return OwnSlices(seconds, first["low"] // seconds * seconds - first["s"] * seconds)


def with_own_slices(rows: pl.DataFrame, own: OwnSlices, column: str) -> Slices:
    """Return the slices that a column numbers, as `find_slices` returns those that follow from times."""
    last = float(rows["@time"].drop_nulls().max())  # type: ignore[arg-type]
    return _numbered(rows, own.seconds, own.origin, last, f"as {column} numbers them")


def _slices(rows: pl.DataFrame, seconds: float, first: float, last: float, why: str) -> Slices:
    return _numbered(rows, seconds, first // seconds * seconds, last, why)


def _numbered(rows: pl.DataFrame, seconds: float, origin: float, last: float, why: str) -> Slices:
    number = ((pl.col("@time") - origin) / seconds).floor()
    known = rows.select(number.alias("@slice"), "@client", "@node").filter(pl.col("@slice").is_not_null())
    n, low = int((last - origin) // seconds) + 1, int(float(known["@slice"].min() or 0.0))  # type: ignore[arg-type]
    start = int(known["@slice"].quantile(TRAINED, "lower") or 0) - low
    many = n - low
    start = min(max(start, math.ceil(many / 5), min(LEAST_SLICES, many // 2)), max(many - max(many // 10, 1), 1))
    return Slices(seconds, origin, n, nodes_met(known), low + start, why, low)


def nodes_met(known: pl.DataFrame) -> float:
    """Return how many nodes the client of a row, in the median, has measured in the slice of that row."""
    met = known.group_by("@slice", "@client").agg(pl.col("@node").n_unique(), pl.len().alias("n")).sort("@node")
    if met.is_empty():
        return 0.0
    return float(met.filter(pl.col("n").cum_sum() * 2 >= pl.col("n").sum())["@node"][0])


def find_change(rows: pl.DataFrame, slices: Slices) -> Change:
    """Choose half-lives: one by how fast nodes change, one for what lasts, one between them.

    Parameters
    ----------
    rows
        With ``@time``, ``@client``, ``@node`` and ``@cost``.
    slices
        As `find_slices` returns them.
    """
    span = slices.span
    memory = _memory(rows, slices)
    longest = max(0.4 * span, 2 * slices.seconds)
    shortest = max(slices.seconds, min(memory / 2 if memory is not None else math.inf, span / 24))
    shortest = min(shortest, longest / 2)
    lives = [shortest, math.sqrt(shortest * longest), longest]
    if longest / shortest < 8:  # noqa: PLR2004 - a third between them would say what they say
        lives = [shortest, longest]
    return Change(memory, tuple(dict.fromkeys(nice_duration(life) for life in lives)))


def nice_duration(seconds: float) -> float:
    """Return a duration of one or two digits in the largest unit that fits."""
    for unit in (86_400.0, 3_600.0, 60.0, 1.0):
        if seconds >= unit:
            number = seconds / unit
            return (round(number) if number >= 3 else round(number * 2) / 2) * unit  # noqa: PLR2004 - 1.5 h is no 1 h
    return max(round(seconds, 2), 0.01)


def duration_text(seconds: float) -> str:
    """Return a duration as a spec has it, such as ``90s`` or ``6h``."""
    for unit, letter in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "m")):
        if seconds >= unit and math.isclose(seconds / unit * 2, round(seconds / unit * 2)):
            return f"{seconds / unit:g}{letter}"
    return f"{seconds:.6g}s"


def _memory(rows: pl.DataFrame, slices: Slices) -> float | None:
    """Return after how many seconds the level of a node is half as like itself as one slice later; None if never."""
    number = ((pl.col("@time") - slices.origin) / slices.seconds).floor().cast(pl.Int64)
    cells = rows.filter(pl.col("@cost").is_not_null()).group_by(number.alias("s"), "@node").agg(pl.col("@cost").mean())
    if cells.height < 4 * LEAST_SLICES:
        return None
    # A node's own mean and the hour that all nodes share are no change of the node.
    own = pl.col("@cost") - pl.col("@cost").mean().over("@node") - pl.col("@cost").mean().over("s")
    cells = cells.with_columns((own + pl.col("@cost").mean()).alias("@cost"))
    first = _likeness(cells, 1)
    lag = 2
    while lag <= slices.n // 2 and first > 0.05:  # noqa: PLR2004 - less is noise alone
        if _likeness(cells, lag) < first / 2:
            return lag * slices.seconds
        lag *= 2
    return None


def _likeness(cells: pl.DataFrame, lag: int) -> float:
    later = cells.with_columns(pl.col("s") - lag).rename({"@cost": "later"})
    both = cells.join(later, on=["s", "@node"])
    if both.height < LEAST_SLICES:
        return 0.0
    likeness = both.select(pl.corr("@cost", "later")).item()
    return float(likeness) if likeness is not None and math.isfinite(likeness) else 0.0
