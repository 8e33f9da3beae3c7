"""What came of each node that a recorded decision named: its outcome, or a failure where none came in time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from scheduler.columns.schema import Schema
from scheduler.history.outcomes import outcome_names
from scheduler.spec import COST, FAILED
from training.telemetry.files.kinds import KNOWN_AFTER
from training.telemetry.records.collect import Collected


class Places(NamedTuple):
    """Nodes of decisions: the decision's row, the place, and the node's id as text and as key."""

    row: NDArray[np.int64]
    place: NDArray[np.int64]
    text: list[str]
    key: NDArray[np.uint64]


def places_of(found: Collected) -> Places:
    """Return the nodes of all slates and alternatives."""
    nodes, keys = found.decisions["nodes"], found.decisions["node_keys"]
    n_keys = Schema(found.spec.node).n_keys
    own = keys.reshape(len(keys), -1, n_keys)[:, :, 0]
    counts = np.diff(nodes.starts)
    row = np.repeat(np.arange(len(counts)), counts)
    return Places(row, np.arange(len(row)) - nodes.starts[row], nodes.values, own[own != 0])


def known_outcomes(found: Collected, places: Places) -> pl.DataFrame:
    """Return a row for each place that has an outcome or a timeout.

    A timeout is a failure at the spec's cost whose other outcomes are null. An outcome that came after its timeout is
    used in the place of it.

    Returns
    -------
    pl.DataFrame
        ``at``, the number of the place, its ``decision``, ``life``, ``key``, ``time``, ``place`` and ``is_slate``; the
        outcomes; `KNOWN_AFTER`, how many seconds after the decision the scheduler was told, infinite for a timeout,
        because nobody told it; ``timeout`` and ``late``.
    """
    decisions = found.decisions
    frame = pl.DataFrame(
        {
            "at": np.arange(len(places.row)),
            "decision": decisions["id"][places.row],
            "life": decisions["life"][places.row],
            "key": places.key,
            "time": decisions["time"][places.row],
            "place": places.place,
            "is_slate": places.place < decisions["n_slate"][places.row],
        }
    )
    told = _outcomes(found).with_columns(is_told=pl.lit(value=True))
    due = _timeouts(found).with_columns(is_due=pl.lit(value=True))
    frame = frame.join(told, on=["decision", "key"], how="left").join(due, on=["decision", "place"], how="left")
    is_told, is_due = pl.col("is_told").fill_null(value=False), pl.col("is_due").fill_null(value=False)
    failure = {FAILED: 1.0, COST: found.spec.cost.failure}
    filled = [pl.col(name).fill_null(pl.lit(value, pl.Float32)) for name, value in failure.items()]
    known_after = (pl.col("told") - pl.col("time")).clip(lower_bound=0.0).fill_null(np.inf)
    return frame.filter(is_told | is_due).with_columns(
        *filled, known_after.alias(KNOWN_AFTER), timeout=is_due & ~is_told, late=is_due & is_told
    )


def slate_costs(found: Collected) -> dict[int, float]:
    """Return for each decision the mean cost of the nodes of its slate, if all of them are known."""
    decisions = found.decisions
    sizes = pl.DataFrame({"decision": decisions["id"], "n": decisions["n_slate"].astype(np.int64)})
    slates = known_outcomes(found, places_of(found)).filter(pl.col("is_slate") & pl.col(COST).is_finite())
    means = slates.group_by("decision").agg(cost=pl.col(COST).cast(pl.Float64).mean(), known=pl.len())
    whole = means.join(sizes, on="decision").filter(pl.col("known") == pl.col("n"))
    return dict(zip(whole["decision"].to_list(), whole["cost"].to_list(), strict=True))


def _outcomes(found: Collected) -> pl.DataFrame:
    """Return one outcome for each decision and node that has any, and when the scheduler was told it."""
    rows, names = found.outcomes, outcome_names(found.spec)
    schema = {"decision": pl.Int64, "key": pl.UInt64, "told": pl.Float64, **dict.fromkeys(names, pl.Float32)}
    if rows is None:
        return pl.DataFrame(schema=schema)
    data = {"decision": rows["decision"], "key": rows["node_keys"][:, 0], "told": rows["time"]}
    data |= {name: rows["outcomes"][:, i] for i, name in enumerate(names)}
    return pl.DataFrame(data, schema=schema).unique(["decision", "key"], keep="first", maintain_order=True)


def _timeouts(found: Collected) -> pl.DataFrame:
    """Return the places whose window passed without an outcome."""
    rows, schema = found.timeouts, {"decision": pl.Int64, "place": pl.Int64}
    if rows is None:
        return pl.DataFrame(schema=schema)
    return pl.DataFrame({name: rows[name].astype(np.int64) for name in schema}).unique()
