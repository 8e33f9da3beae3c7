"""From candidates to a slate: filters, utilities, choice, reservation."""

from __future__ import annotations

import numpy as np

from scheduler.index_layout import IndexArrays
from scheduler.kernels import forest, locks
from scheduler.kernels.candidates import is_barred, retrieve
from scheduler.kernels.draws import uniform
from scheduler.kernels.explore import draw, look_up, may_explore
from scheduler.kernels.exponential import exp
from scheduler.kernels.features import ask_for_buckets, ask_for_entries, fill, fill_pairs, history_key, learn
from scheduler.kernels.history import find, prefetch_bucket
from scheduler.kernels.jit import brief, inlined, kernel
from scheduler.kernels.memory import prefetch
from scheduler.kernels.outcomes import track
from scheduler.kernels.packed import Packed, opened
from scheduler.kernels.slate import alternatives, assemble, followers
from scheduler.layout import (
    ANSWERED,
    BEST,
    DROP_BLOCKED,
    DROP_FULL,
    DROP_QUARANTINED,
    DROP_SILENT,
    DROP_SPREAD,
    EXPLORED,
    LINK_LOG,
    LINK_LOGISTIC,
    MISSING_KEY,
    N_EXPIRED,
    N_EXPLORED,
    N_FORGOTTEN,
    N_OUTCOMES,
    NEXT_HOLD,
    NEXT_ID,
    OPEN,
    ORIGIN_ALL_DROPPED,
    ORIGIN_NO_CANDIDATES,
    ORIGIN_NO_UPLINK,
    SPARE,
    DecisionArrays,
    DecisionLog,
    Entity,
    FleetArrays,
    PolicyArrays,
    State,
    Workspace,
)


@inlined
def copy_row(to: np.ndarray, i: int, source: np.ndarray, j: int) -> None:
    """Copy row ``j`` of one array to row ``i`` of another of the same width."""
    for c in range(to.shape[1]):
        to[i, c] = source[j, c]


AHEAD = 16
"""Candidates ahead for which memory is asked for: enough to cover its latency of about 100 ns."""


@kernel
def refresh_node(packed: Packed[State], slot: int, desk: Packed[Workspace]) -> None:
    """Recompute the forest row of one node from its columns and history."""
    state, work = opened(packed), opened(desk)
    columns = state.fleet.columns
    # Node features read nothing of the request: the node stands in for it.
    program = state.program
    fill(program, program.node, False, columns, slot, columns, slot, state.history, 0.0, work.x_node)
    forest.node_row(state.tables, work.x_node, state.fleet.rows[slot])
    for k in program.node_keys:
        entry = find(state.history, history_key(program, k, columns, slot, columns, slot))
        if entry >= 0:
            state.history.owners[entry] = slot + 1


@inlined
def ask_for_node(state: State, slot: int) -> None:
    """Ask for what `refresh_node` reads first."""
    program, columns = state.program, state.fleet.columns
    prefetch(columns.values, slot)
    prefetch(state.fleet.rows, slot)
    for k in program.node_keys:
        prefetch_bucket(state.history, history_key(program, k, columns, slot, columns, slot))


@kernel
def refresh_nodes(packed: Packed[State], slots: np.ndarray, desk: Packed[Workspace]) -> None:
    """Recompute the forest rows of several nodes."""
    state = opened(packed)
    for i in range(slots.size):
        if i + 2 * AHEAD < slots.size:
            prefetch(state.fleet.columns.keys, slots[i + 2 * AHEAD])
        if i + AHEAD < slots.size:
            ask_for_node(state, slots[i + AHEAD])
        refresh_node(packed, slots[i], desk)


@kernel
def admit(
    fleet: FleetArrays,
    postings: IndexArrays,
    slots: np.ndarray,
    bars: np.ndarray,
    i: int,
    demand: float,
    now: float,
    work: Workspace,
    dropped: np.ndarray,
) -> int:
    """Write the candidates that may serve request ``i`` into the workspace and return how many.

    A candidate needs some free uplink, not all of the demand, because a slate may share it. Slots below 0 are
    padding. Counts the dropped by reason into ``dropped``.
    """
    n = 0
    for c in range(slots.size):
        if c + AHEAD < slots.size and slots[c + AHEAD] >= 0:
            prefetch(fleet.expires, slots[c + AHEAD])
            prefetch(fleet.columns.keys, slots[c + AHEAD])
            prefetch(fleet.columns.values, slots[c + AHEAD])
        slot = slots[c]
        if slot < 0:
            continue
        if now >= fleet.expires[slot]:
            dropped[DROP_SILENT] += 1
        elif now < fleet.released[slot]:
            dropped[DROP_QUARANTINED] += 1
        elif demand > 0.0 and not fleet.capacity[slot] > fleet.reserved[slot]:
            dropped[DROP_FULL] += 1
        elif is_barred(postings, bars, i, fleet.columns.keys, slot):
            dropped[DROP_BLOCKED] += 1
        else:
            work.position[n] = c
            work.slot[n] = slot
            n += 1
    return n


@kernel
def score(packed: Packed[State], request: Entity, i: int, n: int, now: float, desk: Packed[Workspace]) -> None:
    """Write calibrated head values of the workspace's first ``n`` candidates into its ``values``."""
    state, work = opened(packed), opened(desk)
    program, columns, rows = state.program, state.fleet.columns, state.fleet.rows
    fill(program, program.request, False, request, i, columns, 0, state.history, now, work.x_request)
    forest.request_row(state.tables, work.x_request, work.request_row)
    fill_pairs(program, request, i, columns, work.slot[:n], state.history, now, work.pair, work.x_pair)
    request_row, slots, x_pair, raw = work.request_row, work.slot[:n], work.x_pair[:n], work.raw[:n]
    forest.score(state.tables, request_row, rows, slots, x_pair, work.forest, raw)
    calibrate(state.policy.calibration, raw, work.pair.x[:n], work.values[:n])


@kernel
def calibrate(calibration: np.ndarray, raw: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """Turn raw scores, first of all in each row, into expected values (n, n_heads) of the heads' targets.

    ``x`` is scratch of n numbers: side by side they are calculated as vectors.
    """
    for h in range(out.shape[1]):
        link, intercept, slope = calibration[h, 0], calibration[h, 1], calibration[h, 2]
        for c in range(x.size):
            x[c] = intercept + slope * np.float64(raw[c, h])
        if link == LINK_LOGISTIC:
            for c in range(x.size):
                x[c] = 1.0 / (1.0 + exp(-x[c]))
        elif link == LINK_LOG:
            for c in range(x.size):
                x[c] = exp(x[c])
        for c in range(x.size):
            out[c, h] = x[c]


@kernel
def profile(policy: PolicyArrays, request: Entity, i: int) -> int:
    """Return the first weight profile whose conditions the request meets; the last one has none."""
    for p in range(policy.load.size - 1):
        met = True
        for w in range(policy.when_column.shape[1]):
            column = policy.when_column[p, w]
            if column >= 0 and request.keys[i, column] != policy.when_key[p, w]:
                met = False
        if met:
            return p
    return policy.load.size - 1


@kernel
def utilities(policy: PolicyArrays, fleet: FleetArrays, p: int, n: int, work: Workspace) -> None:
    """Write the utility of the workspace's first ``n`` candidates under weight profile ``p``."""
    values, utility = work.values, work.utility
    for c in range(n):
        utility[c] = 0.0
    for h in range(policy.given_ok.size):
        weight = policy.weights[p, h]
        if policy.given_ok[h] and policy.failure >= 0:
            for c in range(n):
                utility[c] += weight * (1.0 - values[c, policy.failure]) * values[c, h]
        else:
            for c in range(n):
                utility[c] += weight * values[c, h]
    if policy.load[p] != 0.0:
        for c in range(n):
            slot = work.slot[c]
            utility[c] += policy.load[p] * fleet.reserved[slot] / max(fleet.capacity[slot], 1.0)
    if policy.price >= 0 and policy.money[p] != 0.0:
        for c in range(n):
            utility[c] += policy.money[p] * fleet.columns.values[work.slot[c], policy.price]
    for c in range(n):
        # A missing price or a forest gone mad must not win by comparing false with everything.
        if np.isnan(utility[c]):
            utility[c] = -np.inf


@kernel
def expire(fleet: FleetArrays, log: DecisionLog, hold: float, now: float) -> None:
    """Give back the uplink of reservations that have lasted longer than ``hold`` seconds."""
    size = log.id.size
    while log.counters[NEXT_HOLD] < log.counters[NEXT_ID]:
        row = log.counters[NEXT_HOLD] % size
        # An id that a thread has taken but not yet written must not be passed over.
        if log.id[row] != log.counters[NEXT_HOLD] or log.time[row] + hold > now:
            return
        for s in range(log.slot.shape[1]):
            if log.held[row, s] > 0.0:
                give_back(fleet, log, row, s)
                log.counters[N_EXPIRED] += 1
        log.counters[NEXT_HOLD] += 1


@kernel
def give_back(fleet: FleetArrays, log: DecisionLog, row: int, s: int) -> None:
    """End one reservation; a node that has left since took its reservations with it."""
    slot = log.slot[row, s]
    if fleet.generation[slot] == log.generation[row, s]:
        # Sums of floats drift; a reservation total never goes below zero for it.
        fleet.reserved[slot] = max(fleet.reserved[slot] - log.held[row, s], 0.0)
    log.held[row, s] = 0.0


@kernel
def remember(
    state: State,
    request: Entity,
    i: int,
    slate: np.ndarray,
    length: int,
    n_spare: int,
    demand: float,
    decision: int,
    now: float,
    work: Workspace,
) -> None:
    """Write a decision into the log and reserve its slate's uplink; forgets the decision whose row it takes.

    Where so many later ones were written meanwhile that it would be forgotten by now, it is so at once.
    """
    fleet, log = state.fleet, state.log
    if decision < log.counters[NEXT_HOLD]:
        log.counters[N_FORGOTTEN] += length
        return
    row = decision % log.id.size
    for s in range(log.slot.shape[1]):
        if log.held[row, s] > 0.0:
            give_back(fleet, log, row, s)
        if log.state[row, s] == OPEN:
            log.counters[N_FORGOTTEN] += 1
        log.state[row, s] = 0
    if log.counters[NEXT_HOLD] <= decision - log.id.size:
        log.counters[NEXT_HOLD] = decision - log.id.size + 1
    log.id[row] = decision
    log.time[row] = now
    copy_row(log.request_keys, row, request.keys, i)
    for a in range(n_spare):
        note_node(fleet, log, row, slate.size + a, work.slot[work.spare[a]], SPARE)
    left = demand
    for s in range(length):
        slot = work.slot[slate[s]]
        note_node(fleet, log, row, s, slot, OPEN)
        if demand > 0.0:
            taken = min(left, fleet.capacity[slot] - fleet.reserved[slot])
            log.held[row, s] = taken
            fleet.reserved[slot] += taken
            left -= taken


@inlined
def note_node(fleet: FleetArrays, log: DecisionLog, row: int, s: int, slot: int, state: int) -> None:
    """Write which node stands at place ``s`` of a row of the log."""
    log.slot[row, s] = slot
    log.generation[row, s] = fleet.generation[slot]
    log.state[row, s] = state
    copy_row(log.node_keys, row * log.slot.shape[1] + s, fleet.columns.keys, slot)


@inlined
def note_score(work: Workspace, c: int, out: DecisionArrays, i: int, s: int) -> None:
    """Write candidate ``c`` to place ``s`` of decision ``i``."""
    out.position[i, s] = work.position[c]
    out.utility[i, s] = work.utility[c]
    copy_row(out.values[i], s, work.values, c)


@inlined
def still_free(fleet: FleetArrays, n: int, work: Workspace, dropped: np.ndarray) -> int:
    """Drop those of the first ``n`` candidates whose uplink was taken since they were admitted; how many are left."""
    left = 0
    for c in range(n):
        slot = work.slot[c]
        if not fleet.capacity[slot] > fleet.reserved[slot]:
            dropped[DROP_FULL] += 1
            continue
        if left < c:
            work.position[left], work.slot[left], work.utility[left] = work.position[c], slot, work.utility[c]
            work.doubt[left], work.is_new[left] = work.doubt[c], work.is_new[c]
            copy_row(work.values, left, work.values, c)
        left += 1
    return left


@inlined
def choose(
    state: State,
    request: Entity,
    i: int,
    decision: int,
    n: int,
    demand: float,
    now: float,
    work: Workspace,
    out: DecisionArrays,
) -> None:
    """Draw a slate from ``n`` candidates with utilities, reserve its uplink and remember it; under the mutex."""
    policy, fleet = state.policy, state.fleet
    slate = work.slate
    if demand > 0.0:
        n = still_free(fleet, n, work, out.dropped[i])
    length = n_spare = 0
    if n == 0:
        out.reason[i] = ORIGIN_NO_CANDIDATES
        for d in range(out.dropped.shape[1]):
            if out.dropped[i, d] > 0:
                out.reason[i] = ORIGIN_ALL_DROPPED
    else:
        others = work.leading[: followers(policy, n, work) if demand > 0.0 else 0]
        for c in range(n):
            # Most cover the demand alone: with a call for each of 256 this loop took 5 us.
            alone = fleet.capacity[work.slot[c]] - fleet.reserved[work.slot[c]] >= demand
            work.able[c] = alone or assemble(policy, fleet, demand, c, others, work, slate)[0] > 0
        explores = may_explore(policy, state.log, decision)
        pick, top = draw(policy, n, uniform(state.seed, decision, 0), explores, work)
        out.reason[i] = ORIGIN_NO_UPLINK if pick < 0 else BEST if pick == top else EXPLORED
        if pick >= 0:
            out.propensity[i] = work.chance[pick]
            state.log.counters[N_EXPLORED] += pick != top
        if pick >= 0 or others.size > 0:
            first = pick if pick >= 0 else others[0]
            length, out.dropped[i, DROP_SPREAD] = assemble(policy, fleet, demand, first, others, work, slate)
        for s in range(length):
            note_score(work, slate[s], out, i, s)
        if length > 0 and work.spare.size > 0:
            n_spare = alternatives(n, length, work)
            for a in range(n_spare):
                note_score(work, work.spare[a], out, i, slate.size + a)
    remember(state, request, i, slate, length, n_spare, demand, decision, now, work)


@kernel
def decide(
    packed: Packed[State],
    request: Entity,
    bars: np.ndarray,
    slots: np.ndarray,
    given: bool,
    now: float,
    desk: Packed[Workspace],
    out: DecisionArrays,
) -> None:
    """Decide requests one after another, each seeing the reservations of those before it.

    Several threads may do so at once, each with its own workspaces. A request takes its id first, which fixes all its
    draws. It is scored without a lock; then, under the mutex, the uplink is looked at anew, and slate, reservation and
    log are one step.

    Parameters
    ----------
    request
        (n, ...) rows of the requests.
    bars
        (n, n_bars, 2) uint64, what each does not want; see `BAR_COLUMN`.
    slots
        (n, n_candidates) int32 fleet slots, -1 as padding; filled from the index unless ``given``.
    out
        Changed in place, as are the fleet's reservations and the decision log.
    """
    state, work = opened(packed), opened(desk)
    policy, fleet = state.policy, state.fleet
    locks.acquire(state.locks)
    state.latest[0] = max(state.latest[0], now)
    expire(fleet, state.log, policy.hold, now)
    locks.release(state.locks)
    for i in range(slots.shape[0]):
        decision = locks.add(state.log.counters, NEXT_ID, 1)
        if not given:
            retrieve(state.postings, request.keys, i, bars, state.seed, decision, work.retrieval, slots[i])
        demand = request.values[i, policy.demand] if policy.demand >= 0 else 0.0
        if not demand > 0.0:
            demand = 0.0
        blank(out, i)
        out.id[i] = decision
        n = admit(fleet, state.postings, slots[i], bars, i, demand, now, work, out.dropped[i])
        if n > 0:
            score(packed, request, i, n, now, desk)
            p = profile(policy, request, i)
            utilities(policy, fleet, p, n, work)
            look_up(state, request, i, p, n, now, work)
        locks.acquire(state.locks)
        choose(state, request, i, decision, n, demand, now, work, out)
        locks.release(state.locks)


@kernel
def take_request(packed: Packed[State], client: int, desk: Packed[Workspace]) -> None:
    """Write the request of a workspace: what its question carries, the rest from the client in that slot.

    With a slot below 0 the request stays as it is.
    """
    clients, work = opened(packed).clients, opened(desk)
    question, request = work.question, work.request
    if client < 0:
        return
    for c in range(question.values.size):
        request.values[0, c] = question.values[c] if question.carried[c] else clients.values[client, c]
    for k in range(question.keys.size):
        carried = question.carried[question.values.size + k]
        request.keys[0, k] = question.keys[k] if carried else clients.keys[client, k]


@kernel
def decide_one(packed: Packed[State], client: int, bars: np.ndarray, now: float, desk: Packed[Workspace]) -> None:
    """Decide the one request in a workspace, among candidates from the index, into the workspace.

    Few arguments where `decide` unpacks twenty arrays, which took 1.4 us; see there, and `take_request`.
    """
    work, given = opened(desk), False
    take_request(packed, client, desk)
    decide(packed, work.request, bars, work.found, given, now, desk, work.out)


@inlined
def blank(out: DecisionArrays, i: int) -> None:
    """Make decision ``i`` an empty slate, certain, with nothing dropped."""
    out.propensity[i] = 1.0
    for d in range(out.dropped.shape[1]):
        out.dropped[i, d] = 0
    for s in range(out.position.shape[1]):
        out.position[i, s] = -1
        out.utility[i, s] = np.nan
        for h in range(out.values.shape[2]):
            out.values[i, s, h] = np.nan


@kernel
def score_all(
    packed: Packed[State], request: Entity, slots: np.ndarray, now: float, desk: Packed[Workspace], out: np.ndarray
) -> None:
    """Write calibrated head values (n, n_candidates, n_heads) of all candidates; padding stays as it is."""
    work = opened(desk)
    for i in range(slots.shape[0]):
        n = 0
        for c in range(slots.shape[1]):
            if slots[i, c] >= 0:
                work.position[n] = c
                work.slot[n] = slots[i, c]
                n += 1
        score(packed, request, i, n, now, desk)
        for c in range(n):
            copy_row(out[i], work.position[c], work.values, c)


@kernel
def refresh_returned(packed: Packed[State], node: Entity, j: int, desk: Packed[Workspace]) -> bool:
    """Refresh the row of node ``j`` of the log, which left since, if it came back; False where it is unknown to where.

    When it came back its row was made anew, and whatever entry the row read was marked with its slot.
    """
    state = opened(packed)
    for k in state.program.node_keys:
        entry = find(state.history, history_key(state.program, k, node, j, node, j))
        slot = state.history.owners[entry] - 1 if entry >= 0 else -1
        if slot < 0:
            return False
        if state.fleet.columns.keys[slot, 0] == node.keys[j, 0]:
            refresh_node(packed, slot, desk)
    return True


@inlined
def ask_for_outcomes(state: State, request: Entity, node: Entity, row: np.ndarray, place: np.ndarray, i: int) -> None:
    """Ask for what `observe` will read and change for outcomes soon after number ``i``."""
    fleet, log = state.fleet, state.log
    if i + 2 * AHEAD < row.size:
        r, s = row[i + 2 * AHEAD], place[i + 2 * AHEAD]
        ask_for_buckets(state.program, request, r, node, r * log.slot.shape[1] + s, state.history)
        prefetch(fleet.columns.values, log.slot[r, s])
        prefetch(fleet.expires, log.slot[r, s])
        prefetch(fleet.generation, log.slot[r, s])
    if i + AHEAD < row.size:
        r, s = row[i + AHEAD], place[i + AHEAD]
        ask_for_entries(state.program, request, r, node, r * log.slot.shape[1] + s, state.history)
        prefetch(fleet.columns.keys, log.slot[r, s])
        prefetch(fleet.rows, log.slot[r, s])


@kernel
def observe(
    packed: Packed[State],
    row: np.ndarray,
    place: np.ndarray,
    values: np.ndarray,
    now: np.ndarray,
    desk: Packed[Workspace],
) -> int:
    """Fold outcomes into history, give back their uplink and refresh their nodes, and those that history let go of.

    Returns how many are of nodes that left and may have come back to a slot that nothing here tells of.

    Parameters
    ----------
    row, place
        (n,) rows of the decision log and places in their slates, checked to be open.
    values
        (n, n_values) float32 tracked values.
    now
        (n,) float64 arrivals in seconds.
    """
    state, work = opened(packed), opened(desk)
    fleet, log = state.fleet, state.log
    request = Entity(fleet.columns.values, log.request_keys)
    node = Entity(fleet.columns.values, log.node_keys)
    x, n_lost = work.x_outcome, 0
    for i in range(row.size):
        ask_for_outcomes(state, request, node, row, place, i)
        state.latest[0] = max(state.latest[0], now[i])
        r, s = row[i], place[i]
        at = r * log.slot.shape[1] + s
        for v in range(x.size):
            x[v] = values[i, v]
        learn(state.program, request, r, node, at, state.history, x, now[i])
        if log.held[r, s] > 0.0:
            give_back(fleet, log, r, s)
        log.state[r, s] = ANSWERED
        log.counters[N_OUTCOMES] += 1
        slot = log.slot[r, s]
        if fleet.generation[slot] == log.generation[r, s]:
            refresh_node(packed, slot, desk)
        elif not refresh_returned(packed, node, at, desk):
            n_lost += 1
        # What history let go of for this outcome, other nodes' rows may still tell of.
        for other in range(state.history.stale[0]):
            refresh_node(packed, state.history.stale[1 + other], desk)
        state.history.stale[0] = 0
    return n_lost


@inlined
def awaited(log: DecisionLog, max_nodes: int, decision: int, node: int) -> int:
    """Return the place of a decision's node of which an outcome is awaited; -1 where none is, or it is not clear which.

    Without a node, `MISSING_KEY`, it is the only one of the slate.
    """
    row, places, named = decision % log.id.size, log.slot.shape[1], node != MISSING_KEY
    if log.id[row] != decision:
        return -1
    found = -1
    for s in range(places if named else max_nodes):
        if log.state[row, s] != 0 and (not named or log.node_keys[row * places + s, 0] == node):
            if found >= 0:
                return -1
            found = s
    return -1 if found >= 0 and log.state[row, found] == ANSWERED else found


@brief
def observe_one(packed: Packed[State], decision: int, now: float, desk: Packed[Workspace]) -> int:
    """Do what `observe` does with the outcome in a workspace; -1, and nothing changed, where none is `awaited`."""
    state, work = opened(packed), opened(desk)
    report = work.report
    place = awaited(state.log, work.slate.size, decision, report.node[0])
    if place < 0:
        return -1
    track(state.tracked.columns, state.tracked.log1p, report.outcomes, report.values)
    report.row[0], report.place[0], report.time[0] = decision % state.log.id.size, place, now
    return observe(packed, report.row, report.place, report.values, report.time, desk)
