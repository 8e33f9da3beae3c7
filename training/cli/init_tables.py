"""What ``fogline init`` found and decided, for the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.cli.table import Cell, Column, FigureTable, Row, number

if TYPE_CHECKING:
    from training.draft.columns import RawFacts
    from training.draft.draft import Draft

_LONGEST = 24
"""Characters of a value that are shown."""

_MINUTES = 120.0
"""Seconds from which on a duration is said in minutes and more."""


def columns_table(made: Draft) -> FigureTable:
    """Return a row for each raw column: what it holds, and what it is taken for."""
    used = _uses(made)
    rows = tuple(
        Row(
            one.name,
            (Cell(used.get(one.name, "not used")), Cell(_kind(one)), Cell(f"{one.nulls:.1%}"), Cell(_values(one))),
        )
        for one in made.facts.values()
    )
    columns = (Column("taken for", 0), Column("holds", 1), Column("missing", 3), Column("values", 2))
    return FigureTable(f"{made.data}: {made.n_rows:,} rows", "column", columns, rows)


def _uses(made: Draft) -> dict[str, str]:
    """Return by raw column what it is taken for."""
    roles, found = made.roles, dict[str, str]()
    found |= {one.column: f"{one.side} {one.type}" for one in made.attributes if one.source == "telemetry"}
    found |= {one.column: "outcome" for one in made.further}
    if made.failure is not None:
        found[made.failure.column] = "time of a failure"
    if made.success.column is not None:
        found[made.success.column] = "success"
    found[made.cost.column] = "outcome and cost" if made.success.column != made.cost.column else "cost and success"
    named = {roles.client: "client", roles.node: "node", roles.time: "time", roles.slice: "slice"}
    return found | {column: use for column, use in named.items() if column is not None}


def _kind(one: RawFacts) -> str:
    if one.kind == "time":
        unit = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}.get(one.unit or "", "")
        return f"time {unit}".strip() if one.dated or unit else "time"
    return {"integer": "whole numbers", "number": "numbers", "category": "texts"}.get(one.kind, one.kind)


def _values(one: RawFacts) -> str:
    if one.kind == "time" and one.low is not None and one.high is not None:
        from training.telemetry.units import date_text

        show = date_text if one.dated else number
        return f"{show(one.low)} to {show(one.high)}"
    if one.kind == "number" or one.distinct > 1_000:  # noqa: PLR2004 - the most frequent of so many say little
        return f"{number(one.low)} to {number(one.high)}" if one.low is not None else f"{one.distinct:,} distinct"
    shown = ", ".join(f"{str(value)[:_LONGEST]} ({count:,})" for value, count in one.common[:3])
    more = one.distinct - 3
    return f"{shown} and {more:,} more" if more > 0 else shown


def figures(made: Draft) -> dict[str, Any]:
    """Return columns and numbers of what was decided, for programs."""
    roles, used = made.roles._asdict(), _uses(made)
    return {
        "roles": {**roles, "outcome": made.cost.column, "success": made.success.column},
        "also_likely": {role: list(names) for role, names in made.alternatives._asdict().items()},
        "columns": {name: used.get(name) for name in made.facts},
        "not_used": made.left_out,
        "rows": made.n_rows,
        "clients": made.n_clients,
        "nodes": made.n_nodes,
        "slice_seconds": made.slices.seconds,
        "half_lives_seconds": list(made.change.half_lives),
        "unit": made.cost.unit,
        "median": made.costs.median,
        "p99": made.costs.high,
        "failed": made.costs.failed,
    }


def decisions(made: Draft) -> dict[str, str]:
    """Return what was decided in words, by what it is about."""
    roles, slices, change = made.roles, made.slices, made.change
    lives = ", ".join(map(_duration, change.half_lives))
    categories = [one for one in made.attributes if one.type == "category"]
    memory = (
        "no node loses half of its level"
        if change.memory is None
        else f"half of a node's level is lost after {_duration(change.memory)}"
    )
    median, high = made.cost_text(made.costs.median), made.cost_text(made.costs.high)
    who = f"{roles.client} ({made.n_clients:,})" if roles.client else "none, as no column says who asks"
    return {
        "client": _doubted(made, who, made.alternatives.client),
        "node": _doubted(made, f"{roles.node} ({made.n_nodes:,})", made.alternatives.node),
        "time": _time(made),
        "slices": f"{slices.n - slices.first:,} of {_duration(slices.seconds)}, {slices.why}",
        "nodes a client and slice": f"{slices.nodes:g}",
        "cost": f"{made.cost.why}; median {median}, 99 in 100 below {high}",
        "success": f"{made.success.why}; {made.costs.failed:.2%} failed",
        "categories": ", ".join(f"{one.column} ({one.distinct:,}, {one.side})" for one in categories) or "none",
        "half-lives": f"{lives}: {memory}",
        "left out": "; ".join(f"{name}: {why}" for name, why in made.left_out.items()) or "nothing",
    }


def _doubted(made: Draft, told: str, others: Sequence[str]) -> str:
    """Return what was chosen with the columns that are as likely."""
    from training.draft.alternatives import alternatives_text

    return "; ".join(filter(None, (told, alternatives_text(made.facts, others))))


def _duration(seconds: float) -> str:
    """Return a duration as a spec has it; about, where that would be a long number of seconds."""
    from training.draft.times import duration_text, nice_duration

    exact = duration_text(seconds)
    return f"about {duration_text(nice_duration(seconds))}" if exact.endswith("s") and seconds >= _MINUTES else exact


def _time(made: Draft) -> str:
    if made.roles.time is None:
        return f"none; slices are numbered by {made.roles.slice}"
    one = made.facts[made.roles.time]
    unit = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}.get(one.unit or "")
    told = f"in {unit}" if unit else f"texts such as {one.example}" if one.example else "dates"
    return f"{one.name}, {told}{'' if one.dated or not unit else ' from some start'}"
