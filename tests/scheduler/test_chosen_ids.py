"""Clients choose their ids: none can be computed that stands for another, or that crowds a table."""

import hashlib

import numpy as np
import pytest

from scheduler import Scheduler
from scheduler.columns.ids import id_key, id_keys
from scheduler.fleet.arrays import FIRST_PLACES, PLACES, SlotTable
from scheduler.fleet.kernels.slot_table import enter
from scheduler.history.arrays import WAYS
from scheduler.history.kernels.hash_table import first_of_bucket
from scheduler.runtime.hashing import secret_multiplier
from scheduler.runtime.jit import kernel
from tests.schedulers import OK, new

WORD = 2**64
N = 100_000


def text_key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def unmixed(z: int) -> int:
    """The integer whose splitmix64 is a word: what used to be the key of integers can be computed backwards."""
    z ^= z >> 31 ^ z >> 62
    z = z * pow(0x94D049BB133111EB, -1, WORD) % WORD
    z ^= z >> 27 ^ z >> 54
    z = z * pow(0xBF58476D1CE4E5B9, -1, WORD) % WORD
    z ^= z >> 30 ^ z >> 60
    z = (z - 0x9E3779B97F4A7C15) % WORD
    return z if z < WORD // 2 else z - WORD


def mixed(n: int) -> int:
    z = (n + 0x9E3779B97F4A7C15) % WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
    return z ^ z >> 31


FORGED = unmixed(text_key("box"))
"""It excluded, blocked and taught "box" once."""


def test_the_forged_integer_is_right():
    assert mixed(FORGED) == text_key("box") == id_key("box")


def test_no_integer_has_the_key_of_a_text_that_it_was_computed_from():
    texts = [f"box-{i}" for i in range(1_000)]
    forged = [unmixed(text_key(text)) for text in texts]
    assert not set(id_keys(forged).tolist()) & set(id_keys(texts).tolist())


def test_a_forged_integer_excludes_nobody(model):
    sched = new(model)
    assert sched.decide({"client_id": 17}, ["box"], now=0.0, exclude=[FORGED]).nodes == ("box",)
    assert sched.decide({"client_id": 17}, ["box"], now=0.0, exclude=["box"]).nodes == ()


def test_an_id_excludes_only_the_node_that_has_it_even_if_two_had_one_key(model, monkeypatch):
    """Where the fleet holds an id it is resolved by the id; what it does not hold excludes nobody."""
    sched = new(model)
    monkeypatch.setattr("scheduler.columns.ids.id_key", lambda _: text_key("box"))
    assert sched.decide({"client_id": 17}, ["box"], now=0.0, exclude=["stranger"]).nodes == ("box",)
    assert sched.decide({"client_id": 17}, ["box"], now=0.0, exclude=["box"]).nodes == ()


def test_a_forged_category_blocks_nobody(model):
    sched = new(model)
    sched.fleet.upsert(["other"], {"isp": ["box"]})
    assert sched.decide({"client_id": 17}, ["other"], now=0.0, block={"isp": [FORGED]}).nodes == ("other",)
    assert sched.decide({"client_id": 17}, ["other"], now=0.0, block={"isp": ["box"]}).nodes == ()


def rows(sched, client, node):
    return sched.features({"client_id": [client]}, [[node]], now=3.0)


def test_a_forged_client_and_a_forged_node_share_no_history(model):
    taught, fresh = new(model), new(model)
    for sched in (taught, fresh):
        sched.fleet.upsert([FORGED], {"isp": [7]})
    taught.learn({"client_id": FORGED}, FORGED, OK, now=1.0)
    taught.learn_batch({"client_id": [FORGED] * 9}, [FORGED] * 9, {"ok": [False] * 9}, now=1.0)
    np.testing.assert_array_equal(rows(taught, "box", "box"), rows(fresh, "box", "box"))
    assert not np.array_equal(rows(taught, 17, FORGED), rows(fresh, 17, FORGED), equal_nan=True)


@kernel
def buckets(placement, keys, out):
    for i in range(keys.size):
        out[i] = first_of_bucket(placement, keys[i])


def buckets_of(placement, keys):
    out = np.empty(len(keys), np.int64)
    buckets(placement, keys, out)
    return out // WAYS


@pytest.mark.slow
def test_ids_chosen_to_crowd_a_bucket_of_history_under_one_secret_spread_under_another(model):
    known, secret = (Scheduler(model, secret=s, history_capacity=20_000) for s in (1, 2))
    keys = id_keys(np.arange(4_000_000))
    found = buckets_of(known.history.placement, keys)
    n_buckets = known.history.keys.size // WAYS
    crowding = keys[found < n_buckets // 32][:N]
    assert len(crowding) == N
    fullest = {name: np.bincount(buckets_of(s.history.placement, crowding), minlength=n_buckets).max()
               for name, s in (("known", known), ("secret", secret))}  # fmt: skip
    assert fullest["known"] > N // (n_buckets // 32)
    assert fullest["secret"] < 2 * N / n_buckets + 40


def chains(secret, keys):
    """The longest chain of the table of slots once all keys are entered."""
    multiplier = secret_multiplier(secret).view(np.int64)
    marks = np.array([FIRST_PLACES, FIRST_PLACES - 1, multiplier], np.int64)
    table = SlotTable(np.full(FIRST_PLACES + len(keys), -1, np.int32), np.full(len(keys), -1, np.int32), marks)
    enter(table, keys[:, None].copy(), np.arange(len(keys), dtype=np.int32))
    assert table.marks[PLACES] == FIRST_PLACES + len(keys)
    return max(length(table, first) for first in table.first.tolist())


def length(table, slot):
    n = 0
    while slot >= 0:
        n, slot = n + 1, int(table.after[slot])
    return n


def test_nodes_chosen_to_crowd_a_place_under_one_secret_spread_under_another():
    """The keys are such as a place of the known table shares: the product's bits that say where are all zero."""
    known = int(secret_multiplier(1))
    inverse, n = pow(known, -1, WORD), 2_000
    low = np.random.default_rng(0).integers(1, 2**32, n).tolist()
    keys = np.array([word * inverse % WORD for word in low], np.uint64)
    assert chains(1, keys) == n
    assert chains(2, keys) <= 12


def test_the_secret_is_drawn_saved_and_restored(model, tmp_path):
    one, other = Scheduler(model), Scheduler(model)
    assert one.state.settings["secret"] != other.state.settings["secret"]
    one.save(tmp_path)
    back = Scheduler.restore(tmp_path, model)
    assert back.state.settings["secret"] == one.state.settings["secret"]
    np.testing.assert_array_equal(back.history.placement, one.history.placement)
    assert back.fleet.arrays.slot_table.marks[2] == one.fleet.arrays.slot_table.marks[2]


@pytest.mark.parametrize("secret", [-1, 2**63, 1.5, "text", True])
def test_other_things_are_no_secrets(model, secret):
    with pytest.raises(Exception, match="secret: expected an integer"):
        Scheduler(model, secret=secret)
