"""What was measured: the outcome that makes up the cost, what a failure is, when an outcome was known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from scheduler.errors import DataError, InputError
from scheduler.spec import RawColumn
from training.draft.columns import RawFacts
from training.draft.words import (
    BAD_NAME,
    BAD_VALUES,
    FAILURE_TIME,
    GOOD_VALUES,
    LATENCY,
    NODE_NUMBER,
    OTHER_COST,
    REQUEST_NUMBER,
    SUCCESS,
    THROUGHPUT,
    place_in,
    says,
    unit_of,
    words,
)
from training.telemetry.files.kinds import is_text

_HTTP = (100, 599)
_ANSWERED = (200, 399)
_MS_PER = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}
_MBIT = {"kbps": 1e6, "kbit": 1e6, "mbps": 1e3, "mbit": 1e3, "gbps": 1.0, "bps": 1e9, "mbits": 1e3, "kbits": 1e6}
"""Milliseconds for a megabit at a rate of one in a unit."""


class Measured(NamedTuple):
    """An outcome: its raw column, how it is made of it, its unit, and whether it is a duration in milliseconds."""

    column: str
    raw: RawColumn
    unit: str
    is_time: bool
    why: str


class Success(NamedTuple):
    """How success is read, None where every request succeeded, and why."""

    raw: RawColumn | None
    column: str | None
    why: str


def cost_candidates(facts: Mapping[str, RawFacts], taken: set[str]) -> list[str]:
    """Return the numbers that a request may cost, the most likely first."""
    numbers = [one for one in facts.values() if one.name not in taken and _is_number(one)]
    return [one.name for one in sorted(numbers, key=_cost_rank) if math.isfinite(_cost_rank(one))]


def _is_number(one: RawFacts) -> bool:
    return one.kind in ("number", "integer") and one.distinct > 1


def _known_before(name: str) -> bool:
    """Tell whether a name says that a number is the request's or the node's, such as a bitrate that is asked for."""
    return says(name, REQUEST_NUMBER | NODE_NUMBER) and place_in(name, LATENCY) is None


def _may_be_number(one: RawFacts) -> bool:
    """Tell whether a column that was named holds numbers, maybe as texts among others."""
    return _is_number(one) or one.kind == "category"


def _cost_rank(one: RawFacts) -> float:
    """Return a rank: durations, then rates, then other measures, then any number with a fraction; infinite for none."""
    if _known_before(one.name):
        return math.inf
    late = 0.5 if says(one.name, FAILURE_TIME) and one.nulls > 0.5 else 0.0  # noqa: PLR2004 - known of failures alone
    for base, known in ((0.0, LATENCY), (100.0, THROUGHPUT), (200.0, OTHER_COST)):
        place = place_in(one.name, known)
        if place is not None:
            return base + place + 100.0 * late + 10.0 * one.nulls
    if unit_of(one.name) is not None:
        return 50.0 + 100.0 * late + 10.0 * one.nulls
    return 300.0 + 10.0 * one.nulls if one.kind == "number" else math.inf


def find_cost(facts: Mapping[str, RawFacts], taken: set[str], wanted: str | None, *, higher: bool | None) -> Measured:
    """Return the outcome that a request costs; of a rate, what a megabit takes.

    Raises
    ------
    InputError
        If the column that was named is not there, or holds no numbers.
    DataError
        If there is none.
    """
    if wanted is not None and (wanted not in facts or not _may_be_number(facts[wanted])):
        numbers = ", ".join(one.name for one in facts.values() if _is_number(one))
        raise InputError(f"--outcome: expected one of the columns of numbers {numbers}, found {wanted!r}")
    names = [wanted] if wanted is not None else cost_candidates(facts, taken)
    if not names:
        found = ", ".join(f"{one.name} ({one.kind})" for one in facts.values())
        raise DataError(f"telemetry: expected a column with a measured number (--outcome COLUMN), found {found}")
    return measured(facts[names[0]], higher=higher)


def measured(one: RawFacts, *, higher: bool | None = None) -> Measured:
    """Return a raw number as an outcome that is better low."""
    name = one.name
    rate = place_in(name, THROUGHPUT) is not None and place_in(name, LATENCY[:-1]) is None if higher is None else higher
    if rate:
        factor = next((_MBIT[word] for word in words(name) if word in _MBIT), None)
        inverse, unit = (factor, "ms for a Mbit") if factor is not None else (1_000.0, f"thousandths of 1/{name}")
        why = f"{name} is better high, so its cost is {inverse:g} / {name}"
        return Measured(name, RawColumn(column=name, type="number", inverse=inverse), unit, is_time=False, why=why)
    if place_in(name, LATENCY) is None and unit_of(name) is None:
        low = 0.0 if one.low is not None and one.low < 0 and one.nulls == 0.0 else None
        # Costs are learned as logarithms of 1 more, in which numbers far below 1 are all alike.
        small = one.median is not None and abs(one.median) < 5  # noqa: PLR2004 - log(1 + 5) is nearly log(5)
        raw = RawColumn(column=name, type="number", min=low, scale=1_000.0 if small else 1.0)
        unit = f"thousandths of {name}" if small else ""
        return Measured(name, raw, unit, is_time=False, why=f"{name} is taken to be better low")
    said, why = unit_of(name), "by its name"
    unit = said or "ms"
    if said is None:
        # A duration of less than five whose unit is not said: in milliseconds that would be one room.
        unit = "s" if one.kind == "number" and one.median is not None and one.median < 5 else "ms"  # noqa: PLR2004
        why = f"because its median is {one.median:.3g}" if one.median is not None else "as most are"
    low = 0.0 if one.low is not None and one.low < 0 else None
    raw = RawColumn(column=name, type="number", scale=_MS_PER[unit], min=low)
    return Measured(name, raw, "ms", is_time=True, why=f"{name} is a duration in {unit} {why}, better low")


def success_candidates(facts: Mapping[str, RawFacts], taken: set[str]) -> list[str]:
    """Return the columns that may tell success, the most likely first."""
    kinds = ("boolean", "category", "integer", "constant")
    named = [one for one in facts.values() if one.name not in taken and one.kind in kinds and _few(one)]
    ranked = [(place_in(one.name, SUCCESS), one.name) for one in named]
    return [name for place, name in sorted((place, name) for place, name in ranked if place is not None)]


def _few(one: RawFacts) -> bool:
    return one.distinct <= 200  # noqa: PLR2004 - codes and words of success are few; more is a message or a measure


def find_success(
    sample: pl.DataFrame, facts: Mapping[str, RawFacts], cost: Measured, taken: set[str], wanted: str | None
) -> Success:
    """Return how to tell success: a column that says so, or that the outcome was measured at all.

    Raises
    ------
    InputError
        If the column that was named is not there, or tells no success.
    """
    if wanted and wanted not in facts:
        raise InputError(f"--success: expected one of the columns {', '.join(facts)}, found {wanted!r}")
    names = [wanted] if wanted else success_candidates(facts, taken | {cost.column})
    for name in names:
        found = _success_of(sample, facts[name], cost)
        if found is not None:
            return found
    if wanted and wanted != cost.column:
        expected = "expected booleans, 0 and 1, HTTP or exit codes, or words such as ok and failed"
        raise InputError(f"--success: {expected}, found {wanted!r} ({_values_of(facts[wanted])})")
    one = facts[cost.column]
    if cost.raw.inverse is not None and one.low is not None and one.low <= 0:
        raw = RawColumn(column=one.name, type="boolean", min=math.ulp(0.0) if one.nulls else 1e-9)
        return Success(raw, one.name, f"a request succeeded if {one.name} is above 0")
    if one.low is not None and one.low < 0:
        raw = RawColumn(column=one.name, type="boolean", min=0)
        return Success(raw, one.name, f"a request failed if {one.name} is negative or missing")
    if one.nulls > 0 or one.kind == "category":
        raw = RawColumn(column=one.name, type="boolean")
        return Success(raw, one.name, f"a request failed if {one.name} is missing ({one.nulls:.1%})")
    return Success(None, None, "no column tells failures: every request counts as a success")


def _values_of(one: RawFacts) -> str:
    values = ", ".join(str(value) for value, _ in one.common[:3])
    return f"{one.kind}: {values}, ..." if values else one.kind


def _success_of(sample: pl.DataFrame, one: RawFacts, cost: Measured) -> Success | None:
    """Return what a column says of success; None if it says nothing that is understood."""
    name, bad = one.name, says(one.name, BAD_NAME)
    series = sample[name]
    if series.dtype == pl.Boolean:
        raw = RawColumn(column=name, type="boolean", good=(not bad,))
        return Success(raw if bad else RawColumn(column=name), name, f"{name} is {'false' if bad else 'true'}")
    values = [value for value in series.drop_nulls().unique().sort().to_list() if value is not None]
    if is_text(series.dtype):
        return _by_words(sample, name, [str(value) for value in values], cost)
    return _by_codes(name, values, bad=bad) if series.dtype.is_numeric() and values else None


def _by_codes(name: str, values: Sequence[float], *, bad: bool) -> Success | None:
    """Return which numbers mean success: 1 (or 0 of a column of failures), HTTP codes of answers, the exit code 0."""
    if {*values} <= {0, 1}:
        return _one_of(name, (0 if bad or "code" in words(name) else 1,))
    coded = {*words(name)} & {"code", "status", "rcode", "result", "response", "exit"}
    if coded and values[0] >= 0 and all(value == 0 or _HTTP[0] <= value <= _HTTP[1] for value in values):
        return _http(name)
    if coded and 0 in values:
        return _one_of(name, (0, 3) if "rcode" in words(name) else (0,))
    return None


def _one_of(name: str, good: tuple[int, ...]) -> Success:
    return Success(RawColumn(column=name, type="boolean", good=good), name, f"{name} is {' or '.join(map(str, good))}")


def _http(name: str) -> Success:
    raw = RawColumn(column=name, type="boolean", min=_ANSWERED[0], max=_ANSWERED[1])
    return Success(raw, name, f"{name} is from {_ANSWERED[0]} to {_ANSWERED[1]}, as an HTTP code of an answer")


def _by_words(sample: pl.DataFrame, name: str, values: Sequence[str], cost: Measured) -> Success | None:
    """Return which texts mean success: by known words, else those with which an outcome was mostly measured."""
    if all(value.strip().isdigit() for value in values):
        numbers = [int(value) for value in values]
        if all(value == 0 or _HTTP[0] <= value <= _HTTP[1] for value in numbers) and max(numbers) >= _HTTP[0]:
            return _http(name)
    known = {value: _meaning(value) for value in values}
    if not any(meaning is not None for meaning in known.values()):
        return None
    missing = dict(sample.group_by(name).agg(pl.col(cost.column).is_null().mean()).drop_nulls().iter_rows())
    good = tuple(v for v, m in known.items() if m or (m is None and missing.get(v, 0.0) < 0.5))  # noqa: PLR2004
    if not good or len(good) == len(values) == 1:
        return Success(None, name, f"{name} is always {values[0]}") if good else None
    why = f"{name} is {', '.join(good[:5])}{' or another' if len(good) > 5 else ''}"  # noqa: PLR2004 - a line
    return Success(RawColumn(column=name, type="boolean", good=good), name, why)


def _meaning(value: str) -> bool | None:
    text = value.strip().lower()
    if text.isdigit() and _HTTP[0] <= int(text) <= _HTTP[1]:
        return _ANSWERED[0] <= int(text) <= _ANSWERED[1]
    found = {text, *words(value)}
    if found & BAD_VALUES or "not" in found:
        return False
    return True if found & GOOD_VALUES else None


def failure_time(facts: Mapping[str, RawFacts], cost: Measured, taken: set[str]) -> Measured | None:
    """Return the column that says how long a failure took, if there is one."""
    for one in facts.values():
        named = says(one.name, FAILURE_TIME) and (unit_of(one.name) or place_in(one.name, LATENCY) is not None)
        if one.name not in taken and one.name != cost.column and _is_number_or_constant(one) and named:
            return measured(one, higher=False)
    return None


def _is_number_or_constant(one: RawFacts) -> bool:
    return one.dtype.is_numeric() and one.kind not in ("empty", "time")


def further(facts: Mapping[str, RawFacts], taken: set[str]) -> list[Measured]:
    """Return other outcomes that history should remember: durations and rates that were measured often enough."""
    found = []
    for one in facts.values():
        named = place_in(one.name, LATENCY[:-1]) is not None or place_in(one.name, THROUGHPUT) is not None
        named = named and not _known_before(one.name)
        if one.name not in taken and named and _is_number(one) and one.nulls < 0.9 and (one.low or 0.0) >= 0.0:  # noqa: PLR2004
            raw = RawColumn(column=one.name)
            found.append(Measured(one.name, raw, unit_of(one.name) or "", is_time=False, why="measured too"))
    return found[:2]
