"""Feeds a watch from what a recorder takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.decisions.record.columns import Columns
from scheduler.decisions.record.watch import Watch, WatchedDecisions, WatchedOutcomes, carrier_column
from scheduler.decisions.record.watch_totals import WatchTotals
from scheduler.model.model import Model


class WatchFeed:
    """Tells a watch of recorded decisions and outcomes; the recorder's thread calls.

    Parameters
    ----------
    latest
        Returns the latest time of any call, in the seconds of decisions.
    """

    def __init__(self, latest: Callable[[], float]) -> None:
        self._latest = latest
        self._watch: Watch | None = None
        self._n_heads = self._n_keys = 0
        self._carrier: int | None = None

    @property
    def totals(self) -> WatchTotals | None:
        """Predicted against actual, and missing outcomes; None before the first decision."""
        return None if self._watch is None else self._watch.totals

    def know_arm(self, arm: int, model: Model) -> None:
        """Learn of an arm by its number, before the first of its decisions."""
        if self._watch is None:
            self._watch, self._n_heads = Watch(model.spec), len(model.heads)
            nodes, carrier = model.features.node, carrier_column(model.spec)
            self._n_keys = nodes.n_keys
            self._carrier = None if carrier is None else nodes.key_columns[carrier]
        self._watch.know_arm(arm, model.version, model.spec)

    def add(self, decisions: Columns | None, outcomes: Columns | None) -> Columns | None:
        """Take in what was recorded since the last call; return timeouts as columns, None where there are none."""
        if self._watch is None:
            return None
        made = self._decisions(decisions) if decisions is not None else self._no_decisions()
        came = _outcomes(outcomes) if outcomes is not None else self._watch.no_outcomes()
        timeouts = self._watch.add(made, came, self._latest()).timeouts
        return dict(timeouts._asdict()) if timeouts.decision.size else None

    def _decisions(self, columns: Columns) -> WatchedDecisions:
        """Return columns of thin records, whose nodes stand side by side in a row."""
        found = cast("dict[str, NDArray[Any]]", columns)
        values = found["values"].reshape(len(found["id"]), -1, self._n_heads)
        keys = found["node_keys"].reshape(len(values), -1, self._n_keys)
        return WatchedDecisions(
            id=found["id"],
            time=found["time"],
            arm=found["arm"],
            profile=found["profile"],
            n_slate=found["n_slate"],
            carrier=np.array(MISSING_KEY, np.uint64) if self._carrier is None else keys[:, :, self._carrier],
            predicted=values,
        )

    def _no_decisions(self) -> WatchedDecisions:
        none = np.empty(0, np.int64)
        return WatchedDecisions(
            id=none,
            time=np.empty(0),
            arm=none.astype(np.int32),
            profile=none.astype(np.int32),
            n_slate=none.astype(np.uint8),
            carrier=np.empty((0, 1), np.uint64),
            predicted=np.empty((0, 1, self._n_heads)),
        )


def _outcomes(columns: Columns) -> WatchedOutcomes:
    """Return columns of outcomes; those measured elsewhere belong to no decision."""
    found = cast("dict[str, NDArray[Any]]", columns)
    return WatchedOutcomes._make(found[name] for name in WatchedOutcomes._fields)
