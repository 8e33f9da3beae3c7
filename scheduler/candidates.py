"""Retrieval: which nodes may serve a request, from an index by tier, never by a scan of the fleet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.columns import Schema
from scheduler.kernels.history import mix
from scheduler.layout import MISSING_KEY
from scheduler.spec import Candidates

FIRST_POSTINGS = 16
"""Room of a new posting list; it doubles when used up."""


class Postings:
    """Slots under a key, in no order: added at the end, removed by moving the last one into the gap."""

    def __init__(self) -> None:
        self.slots = np.empty(FIRST_POSTINGS, np.int32)
        self.n = 0

    def add(self, slot: int) -> int:
        """Add a slot and return its place."""
        if self.n == len(self.slots):
            self.slots = np.append(self.slots, np.empty(self.n, np.int32))
        self.slots[self.n] = slot
        self.n += 1
        return self.n - 1

    def sample(self, limit: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """Return at most ``limit`` distinct slots, each with the same chance.

        Systematic sampling: every (n / limit)-th slot from a random start, so the draw costs what it returns
        and reads memory in order.
        """
        if self.n <= limit:
            return self.slots[: self.n]
        step = self.n / limit
        # The last place may round up to n.
        places = np.minimum((rng.random() + np.arange(limit)) * step, self.n - 1)
        return self.slots[places.astype(np.int64)]


class Index:
    """Posting lists of one fleet for each tier of a spec.

    Parameters
    ----------
    spec
        Tiers in order, and the bound on candidates.
    request, node
        Where the matched categories stand.
    """

    def __init__(self, spec: Candidates, request: Schema, node: Schema) -> None:
        self._spec = spec
        self._request = [[request.key_columns[c] for c in tier.match] for tier in spec.tiers]
        self._node = [[node.key_columns[c] for c in tier.match.values()] for tier in spec.tiers]
        self._lists: list[dict[int, Postings]] = [{} for _ in spec.tiers]
        self._places: list[dict[int, tuple[int, int]]] = [{} for _ in spec.tiers]

    def put(self, slot: int, keys: NDArray[np.uint64]) -> None:
        """Enter a node, or move it where its categories have changed."""
        for t, columns in enumerate(self._node):
            key = _tier_key(keys, columns)
            held = self._places[t].get(slot)
            if held is not None and held[0] == key:
                continue
            self._drop(t, slot)
            if key != MISSING_KEY:
                place = self._lists[t].setdefault(key, Postings()).add(slot)
                self._places[t][slot] = key, place

    def drop(self, slot: int) -> None:
        """Take a node out."""
        for t in range(len(self._lists)):
            self._drop(t, slot)

    def retrieve(self, keys: NDArray[np.uint64], rng: np.random.Generator) -> NDArray[np.int32]:
        """Return the slots of a request's candidates, tier by tier, none twice, at most the spec's limit.

        Parameters
        ----------
        keys
            (n_keys,) the request's keys.
        """
        found: dict[int, None] = {}
        for tier, columns, lists in zip(self._spec.tiers, self._request, self._lists, strict=True):
            postings = lists.get(_tier_key(keys, columns))
            room = self._spec.limit - len(found)
            if postings is not None and room > 0:
                # Slots of an earlier tier may come again: draw a few more so that they do not cost places.
                wanted = min(tier.limit, room)
                fresh = [s for s in postings.sample(wanted + len(found), rng).tolist() if s not in found]
                spare = len(fresh) - wanted
                for s in rng.choice(len(fresh), spare, replace=False).tolist() if spare > 0 else ():
                    fresh[s] = -1
                found.update(dict.fromkeys(s for s in fresh if s >= 0))
        return np.fromiter(found, np.int32, len(found))

    def _drop(self, t: int, slot: int) -> None:
        held = self._places[t].pop(slot, None)
        if held is None:
            return
        key, place = held
        postings = self._lists[t][key]
        postings.n -= 1
        last = int(postings.slots[postings.n])
        if last != slot:
            postings.slots[place] = last
            self._places[t][last] = key, place
        if postings.n == 0:
            del self._lists[t][key]


def _tier_key(keys: NDArray[np.uint64], columns: list[int]) -> int:
    """Return the key of a tier's matched categories; `MISSING_KEY` where one is null."""
    key = np.uint64(1)
    for column in columns:
        if keys[column] == MISSING_KEY:
            return MISSING_KEY
        key = np.uint64(mix(key, keys[column]))  # called from Python, it returns an int
    return int(key)
