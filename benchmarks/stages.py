"""Where the time of one decision goes: its stages one upon another, and the Python around them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from scheduler import Scheduler
from scheduler.decisions.arrays import DROPS
from scheduler.engine.kernels import decide, filters, node_rows, observe
from scheduler.engine.workspace import new_outputs
from scheduler.features.kernels.candidates import fill_pairs
from scheduler.features.kernels.operations import fill
from scheduler.forest.kernels import score
from scheduler.history.outcomes import tracked_values
from scheduler.model.kernels import calibrate, offsets
from scheduler.policy.kernels import choice, slate, utility
from scheduler.policy.kernels.exploration import draw
from scheduler.retrieval.arrays import NO_BLOCKLIST
from scheduler.retrieval.kernels.retrieve import retrieve
from scheduler.runtime.packed_arrays import PackedArrays, unpack_arrays
from scheduler.runtime.random import uniform

STAGES = ("retrieve", "admit", "request row", "pair features", "forest", "utilities", "choose and draw")
"""Each is what it adds to those before it, so that it finds in cache what they left there."""

WHOLE = "the kernel: all but retrieve, and reserve and remember too"

_compiled = njit(nogil=True, error_model="numpy", _nrt=False)


@_compiled
def _partial(packed, arm, request, blocklist, now, workspace, slots, dropped, last):  # noqa: PLR0913, PLR0917
    """Run the first stages of every request's decision; reserve and remember nothing."""
    total = 0.0
    state, by, work = unpack_arrays(packed), unpack_arrays(arm), unpack_arrays(workspace)
    program, columns, fleet, policy, left = by.program, state.fleet.columns, state.fleet, by.policy, work.candidates
    for i in range(request.keys.shape[0]):
        n = retrieve(state.postings, request.keys, i, blocklist, state.seed, i, work.retrieval, slots)
        if last == 0:
            continue
        demand = request.values[i, policy.demand] if policy.demand >= 0 else 0.0
        n = filters.admit(fleet, state.postings, slots[:n], blocklist, i, demand, now, left, dropped)
        if last == 1:
            continue
        fill(program, program.request, False, request, i, columns, 0, state.history, now, work.x_request)  # noqa: FBT003
        score.request_row(by.mask_tables, work.x_request, work.request_row)
        if last == 2:
            continue
        fill_pairs(program, request, i, columns, left.slot[:n], state.history, now, work.pair, work.x_pair)
        if last == 3:
            continue
        raw = left.raw[:n]
        score.score(by.mask_tables, work.request_row, by.node_rows, left.slot[:n], work.x_pair[:n], work.forest, raw)
        if last == 4:
            continue
        offsets.add_offsets(policy.offsets, work.x_request, work.x_pair[:n], raw)
        calibrate.calibrate(policy.calibration, raw, work.pair.x[:n], left.values[:n])
        p = utility.profile(policy, request, i)
        utility.read_nodes(policy, fleet, p, n, False, left)  # noqa: FBT003
        utility.utilities(policy, p, n, left)
        if last == 5:
            continue
        others = left.ranked[: slate.followers(policy, n, left)]
        if demand > 0.0:
            filters.still_free(fleet, n, left, dropped)
        choice.find_feasible(policy, fleet.columns.keys, n, demand, others, left)
        pick, _ = draw(policy, n, uniform(state.seed, i, 0), True, left)  # noqa: FBT003
        total += left.utility[pick]
    return total


def kernel_stages(scheduler: Scheduler, requests: dict[str, Any], repeats: int) -> dict[str, list[float]]:
    """Microseconds of thread time a request by stage, one figure a repeat, and of the whole kernel."""
    index, state, arm = scheduler.state.index, scheduler.state.arrays, scheduler.state.arms[0].arrays
    workspace = scheduler.state.arms[0].thread.workspace
    entity = scheduler.state.request_codec.rows(requests, scheduler.clients)
    n, now = len(entity.keys), scheduler.state.clock.latest.item()
    slots, dropped = np.empty(index.arrays.limit, np.int32), np.zeros(len(DROPS), np.int32)
    given = True
    out, found = new_outputs(scheduler.model, n), index.retrieve(entity.keys, 0, 0)

    def until(last: int) -> float:
        return 1e6 * thread_seconds(
            lambda: _partial(state, arm, entity, NO_BLOCKLIST, now, workspace, slots, dropped, last)
        )

    def whole() -> float:
        return 1e6 * thread_seconds(
            lambda: decide.decide(state, arm, entity, NO_BLOCKLIST, found, given, now, workspace, out)
        )

    until(0), whole()
    sums: dict[str, list[float]] = {stage: [] for stage in (*STAGES, WHOLE)}
    for _ in range(4 * repeats):  # in turn, so that a noisy moment falls on all
        for last, stage in enumerate(STAGES):
            sums[stage].append(until(last) / n)
        sums[WHOLE].append(whole() / n)
    least = [min(sums[stage]) for stage in STAGES]
    added = dict(zip(STAGES, ([x] for x in np.diff([0.0, *least]).tolist()), strict=True))
    return added | {f"all up to {STAGES[-1]}": sums[STAGES[-1]], WHOLE: sums[WHOLE]}


def edge_stages(scheduler: Scheduler, request: dict[str, Any], repeats: int) -> dict[str, list[float]]:
    """Microseconds of thread time of the Python steps of one `decide`, one figure a repeat."""
    index, mine, latest = scheduler.state.index, scheduler.state.arms[0].thread, scheduler.state.clock.latest.item()
    workspace, clients, arm = mine.workspace, scheduler.clients, scheduler.state.arms[0].arrays
    codec = scheduler.state.request_codec
    scheduler.decide(request, now=latest)
    state, entity, found = scheduler.state.arrays, workspace.content.request, workspace.content.found
    nothing = PackedArrays(workspace.content._replace(found=np.empty((1, 0), np.int32)))
    steps: dict[str, Callable[[], object]] = {
        "request to arrays": lambda: codec.write(request, clients, mine.request),
        "retrieve (one client: warm)": lambda: index.retrieve(entity.keys, 0, 7),
        "gather state": lambda: scheduler.state.arrays,
        "call decide with no candidates": lambda: decide.decide_one(state, arm, 0, NO_BLOCKLIST, latest, nothing),
        "row to Decision": lambda: mine.decision.read(found, scheduler.fleet.table.id_at),
    }
    times = {}
    for name, step in steps.items():
        step()
        times[name] = [
            1e6 / 500 * thread_seconds(lambda step=step: [step() for _ in range(500)]) for _ in range(repeats)
        ]
    return times


def state_stages(scheduler: Scheduler, repeats: int) -> dict[str, list[float]]:
    """Microseconds of thread time a node of an update's steps, and an outcome of an outcome's, in calls of 16,384."""
    n, latest = min(16_384, len(scheduler.fleet)), scheduler.state.clock.latest.item()
    index, log, spec = scheduler.state.index, scheduler.state.log, scheduler.model.spec
    fleet, table, workspace = scheduler.fleet, scheduler.fleet.table, scheduler.state.arms[0].thread.workspace
    codec = scheduler.state.outcome_codec
    rng, state, arm = np.random.default_rng(5), scheduler.state.arrays, scheduler.state.arms[0].arrays
    alone = np.zeros(1, np.int32)
    ids = rng.choice(len(fleet), n, replace=False)
    slots, load = table.slots(ids), {"load": rng.random(n)}
    clients = {"client_id": rng.integers(len(scheduler.clients), size=n), "bitrate_kbps": np.full(n, 900.0)}
    outcome = {"ok": rng.random(n) < 0.9, "latency_ms": rng.uniform(10, 300, n)}
    times: dict[str, list[float]] = {}

    def take(name: str, step: Callable[[], object]) -> None:
        times.setdefault(name, []).append(1e6 / n * thread_seconds(step))

    for _ in range(repeats):
        take("update: ids and columns", lambda: table.upsert(ids, load))
        take("update: index", lambda: index.put(slots, fleet.arrays.columns.keys, fleet.arrays.listed))
        take("update: rebuild rows", lambda: node_rows.refresh_nodes(state, arm, slots, workspace))
        made = scheduler.decide_batch(clients, now=latest).id
        take("outcome: find decisions", lambda made=made: log.find(made, None))
        rows, places = log.find(made, None)
        values = tracked_values(spec, spec.history.values, codec.rows(outcome, n))
        take("outcome: check values", lambda: tracked_values(spec, spec.history.values, codec.rows(outcome, n)))
        arrivals = np.full(n, latest)
        take(
            "outcome: learn, give back, rebuild rows",
            lambda rows=rows, places=places, values=values, arrivals=arrivals: observe.observe(
                state, arm, rows, places, values, arrivals, alone, workspace
            ),
        )
    return times


def thread_seconds(function: Callable[[], object]) -> float:
    """Processor time of this thread that a call takes."""
    start = time.thread_time_ns()
    function()
    return (time.thread_time_ns() - start) * 1e-9


@_compiled
def _read_lines(memory, places):
    total = 0.0
    for place in places:
        total += memory[place, 0]
    return total


def memory_speed(repeats: int) -> dict[str, list[float]]:
    """Nanoseconds a random cache line, loads independent of one another, and gigabytes a second of a stream."""
    memory = np.ones((2**29 // 64, 16), np.float32)
    places = np.random.default_rng(0).integers(len(memory), size=2**20)
    flat = memory.ravel()
    _read_lines(memory, places)
    return {
        "ns a random line": [
            1e9 / len(places) * thread_seconds(lambda: _read_lines(memory, places)) for _ in range(repeats)
        ],
        "GB/s streamed": [memory.nbytes / 1e9 / thread_seconds(flat.max) for _ in range(repeats)],
    }
