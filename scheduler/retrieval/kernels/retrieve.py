"""The index of nodes by tier: enter, move and remove nodes, and retrieve a request's candidates."""

from __future__ import annotations

import numpy as np

from scheduler.columns.arrays import MISSING_KEY
from scheduler.retrieval.arrays import LIST_SIZE, LIST_START, IndexArrays, NodeTimes, RetrievalWork
from scheduler.retrieval.kernels.blocklist import is_tier_blocked
from scheduler.retrieval.kernels.posting_lists import find_list
from scheduler.retrieval.kernels.tier_keys import tier_key
from scheduler.runtime.jit import inlined, kernel
from scheduler.runtime.prefetch import prefetch
from scheduler.runtime.random import uniform

AHEAD = 16
"""Nodes by which the rows of `put` and `drop` are asked for before they are read."""

FULL_SCAN_RATIO = 8
"""A list so many times as long as what was found and is wanted is still read as a whole to leave out the found: 2 ns a
node. With 4 the chances of 16 nodes out of 97 differed by 0.6%."""


@kernel
def sample(index: IndexArrays, posting: int, wanted: int, u: float, out: np.ndarray) -> int:
    """Write at most ``wanted`` slots of a list, each with the same chance, and return how many.

    Systematic sampling: of n slots every (n / wanted)-th from a random start, ``u`` in [0, 1). So the draw costs what
    it returns and reads memory in order.
    """
    n, start = index.lists[posting, LIST_SIZE], index.lists[posting, LIST_START]
    step = n / wanted if n > wanted else 1.0
    wanted = min(n, wanted)
    for c in range(wanted):
        # The last place may round up to n.
        out[c] = index.arena[start + min(int((u + c) * step), n - 1)]
    return wanted


@inlined
def find_seen(seen: np.ndarray, slot: int) -> int:
    """Return the place of a slot in the hash set, or the empty place where it would stand."""
    last = seen.size - 1
    at = int((np.uint64(slot) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & last
    while seen[at] >= 0 and seen[at] != slot:
        at = (at + 1) & last
    return at


@inlined
def see(seen: np.ndarray, found: np.ndarray, first: int, last: int) -> None:
    """Enter slots into the hash set, which is cleared for the first of a request."""
    if first == 0:
        for at in range(seen.size):
            seen[at] = -1
    for c in range(first, last):
        seen[find_seen(seen, found[c])] = found[c]


@kernel
def sample_fresh(index: IndexArrays, posting: int, wanted: int, u: float, work: RetrievalWork, out: np.ndarray) -> int:
    """Write at most ``wanted`` slots of a list that were not seen, each with the same chance, and return how many.

    Reads all of the list: for lists not much longer than what is wanted and seen.
    """
    start, n = index.lists[posting, LIST_START], 0
    for c in range(index.lists[posting, LIST_SIZE]):
        slot = index.arena[start + c]
        work.drawn[n] = slot
        n += work.seen[find_seen(work.seen, slot)] < 0
    step = n / wanted if n > wanted else 1.0
    wanted = min(n, wanted)
    for c in range(wanted):
        out[c] = work.drawn[min(int((u + c) * step), n - 1)]
    return wanted


@kernel
def replace_seen(
    index: IndexArrays, posting: int, seed: int, decision: int, draw: int, work: RetrievalWork, out: np.ndarray
) -> None:
    """Put others of the same list, drawn one by one, in the place of slots that were seen.

    Parameters
    ----------
    draw
        Number of the first draw.
    out
        (n,) int32 slots of the list, none twice; the list has at least n that were not seen.
    """
    n = 0
    for c in range(out.size):
        slot = out[c]
        out[n] = slot
        n += work.seen[find_seen(work.seen, slot)] < 0
    if n == out.size:
        return
    for c in range(n):
        work.seen[find_seen(work.seen, out[c])] = out[c]
    size, start = index.lists[posting, LIST_SIZE], index.lists[posting, LIST_START]
    while n < out.size:
        slot = index.arena[start + min(int(uniform(seed, decision, draw) * size), size - 1)]
        draw += 1
        at = find_seen(work.seen, slot)
        if work.seen[at] < 0:
            work.seen[at] = slot
            out[n] = slot
            n += 1


@inlined
def is_served_by(times: NodeTimes, slot: int) -> bool:
    """Whether a node lives and is not quarantined."""
    return times.now < times.alive_until[slot] and times.now >= times.quarantined_until[slot]


@kernel
def keep_living(times: NodeTimes, out: np.ndarray) -> int:
    """Move the slots of nodes that may serve to the front of (n,) slots and return how many they are."""
    n = 0
    for c in range(out.size):
        if c + AHEAD < out.size:
            prefetch(times.alive_until, out[c + AHEAD])
        slot = out[c]
        out[n] = slot
        n += is_served_by(times, slot)
    return n


@inlined
def coprime_step(n: int) -> int:
    """Return a step by which a walk round ``n`` places meets each once, neighbours far from each other."""
    step = max(int(0.618 * n), 1)
    while True:
        a, b = n, step
        while b > 0:
            a, b = b, a % b
        if a == 1:
            return step
        step += 1


@kernel
def add_living(
    index: IndexArrays, posting: int, u: float, times: NodeTimes, work: RetrievalWork, out: np.ndarray, n: int
) -> int:
    """Write nodes of a list that may serve and were not seen behind the first ``n`` of ``out`` until it is full.

    Walks round the list from a random place, ``u`` in [0, 1), and ends as soon as there are enough: of a list one in k
    of which lives it reads about k times as many as are wanted, and at most each once. Returns how many there are.
    """
    size, start = index.lists[posting, LIST_SIZE], index.lists[posting, LIST_START]
    at, step = min(int(u * size), size - 1), coprime_step(size)
    for _ in range(size):
        if n == out.size:
            break
        slot = index.arena[start + at]
        at = at + step if at + step < size else at + step - size
        place = find_seen(work.seen, slot)
        if work.seen[place] < 0 and is_served_by(times, slot):
            work.seen[place] = slot
            out[n] = slot
            n += 1
    return n


@kernel
def retrieve(
    index: IndexArrays,
    keys: np.ndarray,
    i: int,
    blocklist: np.ndarray,
    times: NodeTimes,
    seed: int,
    decision: int,
    work: RetrievalWork,
    out: np.ndarray,
) -> int:
    """Write the slots of a request's candidates, tier by tier, none twice, and return how many.

    Of a tier with more nodes than wanted a systematic sample is taken, each node with the same probability. Where an
    earlier tier may have given some of them already, a list of up to `FULL_SCAN_RATIO` times the nodes found and wanted
    is read as a whole. In a longer list, nodes that come again are replaced by others drawn one by one; their number
    depends on the start of the sample, so probabilities can differ by half a percent.

    A tier of a category that the request does not want is left out, so that its places go to the next ones.

    The index lists nodes as of a time a little before this call's. Where ``times`` says that some have fallen silent
    since, others of the same tier are put in their places.

    Parameters
    ----------
    keys
        (n, n_keys) uint64 keys of requests; row ``i`` is this one's.
    blocklist
        See `BLOCKED_COLUMN`.
    times
        How long nodes live.
    seed, decision
        Fix the sample. Tier t uses draws (t + 1) * 2**32 and up of the decision.
    work
        Scratch from `scheduler.retrieval.index.Index.new_work`.
    out
        (index.limit,) int32, -1 past the candidates.
    """
    n, known = 0, 0
    limit = min(index.limit, out.size)
    for t in range(index.limits.size):
        if n == limit:
            break
        key = tier_key(keys, i, index.request, t)
        if key == MISSING_KEY or is_tier_blocked(index, t, blocklist, i, keys):
            continue
        posting = find_list(index, key)
        if posting < 0:
            continue
        wanted = min(int(index.limits[t]), limit - n)
        draw = (t + 1) << 32
        u = uniform(seed, decision, draw)
        before = n
        if n == 0:
            n = sample(index, posting, wanted, u, out)
        else:
            see(work.seen, out, known, n)
            known = n
            if index.lists[posting, LIST_SIZE] <= FULL_SCAN_RATIO * (wanted + n):
                n += sample_fresh(index, posting, wanted, u, work, out[n:])
            else:
                sample(index, posting, wanted, u, out[n:])
                n += wanted
                replace_seen(index, posting, seed, decision, draw + 1, work, out[known:n])
        if times.matter:
            n = before + keep_living(times, out[before:n])
            if n - before < wanted:
                see(work.seen, out, known, n)
                known = n = add_living(index, posting, u, times, work, out[: before + wanted], n)
    for c in range(n, out.size):
        out[c] = -1
    return n


@kernel
def retrieve_batch(
    index: IndexArrays,
    keys: np.ndarray,
    blocklist: np.ndarray,
    times: NodeTimes,
    seed: int,
    first: int,
    work: RetrievalWork,
    out: np.ndarray,
) -> None:
    """Retrieve for requests that become the decisions ``first``, ``first`` + 1, ...; see `retrieve`.

    Parameters
    ----------
    keys
        (n, n_keys) uint64.
    blocklist
        See `BLOCKED_COLUMN`.
    times
        How long nodes live.
    out
        (n, index.limit) int32, -1 past a request's candidates.
    """
    for i in range(keys.shape[0]):
        retrieve(index, keys, i, blocklist, times, seed, first + i, work, out[i])
