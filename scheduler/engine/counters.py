"""What operators look at: how much was decided, learned, forgotten and evicted."""

from __future__ import annotations

from scheduler.decisions.arrays import N_EXPIRED, N_EXPLORED, N_FORGOTTEN, N_LEARNED, N_OUTCOMES, NEXT
from scheduler.engine.state import State
from scheduler.history.store import CHANGE_POINTS, HISTORY, LATENT_FACTORS, table_counters


def read_counters(state: State) -> dict[str, int]:
    """Return the counters of `Scheduler.counters`."""
    counters, tables = state.log.arrays.counters, table_counters(state.history)
    return {
        "decisions": int(counters[NEXT]),
        "explored": int(counters[N_EXPLORED]),
        "outcomes": int(counters[N_OUTCOMES]),
        "learned": int(counters[N_LEARNED]),
        "expired": int(counters[N_EXPIRED]),
        "forgotten": int(counters[N_FORGOTTEN]),
        "history_capacity": state.history_capacity,
        "history_entries": int(tables[HISTORY][0]),
        "history_evicted": int(tables[HISTORY][1]),
        "latent_factors_evicted": int(tables[LATENT_FACTORS][1]),
        "change_points_evicted": int(tables[CHANGE_POINTS][1]),
        "nodes": len(state.fleet),
        "nodes_forgotten": state.fleet.n_forgotten,
        "clock_steps_back": state.clock.steps_back,
    }
