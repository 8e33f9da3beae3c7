"""One outcome and many are read by the same rules: the same numbers, or the same error."""

import math
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler import InputError
from scheduler.history.outcome_codec import OutcomeBuffer, OutcomeCodec
from scheduler.spec import parse_spec
from tests import models
from tests.numpy_calls import numpy_calls

SLOW_FAILURES = models.SPEC.replace("failure = 1_000", 'failure = 1_000\nfailure_column = "speed"')
SPECS = [parse_spec(text) for text in (models.SPEC, SLOW_FAILURES, models.SPEC.replace('ok = "ok"\n', ""))]
ODD = st.sampled_from([None, True, np.True_, "3", math.nan, math.inf, 10**400, np.float64(2), np.int64(2), [1], {}, 1j])
NUMBERS = st.floats() | st.integers(-(2**70), 2**70) | st.floats(-200, 200) | ODD
OUTCOMES = st.fixed_dictionaries(
    {}, optional={"ok": st.booleans() | ODD, "rtt_ms": NUMBERS, "speed": NUMBERS, "bytes": NUMBERS}
)


def one(codec, outcome, buffer=None):
    """The outcomes that are written, or the error."""
    buffer = buffer or OutcomeBuffer(SPECS[0])
    try:
        codec.write(outcome, buffer)
    except InputError as error:
        return str(error)
    return buffer.arrays.outcomes[0].copy()


def many(codec, outcomes, n):
    try:
        return codec.rows(outcomes, n)
    except InputError as error:
        return str(error)


@given(st.sampled_from(SPECS), st.lists(OUTCOMES, min_size=1, max_size=4))
def test_an_outcome_is_read_alone_as_in_a_batch(spec, outcomes):
    codec, buffer = OutcomeCodec(spec), OutcomeBuffer(spec)
    for outcome in outcomes:  # one after another in the same buffer: nothing of one may stay for the next
        alone, batch = one(codec, outcome, buffer=buffer), many(codec, {k: [v] for k, v in outcome.items()}, 1)
        if isinstance(alone, str):
            assert batch == alone
        else:
            np.testing.assert_array_equal(batch, alone[None], strict=True)


@given(st.sampled_from(SPECS), st.lists(st.tuples(st.booleans() | ODD, NUMBERS), max_size=4))
@example(SPECS[0], [])
def test_the_first_wrong_value_of_a_batch_is_refused_as_alone(spec, values):
    codec, n = OutcomeCodec(spec), len(values)
    alone = [one(codec, {"ok": False, "rtt_ms": rtt}) for _, rtt in values]
    alone += [one(codec, {"ok": ok, "rtt_ms": 1.0}) for ok, _ in values]
    expected = next((found for found in alone if isinstance(found, str)), None)
    found = many(codec, {"ok": [ok for ok, _ in values], "rtt_ms": [rtt for _, rtt in values]}, n)
    if expected or isinstance(found, str):
        assert found == expected or (expected is None and "where ok is true, found none" in found)
    else:
        assert found.shape == (n, 4)


def test_a_single_value_holds_for_a_whole_batch():
    codec = OutcomeCodec(SPECS[0])
    rows = codec.rows({"ok": True, "rtt_ms": 3.0, "speed": [1.0, None]}, 2)
    np.testing.assert_array_equal(rows, [[3, 1, 0, 3], [3, math.nan, 0, 3]])
    with pytest.raises(InputError, match="outcome 'speed': expected 2 values, found 3"):
        codec.rows({"ok": True, "rtt_ms": 3.0, "speed": [1, 2, 3]}, 2)
    with pytest.raises(InputError, match="outcome ok: expected 2 values, found 1"):
        codec.rows({"ok": [True], "rtt_ms": 3.0}, 2)


@pytest.mark.parametrize("wrong", [[("ok", True)], None, 3, "ok"])
def test_outcomes_come_by_name(wrong):
    codec = OutcomeCodec(SPECS[0])
    assert one(codec, wrong) == many(codec, wrong, 1)
    assert one(codec, wrong).startswith("outcome: expected values by name, found")


def test_any_mapping_will_do():
    np.testing.assert_array_equal(
        one(OutcomeCodec(SPECS[0]), MappingProxyType({"ok": False})), [math.nan] * 2 + [1, 1000]
    )


def test_a_plain_outcome_is_written_without_an_array():
    codec, buffer = OutcomeCodec(SPECS[0]), OutcomeBuffer(SPECS[0])
    assert numpy_calls(lambda: codec.write({"ok": True, "rtt_ms": 30, "speed": 1.5}, buffer)) == []
