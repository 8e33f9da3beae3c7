"""From raw telemetry to what a spec needs to know of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import polars as pl

from scheduler.errors import DataError, InputError
from scheduler.spec import RawColumn
from training.draft.alternatives import Alternatives, alternatives_text, find_alternatives
from training.draft.attributes import Attribute, find_attributes, of_table
from training.draft.column_pairs import ColumnPairs
from training.draft.columns import RawFacts, facts_of, sample_of, seconds_of
from training.draft.jumps import Jumps, find_jumps
from training.draft.outcomes import (
    Measured,
    Success,
    cost_candidates,
    failure_time,
    find_cost,
    find_success,
    further,
    success_candidates,
)
from training.draft.roles import Roles, Wanted, eligible, find_roles
from training.draft.shared_categories import Shared, find_shared
from training.draft.times import (
    TRAINED,
    Change,
    Slices,
    find_change,
    find_slices,
    nodes_met,
    own_slices,
    with_own_slices,
)
from training.telemetry.data import Data, Frames
from training.telemetry.raw import RawFrame, made_column, open_file, open_raw, table_file

PART = 2_000_000
"""Rows by which slices and speed of change are found: those of some clients, each whole."""

TABLES: tuple[Literal["clients"], Literal["nodes"]] = ("clients", "nodes")
"""Tables beside telemetry."""

NONE = "(none)"
"""The answer that there is no such column."""

Ask = Callable[[str, Sequence[str], str], str]
"""Asks a question with some answers and the one that is likely; returns the answer."""


def likely(_question: str, _answers: Sequence[str], default: str) -> str:
    """Answer with what is likely: nobody is there to ask."""
    return default


class DraftOptions(NamedTuple):
    """What a caller says of the data; None where the draft decides.

    Attributes
    ----------
    client, node, time, success
        Columns of the roles; an empty client or success says that there is none.
    outcome
        The column that a request costs.
    higher
        Whether a high outcome is better.
    slice_seconds, failure_cost
        How long a slice lasts; what a failure costs.
    """

    client: str | None = None
    node: str | None = None
    time: str | None = None
    success: str | None = None
    outcome: str | None = None
    higher: bool | None = None
    slice_seconds: float | None = None
    failure_cost: float | None = None


NO_OPTIONS = DraftOptions()
"""No options: the draft decides all."""


class Costs(NamedTuple):
    """Costs of the rows looked at: share that failed, median and 99th percentile of successes, mean of a failure."""

    failed: float
    median: float
    high: float
    of_failure: float


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What was found in raw telemetry, and what was decided.

    ``left_out`` says by column why it is not used. ``options`` are those that were asked for or answered.
    ``alternatives`` are columns that are about as likely as a client or a node that nobody named beforehand.
    """

    data: Data
    n_rows: int
    facts: dict[str, RawFacts]
    roles: Roles
    time: RawColumn | None
    cost: Measured
    success: Success
    failure: Measured | None
    further: list[Measured]
    attributes: list[Attribute]
    shared: list[Shared]
    left_out: dict[str, str]
    slices: Slices
    change: Change
    costs: Costs
    n_clients: int
    n_nodes: int
    options: DraftOptions
    alternatives: Alternatives
    jumps: Jumps | None = None

    def cost_text(self, value: float) -> str:
        """Return a cost with its unit."""
        return f"{value:.4g} {self.cost.unit}".rstrip()


def draft(data: Data, options: DraftOptions = NO_OPTIONS, ask: Ask = likely) -> Draft:
    """Look at raw telemetry and decide what its columns are.

    Parameters
    ----------
    data
        Files of any layout, or frames.
    options
        What is known beforehand.
    ask
        Asks a person; by default nobody.

    Raises
    ------
    DataError
        If the data cannot be read, or has no column for a role.
    InputError
        If a column that was named is not there or cannot be what it was named for, or an option is no number for it.
    """
    _check(options)
    raw = open_raw(data)
    n_rows = int(raw.frame.select(pl.len()).collect(engine="streaming").item())
    if n_rows == 0:
        raise DataError(f"{data}: expected telemetry rows, found none")
    sample = sample_of(raw.frame, n_rows)
    facts = facts_of(sample, time=options.time, outcome=options.outcome)
    pairs = ColumnPairs(sample)
    roles = _ask_roles(pairs, facts, options, ask)
    taken = {name for name in roles if name is not None}
    cost, success = _ask_outcomes(sample, facts, taken, options, ask)
    taken |= {cost.column, *([success.column] if success.column else [])}
    failure = failure_time(facts, cost, taken) if success.raw is not None else None
    taken |= {failure.column} if failure else set()
    others = further(facts, taken)
    taken |= {one.column for one in others}
    time = _time_column(facts, roles)
    rows = _rows(raw, roles, time, cost, success)
    if roles.time is not None and options.slice_seconds is not None:
        roles = roles._replace(slice=None)  # a length that was asked for is not that of the data's own slices
    slices = _find_slices(sample, facts, rows, roles, options)
    told = sample.with_columns(_expression(raw, "@ok", success.raw, sample.schema))
    found = find_attributes(told, facts, roles, taken, success)
    attributes, left, frames = list(found.attributes), dict(found.left_out), {"telemetry": sample}
    for name in TABLES:
        table = _table(data, name)
        if table is not None:
            frames[name] = table
            sorted_table = of_table(table, name)
            attributes += sorted_table.attributes
            left |= sorted_table.left_out
    return Draft(
        data=data,
        n_rows=n_rows,
        facts=facts,
        roles=roles,
        time=time,
        cost=cost,
        success=success,
        failure=failure,
        further=others,
        attributes=attributes,
        shared=find_shared(attributes, frames),
        left_out=left,
        slices=slices,
        change=find_change(rows, slices),
        costs=_costs(rows, failure, raw),
        n_clients=1 if roles.client is None else _distinct(raw, roles.client),
        n_nodes=_distinct(raw, roles.node),
        options=options,
        jumps=None if roles.client is None else find_jumps(rows, slices),
        alternatives=_alternatives(pairs, facts, roles, options),
    )


def _check(options: DraftOptions) -> None:
    seconds, cost = options.slice_seconds, options.failure_cost
    if seconds is not None and not 0.0 < seconds < math.inf:
        raise InputError(f"--slice-seconds: expected a number above 0, found {seconds}")
    if cost is not None and not 0.0 <= cost < math.inf:
        raise InputError(f"--failure-cost: expected a number from 0 on, found {cost}")


def _ask_roles(pairs: ColumnPairs, facts: dict[str, RawFacts], options: DraftOptions, ask: Ask) -> Roles:
    found = find_roles(pairs, facts, Wanted(options.client, options.node, options.time))
    ids = eligible(pairs.sample, facts, {found.time or found.slice or ""})
    client, node = found.client, found.node
    others = find_alternatives(pairs, facts, found)
    if options.client is None:
        question = _with("Which column names the client, who asks", alternatives_text(facts, others.client))
        said = ask(question, [*ids, NONE], client or NONE)
        client = None if said == NONE else said
        if client != found.client:  # who serves is found anew beside who asks
            node = find_roles(pairs, facts, Wanted(client or "", options.node, options.time)).node
            others = find_alternatives(pairs, facts, found._replace(client=client, node=node))
    if options.node is None:
        question = _with("Which column names the node, who serves", alternatives_text(facts, others.node))
        node = ask(question, [one for one in ids if one != client], node)
    times = [one.name for one in facts.values() if one.kind == "time"]
    time = ask("Which column says when", times, found.time) if found.time in times and not options.time else found.time
    return Roles(client, node, time, found.slice)


def _with(question: str, more: str) -> str:
    return f"{question} ({more})" if more else question


def _alternatives(pairs: ColumnPairs, facts: dict[str, RawFacts], roles: Roles, options: DraftOptions) -> Alternatives:
    """Return what may be the client or the node; nothing of one that was named beforehand."""
    found = find_alternatives(pairs, facts, roles)
    return Alternatives(
        () if options.client is not None else found.client, () if options.node is not None else found.node
    )


def _ask_outcomes(
    sample: pl.DataFrame, facts: dict[str, RawFacts], taken: set[str], options: DraftOptions, ask: Ask
) -> tuple[Measured, Success]:
    cost = find_cost(facts, taken, options.outcome, higher=options.higher)
    if options.outcome is None:
        name = ask("Which number should a request have little of, or much", cost_candidates(facts, taken), cost.column)
        cost = find_cost(facts, taken, name, higher=options.higher)
    if options.higher is None:
        way = "high" if cost.raw.inverse is not None else "low"
        said = ask(f"Is {cost.column} better low or high", ["low", "high"], way)
        cost = cost if said == way else find_cost(facts, taken, cost.column, higher=said == "high")
    if options.success == "":
        return cost, Success(None, None, "every request counts as a success, as was asked for")
    success = find_success(sample, facts, cost, taken, options.success)
    if options.success is None:
        names = list(dict.fromkeys([*success_candidates(facts, taken), *([success.column] if success.column else [])]))
        said = ask("Which column tells success", [*names, NONE], success.column or NONE)
        if said == NONE:
            success = Success(None, None, "every request counts as a success")
        elif said != success.column:
            success = find_success(sample, facts, cost, taken, said)
    return cost, success


def _time_column(facts: dict[str, RawFacts], roles: Roles) -> RawColumn | None:
    """Return how times are read; None where there are none, or they are dates or seconds already."""
    if roles.time is None:
        return None
    one = facts[roles.time]
    if isinstance(one.dtype, pl.Datetime) or (one.format is None and one.unit in (None, "s") and one.dtype != pl.Date):
        return None
    unit = one.unit if one.unit in ("s", "ms", "us", "ns") else "s"
    return RawColumn(column=roles.time, type="time", unit=unit, format=one.format)  # type: ignore[arg-type]


def _expression(raw: RawFrame, name: str, column: RawColumn | None, schema: pl.Schema) -> pl.Expr:
    if column is None:
        return pl.lit(value=True).alias(name)
    return made_column(raw.where, name, column, schema).alias(name)


def _rows(raw: RawFrame, roles: Roles, time: RawColumn | None, cost: Measured, success: Success) -> pl.DataFrame:
    """Return the rows of some clients: time, ids, success, and the logarithm of the cost of a success."""
    schema = raw.frame.collect_schema()
    when = time or RawColumn(column=roles.time or roles.slice, type="time" if roles.time else "number")
    frame = raw.frame.select(
        _expression(raw, "@time", when, schema),
        (pl.lit(0) if roles.client is None else pl.col(roles.client)).alias("@client"),
        pl.col(roles.node).alias("@node"),
        _expression(raw, "@ok", success.raw, schema).fill_null(value=False),
        _expression(raw, "@cost", cost.raw, schema).cast(pl.Float64).alias("@raw"),
    )
    n_rows = int(frame.select(pl.len()).collect(engine="streaming").item())
    parts = -(-n_rows // PART)
    if parts > 1:
        by = "@client" if roles.client is not None else "@node"
        frame = frame.filter(pl.col(by).hash(0) % parts == 0)
    frame = frame.with_columns(pl.when(pl.col("@raw").is_finite()).then("@raw").alias("@raw"))  # reading rejects others
    known = pl.when(pl.col("@ok")).then((pl.col("@raw").clip(lower_bound=0.0) + 1.0).log())
    return frame.with_columns(known.alias("@cost")).collect(engine="streaming")


def _find_slices(
    sample: pl.DataFrame, facts: dict[str, RawFacts], rows: pl.DataFrame, roles: Roles, options: DraftOptions
) -> Slices:
    if roles.time is None:
        return _numbered(rows, options)
    if roles.slice is not None:
        one = facts[roles.time]
        own = own_slices(sample[roles.slice], seconds_of(sample[one.name], one.unit, one.format))
        if own is not None:
            return with_own_slices(rows, own, roles.slice)
    return find_slices(rows, options.slice_seconds)


def _numbered(rows: pl.DataFrame, options: DraftOptions) -> Slices:
    """Return slices that a column numbers; how long they last is not in the data."""
    seconds = options.slice_seconds or 900.0
    last = int(rows["@time"].cast(pl.Float64).max() or 0)  # type: ignore[arg-type]
    known = rows.select(pl.col("@time").alias("@slice"), "@client", "@node").drop_nulls("@slice")
    first = int(known["@slice"].cast(pl.Float64).min() or 0)  # type: ignore[arg-type]
    start = max(int(known["@slice"].quantile(TRAINED, "lower") or 0), first + 1)
    why = "as was asked for" if options.slice_seconds else "which nothing in the data says; correct it"
    scaled = rows["@time"] * seconds
    rows.replace_column(rows.get_column_index("@time"), scaled.alias("@time"))
    return Slices(seconds, 0.0, last + 1, nodes_met(known), start, why, first)


def _costs(rows: pl.DataFrame, failure: Measured | None, raw: RawFrame) -> Costs:
    good = rows.filter(pl.col("@ok"))["@raw"].drop_nulls()
    if good.is_empty():
        raise DataError(f"{raw.where}: expected a measured outcome where a request succeeded, found none")
    median, high = float(good.median()), float(good.quantile(0.99))  # type: ignore[arg-type]
    of_failure = 0.0
    if failure is not None:
        schema = raw.frame.collect_schema()
        taken = raw.frame.select(_expression(raw, "@failed", failure.raw, schema).cast(pl.Float64))
        mean = taken.select(pl.col("@failed").mean()).collect(engine="streaming").item()
        of_failure = float(mean or 0.0)
    return Costs(1.0 - float(rows["@ok"].mean()), median, high, of_failure)  # type: ignore[arg-type]


def _distinct(raw: RawFrame, column: str) -> int:
    return int(raw.frame.select(pl.col(column).drop_nulls().n_unique()).collect(engine="streaming").item())


def _table(data: Data, name: Literal["clients", "nodes"]) -> pl.DataFrame | None:
    if isinstance(data, Frames):
        return data.clients if name == "clients" else data.nodes
    file = table_file(data, name)
    return None if file is None else open_file(file).collect()


def spec_name(text: str) -> str:
    """Return a text as the name of a spec."""
    made = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")
    return made if made and made[0].isalpha() else f"mine-{made}".rstrip("-")
