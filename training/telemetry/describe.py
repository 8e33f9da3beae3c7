"""What a practitioner looks at before training: rows a slice, nodes a client and slice, failures, categories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from scheduler.columns.ids import Id
from scheduler.spec import Spec
from training.telemetry.telemetry import Categories, Columns, Entities, Telemetry

SHOWN = 8
"""Categories of a column that are listed, the most frequent."""

SEVERAL = 2.0
"""Nodes a client and slice from which on serving, which sees one of them, sees less than training."""


@dataclass(frozen=True, kw_only=True)
class CountRange:
    """The least, the median and the most of some counts."""

    min: float
    median: float
    max: float


@dataclass(frozen=True, kw_only=True)
class CategorySummary:
    """A category column: how many values it has, how often each of the most frequent occurs, how often none.

    Those of telemetry are counted by row, those of a table by client or node.
    """

    values: int
    common: dict[Id, int]
    nulls: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """What accepted rows are like.

    ``rows_a_slice`` and ``nodes_a_client_and_slice`` are counts, ``failed`` is the share of failures, ``cost`` the mean
    cost, ``categories`` are by ``request.COLUMN`` and ``node.COLUMN``.
    """

    rows_a_slice: CountRange
    nodes_a_client_and_slice: CountRange
    failed: float
    cost: float
    categories: dict[str, CategorySummary]

    def advice(self, spec: Spec) -> list[str]:
        """Return what the spec should say by these figures, a line each."""
        found = []
        met = self.nodes_a_client_and_slice.median
        if met >= SEVERAL and spec.training.rehearse == 0.0:
            found.append(
                f"a client has {met:g} nodes measured in a slice, and serving sees only the one it picks: "
                "set training.rehearse, such as 0.6, and training.reveal, such as 0.3"
            )
        if met < SEVERAL and spec.training.rehearse > 0.0:
            found.append(
                f"a client has {met:g} node measured in a slice, so there is nothing to rehearse: "
                "leave training.rehearse out, or make slices longer"
            )
        return found


def describe(telemetry: Telemetry, spec: Spec) -> Description:
    """Return what accepted rows are like."""
    rows = np.unique(telemetry.slice, return_counts=True)[1]
    ids = pl.DataFrame({"slice": telemetry.slice, "client": telemetry.client, "node": telemetry.node})
    met = ids.group_by("slice", "client").agg(pl.col("node").n_unique())["node"].to_numpy()
    cost = telemetry.outcomes["cost"]
    return Description(
        rows_a_slice=_count_range(rows),
        nodes_a_client_and_slice=_count_range(met),
        failed=float(1.0 - telemetry.ok.mean()),
        cost=float(np.nanmean(cost, dtype=np.float64)),
        categories=_categories(telemetry, spec),
    )


def _count_range(counts: np.ndarray) -> CountRange:
    return CountRange(min=float(counts.min()), median=float(np.median(counts)), max=float(counts.max()))


def _categories(telemetry: Telemetry, spec: Spec) -> dict[str, CategorySummary]:
    found: dict[str, CategorySummary] = {}
    sides: tuple[tuple[str, list[str], Columns, Entities], ...] = (
        ("request", [*spec.request], telemetry.request, telemetry.clients),
        ("node", [*spec.node], telemetry.node_state, telemetry.nodes),
    )
    for side, names, own, table in sides:
        for name in names:
            column = own.get(name, table.columns.get(name))
            if isinstance(column, Categories) and name != "id":
                found[f"{side}.{name}"] = _summary(column)
    return found


def _summary(column: Categories) -> CategorySummary:
    known = column.codes[column.codes >= 0]
    counts = np.bincount(known, minlength=len(column.values))
    most = sorted(range(len(counts)), key=lambda code: -counts[code])[:SHOWN]
    common = {column.values[code]: int(counts[code]) for code in most if counts[code]}
    return CategorySummary(values=int((counts > 0).sum()), common=common, nulls=len(column.codes) - len(known))
