"""The rules a telemetry row must not break, each a named Polars expression that is true where the row is bad.

The expressions speak of the columns that `derive` adds to the raw ones: a role is ``@time``, an outcome
``@outcome NAME``, a number of the request or the node ``@column NAME``. They are null where
the raw value is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import polars as pl

from scheduler.spec import Column, Outcome, Spec
from training.telemetry.files.kinds import KNOWN_AFTER, says_when_known, seconds, slice_column
from training.telemetry.units import FACTOR

OUTCOME, COLUMN = "@outcome ", "@column "
PROPENSITY = "@propensity"
KNOWN = "@known after"

MAX_SLICE = 2**31 - 1


class Facts(NamedTuple):
    """What a rule may know besides the row: the spec, the known ids, the middle time of each slice.

    ``middles`` has the columns ``slice`` and ``time`` (the median, maybe null), by slice; None without a time column.
    """

    spec: Spec
    clients: pl.Series
    nodes: pl.Series
    middles: pl.DataFrame | None = None


def derive(frame: pl.LazyFrame, facts: Facts, schema: pl.Schema) -> pl.LazyFrame:
    """Add the columns that rules and arrays are made from, in the types of the arrays."""
    spec, roles = facts.spec, facts.spec.telemetry
    slices = pl.col(slice_column(spec)).cast(pl.Int64, strict=False)
    columns = [
        pl.when(slices.is_between(0, MAX_SLICE)).then(slices).cast(pl.Int32).alias("@slice"),
        _positions(roles.client, facts.clients).alias("@client"),
        _positions(roles.node, facts.nodes).alias("@node"),
        (pl.lit(value=True) if roles.ok is None else pl.col(roles.ok).cast(pl.Boolean)).alias("@ok"),
    ]
    known = pl.col(KNOWN_AFTER).cast(pl.Float64).fill_nan(None) if says_when_known(spec, schema) else pl.lit(None)
    columns.append(known.cast(pl.Float64).alias(KNOWN))
    if roles.propensity is not None:
        columns.append(pl.col(roles.propensity).cast(pl.Float64).alias(PROPENSITY))
    if roles.time is not None:
        columns.append(seconds(roles.time, schema[roles.time]).alias("@time"))
    columns += [pl.col(name).cast(pl.Float32).alias(OUTCOME + name) for name in spec.outcomes]
    columns += [pl.col(name).cast(pl.Float64).alias(COLUMN + name) for name in _numbers(spec)]
    return frame.with_columns(columns)


def rules(facts: Facts) -> dict[str, pl.Expr]:
    """Return all rules that a spec asks for, by name."""
    spec = facts.spec
    found = {name: rule(facts) for name, rule in _ROW_RULES.items()}
    for name, outcome in spec.outcomes.items():
        found |= {f"{name}: {what}": rule(OUTCOME + name, outcome) for what, rule in _NUMBER_RULES.items()}
    for name, column in _numbers(spec).items():
        found |= {f"{name}: {what}": rule(COLUMN + name, column) for what, rule in _NUMBER_RULES.items()}
    return {name: rule.fill_null(value=False) for name, rule in found.items() if rule is not None}


def any_of(broken: dict[str, pl.Expr]) -> pl.Expr:
    """Return what is true where at least one rule is broken."""
    return pl.any_horizontal(*broken.values())


def reasons(broken: dict[str, pl.Expr]) -> pl.Expr:
    """Return the names of the rules that a row breaks, as a list."""
    names = [pl.when(bad).then(pl.lit(name)) for name, bad in broken.items()]
    return pl.concat_list(names).list.drop_nulls().alias("reasons")


def _null_slice(facts: Facts) -> pl.Expr:
    return pl.col(slice_column(facts.spec)).is_null()


def _slice_out_of_range(facts: Facts) -> pl.Expr:
    return pl.col(slice_column(facts.spec)).is_not_null() & pl.col("@slice").is_null()


def _null_time(facts: Facts) -> pl.Expr | None:
    return None if facts.spec.telemetry.time is None else pl.col("@time").is_null()


def _time_not_finite(facts: Facts) -> pl.Expr | None:
    return None if facts.spec.telemetry.time is None else ~pl.col("@time").is_finite()


def _time_against_slices(facts: Facts) -> pl.Expr | None:
    """Slices say one order, times another: before the middle of the slice before, or after that of the next.

    Slices may overlap by up to half their length. The middle is the median, so single wrong times do not move
    it, and only neighbours are compared, so one wrong slice does not reject all others. Outwards the first and the last
    slice may be longer than the spec says, but not as long as to have another unit.
    """
    if facts.middles is None or facts.middles.height == 0:
        return None
    known = facts.middles.drop_nulls("time")
    middles: list[float] = known["time"].to_list()
    length = FACTOR * facts.spec.telemetry.slice.seconds
    earliest, latest = min(middles, default=0.0) - length, max(middles, default=0.0) + length
    low, high = (
        pl.col("@slice").replace_strict(known["slice"], bound, default=None, return_dtype=pl.Float64)
        for bound in ([earliest, *middles[:-1]][: len(middles)], [*middles[1:], latest][: len(middles)])
    )
    in_order = pl.col("@time").is_between(low, high).fill_null(value=False)
    return pl.col("@slice").is_not_null() & pl.col("@time").is_finite() & ~in_order


def _null_client(facts: Facts) -> pl.Expr:
    return pl.col(facts.spec.telemetry.client).is_null()


def _unknown_client(facts: Facts) -> pl.Expr:
    return pl.col(facts.spec.telemetry.client).is_not_null() & pl.col("@client").is_null()


def _null_node(facts: Facts) -> pl.Expr:
    return pl.col(facts.spec.telemetry.node).is_null()


def _unknown_node(facts: Facts) -> pl.Expr:
    return pl.col(facts.spec.telemetry.node).is_not_null() & pl.col("@node").is_null()


def _null_ok(_: Facts) -> pl.Expr:
    return pl.col("@ok").is_null()


def _ok_without_cost(facts: Facts) -> pl.Expr:
    return pl.col("@ok") & pl.col(OUTCOME + facts.spec.cost.success).is_null()


def _is_never_negative(limits: Outcome) -> bool:
    return limits.min is not None and limits.min >= 0.0


def _negative_cost(facts: Facts) -> pl.Expr | None:
    """Costs are compared by their ratios and averaged by their roots. Outcomes with a range have a rule already."""
    cost, ok = facts.spec.cost, pl.col("@ok")
    sides = [
        when & (pl.col(OUTCOME + name) < 0)
        for when, name in ((ok, cost.success), (~ok, cost.failure_column))
        if name is not None and not _is_never_negative(facts.spec.outcomes[name])
    ]
    return pl.any_horizontal(*sides) if sides else None


def _arrival_before_decision(facts: Facts) -> pl.Expr:
    columns = [pl.col(OUTCOME + name) for name in facts.spec.telemetry.arrival]
    return pl.coalesce(pl.col(KNOWN), *columns) < 0


def _impossible_propensity(facts: Facts) -> pl.Expr | None:
    given = pl.col(PROPENSITY)
    return None if facts.spec.telemetry.propensity is None else ~((given > 0.0) & (given <= 1.0))


def _not_finite(name: str, _: Outcome | Column) -> pl.Expr:
    return ~pl.col(name).is_finite()


def _out_of_range(name: str, limits: Outcome | Column) -> pl.Expr | None:
    # NaN compares as larger than all numbers in Polars; it has a rule of its own.
    value, dtype = pl.col(name), pl.Float32 if name.startswith(OUTCOME) else pl.Float64
    sides = []
    if limits.min is not None:
        sides.append(value < pl.lit(limits.min, dtype))
    if limits.max is not None:
        sides.append(value > pl.lit(limits.max, dtype))
    return value.is_finite() & pl.any_horizontal(*sides) if sides else None


_ROW_RULES: dict[str, Callable[[Facts], pl.Expr | None]] = {
    "slice: null": _null_slice,
    "slice: out of range": _slice_out_of_range,
    "time: null": _null_time,
    "time: not finite": _time_not_finite,
    "time: against the order of slices": _time_against_slices,
    "client: null": _null_client,
    "client: unknown": _unknown_client,
    "node: null": _null_node,
    "node: unknown": _unknown_node,
    "ok: null": _null_ok,
    "cost: ok without the outcome": _ok_without_cost,
    "cost: negative": _negative_cost,
    "arrival: before the decision": _arrival_before_decision,
    "propensity: not above 0 and at most 1": _impossible_propensity,
}

_NUMBER_RULES: dict[str, Callable[[str, Outcome | Column], pl.Expr | None]] = {
    "not finite": _not_finite,
    "out of range": _out_of_range,
}


def _numbers(spec: Spec) -> dict[str, Column]:
    """Return the telemetry's own number columns of requests and nodes."""
    columns = spec.request_columns("telemetry") | spec.node_columns("telemetry")
    return {name: column for name, column in columns.items() if column.type == "number"}


def _positions(column: str, ids: pl.Series) -> pl.Expr:
    raw = pl.col(column).cast(ids.dtype, strict=False)
    places = pl.Series(range(len(ids)), dtype=pl.Int32)
    return raw.replace_strict(ids, places, default=None, return_dtype=pl.Int32)
