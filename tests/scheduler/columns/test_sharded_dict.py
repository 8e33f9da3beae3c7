"""A dict spread over many does what one does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.columns.sharded_dict import SHARDS, ShardedDict

KEYS = st.integers(-5, 5) | st.sampled_from(["a", "1", SHARDS, -SHARDS, 2**63])
STEPS = st.lists(st.tuples(st.sampled_from(["set", "delete"]), KEYS, st.integers()), max_size=30)


@pytest.mark.slow
@given(STEPS, st.lists(KEYS))
def test_it_holds_what_a_dict_would(steps, keys):
    sharded, plain = ShardedDict(), {}
    for what, key, value in steps:
        if what == "set":
            sharded[key] = plain[key] = value
        else:
            sharded.discard(key)
            plain.pop(key, None)
    assert [key in sharded for key in keys] == [key in plain for key in keys]
    assert [sharded.get(key) for key in keys] == [plain.get(key) for key in keys]
    assert sharded.take_or(keys, -1) == [plain.get(key, -1) for key in keys]
    assert sharded.take(plain) == list(plain.values())


def test_many_keys_of_which_one_is_not_held_are_refused():
    sharded = ShardedDict()
    sharded["a"] = 1
    with pytest.raises(KeyError):
        sharded.take(["a", "b"])


def test_what_cannot_be_hashed_is_no_key():
    with pytest.raises(TypeError):
        _ = [1] in ShardedDict()
