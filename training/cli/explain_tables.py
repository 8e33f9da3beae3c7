"""Explanations as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.audit.words import feature_value, number, signed
from training.cli.table import Cell, Column, FigureTable, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scheduler.audit.values import Explanation, Plain, WhatIf
    from scheduler.spec import Spec
    from training.explanation.model_rules import ModelRules

SHOWN = 12
"""Rows of a table of features; ``--json`` has all."""


def parts_table(found: Explanation, spec: Spec) -> FigureTable:
    """Return the largest parts of a difference of utilities, with values as sentences say them."""
    columns = (Column("part"), Column("chosen", 1), Column("other", 1))
    rows = tuple(
        Row(
            part.feature,
            (
                Cell(signed(part.share)),
                *(Cell(feature_value(spec, part.feature, value)) for value in (part.chosen, part.other)),
            ),
        )
        for part in found.parts[:SHOWN]
    )
    return FigureTable(f"{found.chosen} against {found.other}", "feature", columns, rows)


def _plain(value: Plain) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def utilities_table(found: WhatIf) -> FigureTable:
    """Return the candidates of the highest utility before and after."""
    before, after = found.before.utility, found.after.utility
    best = sorted(before, key=lambda node: -max(_or_least(before[node]), _or_least(after[node])))[:SHOWN]
    rows = tuple(Row(str(node), (Cell(_utility(before[node])), Cell(_utility(after[node])))) for node in best)
    return FigureTable("Utilities", "node", (Column("as it was"), Column("as it would be")), rows)


def _or_least(value: float | None) -> float:
    return float("-inf") if value is None else value


def _utility(value: float | None) -> str:
    return "none" if value is None else number(value)


def importance_table(found: ModelRules) -> FigureTable:
    """Return the share of the gain by feature and head, the largest mean first."""
    heads = list(found.importance)
    names = list(next(iter(found.importance.values())))
    names.sort(key=lambda name: -sum(found.importance[head][name] for head in heads))
    columns = tuple(Column(head, h) for h, head in enumerate(heads))
    rows = tuple(
        Row(name, tuple(Cell(f"{found.importance[head][name]:.1%}") for head in heads)) for name in names[:SHOWN]
    )
    return FigureTable("Importance: share of the gain", "feature", columns, rows)


def dependence_tables(found: ModelRules) -> Iterator[FigureTable]:
    """Yield the partial dependence on each of the strongest features."""
    for one in found.dependence:
        columns = (Column("utility"), *(Column(head, h + 1) for h, head in enumerate(one.heads)))
        rows = tuple(
            Row(_plain(value), (Cell(number(one.utility[i])), *(Cell(number(head[i])) for head in one.heads.values())))
            for i, value in enumerate(one.values)
        )
        yield FigureTable(f"Means with each value of {one.feature}", one.feature, columns, rows)


def rules_table(found: ModelRules) -> FigureTable:
    """Return the rules of the surrogate, of the highest utility first."""
    if found.surrogate is None:
        raise ValueError("expected rules")
    rows = tuple(
        Row(" and ".join(rule.conditions), (Cell(number(rule.utility)), Cell(f"{rule.share:.0%}")))
        for rule in found.surrogate.rules
    )
    return FigureTable("The nearest rules", "if", (Column("utility"), Column("of the rows", 1)), rows)
