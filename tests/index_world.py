"""An index beside the same nodes in a dict, and both compared: what retrieval finds, and what the arrays hold."""

import numpy as np

from scheduler.columns.ids import id_key, id_keys
from scheduler.columns.schema import Schema
from scheduler.retrieval.arrays import (
    ARENA_END,
    FIRST_PLACES,
    FIRST_ROOM,
    FREE_LIST,
    LIST_CLASS,
    LIST_KEY,
    LIST_NEXT,
    LIST_SIZE,
    LIST_START,
    LISTS_END,
    PLACE_MULTIPLIER,
    PLACES,
)
from scheduler.retrieval.index import Index
from scheduler.spec import Candidates, Column, Tier

CATEGORIES = {"isp": Column(type="category"), "region": Column(type="category")}
SCHEMA = Schema(CATEGORIES)
AT = {"isp": 0, "region": 1, "content": 2, "game": 3}
SETS = ("content", "game")
ASKING = Schema({name: Column(type="category") for name in AT})
HOLDING = Schema(CATEGORIES | {name: Column(type="categories") for name in SETS})
CLOSE = Tier(name="both", match={"isp": "isp", "region": "region"}, limit=4)
CARRIER = Tier(name="carrier", match={"isp": "isp"}, limit=6)
ANY = Tier(name="any", limit=8)


class World:
    """An index, the keys it was filled from, and the same nodes and their sets in dicts."""

    def __init__(self, *tiers, limit=12):
        self.tiers, self.limit = tiers, limit
        self.index = Index(Candidates(tiers=tiers, limit=limit), ASKING, HOLDING)
        self.keys = np.zeros((1, 3), np.uint64)
        self.nodes = {}
        self.held = {}

    def put(self, nodes):
        """Enter nodes, a dict from slot to place, in one batch."""
        if max(nodes, default=0) >= len(self.keys):
            more = np.zeros((max(nodes) + 1 - len(self.keys), 3), np.uint64)
            self.keys = np.concatenate([self.keys, more])
        for slot, place in nodes.items():
            self.keys[slot] = keys(place)
            self.held.setdefault(slot, tuple(set() for _ in SETS))
        self.nodes.update(nodes)
        self.index.put(np.array(list(nodes), np.int32), self.keys)
        return self

    def drop(self, slots):
        for slot in slots:
            self.nodes.pop(slot, None)
            self.held.pop(slot, None)
        self.index.drop(np.array(list(slots), np.int32))

    def add(self, pairs, column=0):
        """Let nodes hold more, a list of slots and categories; slots that hold no node are left out."""
        self._change(self.index.add, set.add, pairs, column)
        return self

    def discard(self, pairs, column=0):
        self._change(self.index.discard, set.discard, pairs, column)

    def replace(self, sets, column=0):
        """Give nodes other sets, a dict from slot to categories."""
        sets = {slot: held for slot, held in sets.items() if slot in self.nodes}
        for slot, held in sets.items():
            self.held[slot][column].clear()
            self.held[slot][column].update(held)
        encoded = HOLDING.encode_sets(SETS[column], list(sets.values()), len(sets))
        self.index.replace(column, np.array(list(sets), np.int32), encoded)
        return self

    def _change(self, call, twin, pairs, column):
        pairs = [(slot, value) for slot, value in pairs if slot in self.nodes]
        for slot, value in pairs:
            twin(self.held[slot][column], value)
        call(column, np.array([slot for slot, _ in pairs], np.int32), id_keys([value for _, value in pairs]))

    def ask(self, place, n=1, seed=0, first=0):
        """Retrieve for ``n`` requests of one place and return the slots found for each, as arrays."""
        asked = keys((*place, *[None] * (len(AT) - len(place))))
        rows = self.index.retrieve(np.tile(asked, (n, 1)), seed, first)
        assert rows.shape == (n, self.limit)
        assert rows.dtype == np.int32
        lengths = (rows >= 0).sum(axis=1)
        assert all((row[length:] == -1).all() for row, length in zip(rows, lengths, strict=True))
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]

    def one(self, place, **options):
        return self.ask(place, **options)[0].tolist()


def keys(place, id_=1):
    return np.array([id_key(id_), *map(id_key, place)], np.uint64)


def has(world, slot, column, value):
    """Whether a node has a category: as its only one, or in its set."""
    if column in SETS:
        return repr(value) in set(map(repr, world.held[slot][SETS.index(column)]))
    return repr(value) == repr(world.nodes[slot][AT[column]])


def eligible(tier, world, asked):
    """By a scan: the nodes that have the request's categories, none of them null."""
    wanted = {right: asked[AT[left]] if AT[left] < len(asked) else None for left, right in tier.match.items()}
    if None in wanted.values():
        return set()
    return {slot for slot in world.nodes if all(has(world, slot, *pair) for pair in wanted.items())}


def check(world, asked, found):
    """Tier by tier: as many as there are and fit, all of them eligible, none twice."""
    left = list(found)
    taken = set()
    for tier in world.tiers:
        fresh = eligible(tier, world, asked) - taken
        n = min(world.limit if tier.limit is None else tier.limit, world.limit - len(taken), len(fresh))
        part, left = left[:n], left[n:]
        assert set(part) <= fresh
        assert len(set(part)) == n
        taken |= set(part)
    assert left == []


def groups(world):
    """Return the slots that each tier keeps together, by a scan."""
    found = {}
    for t, tier in enumerate(world.tiers):
        for slot, place in world.nodes.items():
            matched = [place[AT[c]] for c in tier.match.values() if c not in SETS]
            sets = [world.held[slot][SETS.index(c)] for c in tier.match.values() if c in SETS]
            if None in matched:
                continue
            for value in sets[0] if sets else [()]:
                found.setdefault((t, *map(repr, matched), repr(value)), []).append(slot)
    return sorted(map(sorted, found.values()))


def chain(first, after):
    """Return the links of a chain that -1 ends."""
    links = []
    while first >= 0:
        links.append(first)
        first = int(after(first))
    return links


def listed(arrays):
    """All lists of the table; each stands at the place that the product of its key and a secret names."""
    n, multiplier, found = int(arrays.marks[PLACES]), int(arrays.marks[PLACE_MULTIPLIER]), []
    high = 1 << (n - 1).bit_length()
    for place in range(n):
        posting = int(arrays.table[place])
        while posting >= 0:
            key = int(arrays.lists[posting, LIST_KEY])
            bits = (key * multiplier % 2**64) >> 32
            assert place == (bits % high if bits % high < n else bits % (high // 2))
            found.append(posting)
            posting = int(arrays.lists[posting, LIST_NEXT])
    return found


def set_blocks(world):
    """All sets' blocks, and the places at which sets say that nodes stand in each tier's lists, by slot and key."""
    arrays, blocks, places = world.index.arrays, [], []
    sets = arrays.sets
    for slot in range(len(sets.heads)):
        for s, (block, size, n) in enumerate(sets.heads[slot].tolist()):
            held = world.held[slot][s] if slot in world.held else ()
            assert n == len(held)
            assert (size < 0) == (n == 0)
            if n == 0:
                continue
            start, capacity, width = block * FIRST_ROOM, (FIRST_ROOM << size) // int(sets.width[s]), int(sets.width[s])
            assert 4 * n <= 3 * capacity
            assert size == sets.first_class[s] or 6 * n >= capacity
            blocks.append((start, FIRST_ROOM << size))
            found = arrays.words[start // 2 : start // 2 + capacity]
            assert sorted(found[found != 0].view(np.uint64).tolist()) == sorted(id_keys(list(held)).tolist())
            rows = arrays.arena[start + 2 * capacity : start + capacity * width].reshape(capacity, width - 2)
            places.extend(
                (slot, t, place)
                for key, row in zip(found.tolist(), rows.tolist(), strict=True)
                if key != 0
                for t, place in zip(sets.tiers[s].tolist(), row, strict=False)
                if place >= 0
            )
    return blocks, places


def check_arrays(world):
    """The lists hold each tier's groups and nothing else, and all that was ever taken is in use or free, once."""
    arrays = world.index.arrays
    in_use = listed(arrays)
    lists, (blocks, places) = {}, set_blocks(world)
    for posting in in_use:
        start, n, size = arrays.lists[posting, [LIST_START, LIST_SIZE, LIST_CLASS]].tolist()
        assert 0 < n <= FIRST_ROOM << size
        assert size == 0 or 4 * n > FIRST_ROOM << size
        blocks.append((start, FIRST_ROOM << size))
        lists[posting] = arrays.arena[start : start + n].tolist()
    assert sorted(map(sorted, lists.values())) == groups(world)
    assert len(set(arrays.lists[in_use, LIST_KEY].tolist())) == len(in_use)
    held = {(p, place): slot for slot, row in enumerate(arrays.held.tolist()) for p, place in row if p >= 0}
    stand = {(p, place): slot for p, slots in lists.items() for place, slot in enumerate(slots)}
    assert held.items() <= stand.items()
    assert sorted((slot, place) for slot, _, place in places) == sorted(
        (slot, place) for (p, place), slot in stand.items() if (p, place) not in held
    )
    for size, first in enumerate(arrays.free.tolist()):
        free = chain(first, lambda block: arrays.arena[block * FIRST_ROOM])
        blocks.extend((block * FIRST_ROOM, FIRST_ROOM << size) for block in free)
    blocks.sort()
    assert [start for start, _ in blocks] == [0, *np.cumsum([room for _, room in blocks])][: len(blocks)]
    assert sum(room for _, room in blocks) == arrays.marks[ARENA_END] <= len(arrays.arena)
    free = chain(int(arrays.marks[FREE_LIST]), lambda posting: arrays.lists[posting, LIST_START])
    assert sorted(free + in_use) == list(range(arrays.marks[LISTS_END]))
    assert arrays.marks[PLACES] == FIRST_PLACES + arrays.marks[LISTS_END] <= len(arrays.table)
