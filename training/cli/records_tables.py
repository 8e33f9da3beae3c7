"""Records and replays as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from training.cli.table import Cell, Column, FigureTable, Row, number

if TYPE_CHECKING:
    from scheduler.audit.compare import Difference
    from scheduler.audit.replay import ReplayedArm

POLICY_DIGITS = 12
"""Of the hash of a policy: no two of a folder's policies are likely to share them."""


def segments(found: Sequence[Mapping[str, Any]]) -> FigureTable:
    """Return a row for each segment."""
    columns = (
        Column("decisions", 0),
        Column("in full", 0),
        Column("outcomes", 0),
        Column("torn", 1),
        Column("from", 2),
        Column("to", 2),
        Column("policies", 3),
        Column("megabytes", 3),
        Column("closed", 4),
    )
    rows = tuple(
        Row(
            one["segment"],
            (
                *(Cell(f"{one['rows'][table]:,}") for table in ("decisions", "full", "outcomes")),
                Cell(f"{one['torn']:,}"),
                *(Cell(_time(one[name])) for name in ("first_time", "last_time")),
                Cell(str(len(one["arms"]))),
                Cell(number(one["bytes"] / 1e6)),
                Cell("yes" if one["closed"] else "no"),
            ),
        )
        for one in found
    )
    title = "1 segment" if len(found) == 1 else f"{len(found)} segments"
    return FigureTable(title, "segment", columns, rows)


def arms(found: Sequence[ReplayedArm]) -> FigureTable:
    """Return a row for each model and policy."""
    columns = Column("policy", 1), Column("replayed"), Column("identical")
    rows = tuple(
        Row(one.model, (Cell(one.policy[:POLICY_DIGITS]), Cell(f"{one.decided:,}"), Cell(f"{one.identical:,}")))
        for one in found
    )
    return FigureTable("Replayed", "model", columns, rows)


def differing(found: Sequence[Difference]) -> FigureTable:
    """Return a row for each decision that came out otherwise."""
    columns = Column("field"), Column("node", 1), Column("recorded"), Column("now")
    rows = tuple(
        Row(str(one.decision), (Cell(one.field), Cell(one.node), Cell(_value(one.expected)), Cell(_value(one.found))))
        for one in found
    )
    return FigureTable("The first field that differs", "decision", columns, rows)


def skipped(found: Mapping[str, int], title: str = "Not replayed") -> FigureTable:
    """Return how many records were left out, by reason."""
    rows = tuple(Row(reason, (Cell(f"{n:,}"),)) for reason, n in found.items())
    return FigureTable(title, "why", (Column("records"),), rows)


def _value(value: object) -> str:
    """Return a value with all its digits: two that differ in the last bit must not look alike."""
    return ", ".join(map(repr, value)) if isinstance(value, list) else repr(value)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    except (ValueError, OverflowError, OSError):
        return number(seconds)
