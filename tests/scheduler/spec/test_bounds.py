"""A spec cannot ask for more than a scheduler has room for, whatever it says."""

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import SpecError, load_spec
from scheduler.forest.trees import MAX_TREES
from scheduler.history.arrays import STATISTICS as LAID_OUT
from scheduler.spec import parse_spec, seconds, spec_from_json
from scheduler.spec.bounds import MOST, MOST_BYTES, STATISTICS
from scheduler.spec.check_training import MOST_ROUNDS
from tests.models import EXTENDED, SPEC


def edited(**parts: object) -> bytes:
    """Return the small spec as JSON with parts replaced; ``a__b`` is the key ``b`` of the table ``a``."""
    raw = msgspec.json.decode(parse_spec(SPEC).to_json())
    for path, value in parts.items():
        *tables, key = path.split("__")
        table = raw
        for name in tables:
            table = table[name]
        table[key] = value
    return msgspec.json.encode(raw)


def numbered(n: int, value: object) -> dict[str, object]:
    return {f"x{i}": value for i in range(n)}


COLUMN = {"type": "number", "source": "clients"}
FAR_TOO_MUCH = {
    "columns of requests": ({"request": numbered(1_025, COLUMN)}, "request: expected at most 1,024, found 1025"),
    "columns of nodes": ({"node": numbered(1_025, COLUMN)}, "node: expected at most 1,024, found 1025"),
    "a vector": (
        {"request__taste": {"type": "vector", "size": 10**9, "source": "clients"}},
        "request: numbers of all columns: expected at most 16,384, found 1000000005",
    ),
    "many vectors": (
        {"node": numbered(5, {"type": "vector", "size": 4_096, "source": "nodes"})},
        "node: numbers of all columns: expected at most 16,384, found 20480",
    ),
    "features": ({"features": numbered(1_025, {"op": "clock", "period": "1h"})}, "features: expected at most 1,024"),
    "heads": ({"heads": numbered(17, {"target": "speed", "link": "identity"})}, "heads: expected at most 16, found 17"),
    "outcomes": ({"outcomes": numbered(257, {})}, "outcomes: expected at most 256"),
    "history keys": ({"history__keys": numbered(65, ["node"])}, "history.keys: expected at most 64"),
    "parts of a history key": ({"history__keys__pair": ["node"] * 9}, "history.keys.pair: parts: expected at most 8"),
    "values": ({"history__values": [f"x{i}" for i in range(65)]}, "history.values: expected at most 64"),
    "half-lives": (
        {"history__half_lives": [f"{i + 1}m" for i in range(17)]},
        "history.half_lives: expected at most 16",
    ),
    "values by half-lives": (
        {"history__values": [f"x{i}" for i in range(64)], "history__half_lives": [f"{i + 1}m" for i in range(16)]},
        "history: numbers of an entry, by values and half_lives: expected at most 1,024, found 3136",
    ),
    "tiers": ({"candidates__tiers": [{"name": "any"}] * 65}, "candidates.tiers: expected at most 64, found 65"),
    "profiles": ({"utility__profiles": [{"when": {"kind": "x"}}] * 257}, "utility.profiles: expected at most 256"),
    "candidates by features": (
        {"candidates__limit": 65_536, "features": numbered(257, {"op": "clock", "period": "1h"})},
        "candidates.limit times the number of features: expected at most 16,777,216, found 16842752",
    ),
    "candidates": ({"candidates__limit": 65_537}, "candidates.limit: expected a number from 1 to 65536"),
    "nodes of a slate": ({"policy": {"max_nodes": 17}}, "policy.max_nodes: expected a number from 1 to 16"),
    "alternatives": ({"policy": {"alternatives": 65}}, "policy.alternatives: expected a number from 0 to 64"),
    "rounds": ({"training": {"rounds": 2**15 + 1}}, "training.rounds: expected a number from 1 to 32768"),
    "a rank": (
        {"latent_factors": {"a": {"value": "log1p(rtt_ms)", "rank": 65, "client": "client", "node": "node"}}},
        "latent_factors.a.rank: expected a number from 0 to 64",
    ),
    "capacities together": (
        {
            "latent_factors": {
                name: {"value": "log1p(rtt_ms)", "capacity": 2**31, "client": "client", "node": "node"} for name in "ab"
            }
        },
        "latent_factors: capacity of all: expected a number from 0 to 2.14748e+09",
    ),
}


@pytest.mark.parametrize(("parts", "message"), FAR_TOO_MUCH.values(), ids=FAR_TOO_MUCH)
def test_it_refuses_too_much_of_a_thing_by_name(parts, message):
    with pytest.raises(SpecError, match=f"^{re.escape(message)}"):
        spec_from_json(edited(**parts))


@pytest.mark.parametrize("name", MOST)
def test_shipped_kinds_of_parts_are_counted_where_the_spec_has_them(name):
    part: object = parse_spec(EXTENDED)
    for key in name.split("."):
        part = getattr(part, key)
    assert len(part) <= MOST[name] / 2


def test_half_a_megabyte_of_a_spec_is_read_and_more_than_one_is_not(tmp_path):
    fits = f'about = "{"x" * (MOST_BYTES // 2)}"\n{SPEC}'
    assert parse_spec(fits).name == "small"
    (tmp_path / "large.toml").write_text(fits + "#" * MOST_BYTES)
    with pytest.raises(SpecError, match=r"large\.toml: spec: expected at most 1,048,576 bytes, found more"):
        load_spec(tmp_path / "large.toml")
    with pytest.raises(SpecError, match="expected at most 1,048,576 bytes"):
        spec_from_json(b" " * (MOST_BYTES + 1))


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (parse_spec, "a = " + "[" * 50_000),
        (parse_spec, "a = " + "{a=" * 50_000),
        (parse_spec, "a = " + "1" * 5_000),
        (parse_spec, SPEC.replace("limit = 24", f"limit = 0x{'f' * 9_000}")),
        (parse_spec, SPEC.replace("size = 3", f"size = 0x{'f' * 9_000}")),
        (parse_spec, SPEC.replace('"10m"', f'"{"9" * 9_000}m"')),
        (spec_from_json, b"[" * 50_000),
        (spec_from_json, b'{"a":' * 50_000),
        (spec_from_json, b"1" * 9_000),
        (spec_from_json, b"[1e999]"),
    ],
)
def test_depth_and_numbers_without_end_are_named(read, content):
    with pytest.raises(SpecError) as caught:
        read(content)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("text", ["0.0001s", "1000000001s", "11575d", "1" + "0" * 400 + "s", "0." + "0" * 400 + "1s"])
def test_durations_beyond_milliseconds_and_decades_are_refused(text):
    with pytest.raises(SpecError, match=r"expected 0\.001 to 1e\+09 seconds|expected a positive number"):
        seconds(text)


def test_training_makes_no_more_trees_than_an_artifact_may_have():
    assert MOST_ROUNDS == MAX_TREES


def test_an_entry_of_history_is_counted_as_it_is_laid_out():
    assert STATISTICS == LAID_OUT


PLACES = [
    "request__taste__size",
    "node__taste__size",
    "candidates__limit",
    "candidates__tiers",
    "history__capacity",
    "history__values",
    "history__half_lives",
    "history__keys",
    "features",
    "heads",
    "outcomes",
    "policy__max_nodes",
    "policy__alternatives",
    "policy__epsilon",
    "training__rounds",
    "training__rows",
    "telemetry__slice__seconds",
    "utility__heads__latency",
]
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 1, 2**31, 2**32, 2**62, -1]),
    st.floats(allow_nan=False, allow_infinity=False),
)
EXTREME = st.one_of(
    NUMBERS,
    st.text(max_size=3),
    st.none(),
    st.booleans(),
    st.lists(NUMBERS, max_size=3),
    st.integers(0, 3_000).map(lambda n: [f"x{i}" for i in range(n)]),
    st.integers(0, 3_000).map(lambda n: numbered(n, {"op": "clock", "period": "1h"})),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=2_000)
@given(st.dictionaries(st.sampled_from(PLACES), EXTREME, min_size=1, max_size=4))
def test_an_extreme_spec_is_read_or_refused_by_name_at_once(parts):
    try:
        spec_from_json(edited(**parts))
    except SpecError as error:
        assert len(str(error)) < 5_000  # noqa: PT017 - most specs are refused, some are right
