"""The time until which training and tuning have seen the data."""

import msgspec
import numpy as np
import pytest

from scheduler.spec import parse_spec
from tests import models
from training.features.split import seen_until, split_slices

SLICES = np.repeat(np.arange(20, dtype=np.int32), 3)
TIMES = 1_000.0 + 20.0 * np.arange(60.0)


@pytest.fixture(scope="module")
def spec():
    return parse_spec(models.SPEC)


def tuned_until(spec, number):
    return msgspec.structs.replace(spec, training=msgspec.structs.replace(spec.training, tuned_until=number))


def test_the_slices_that_only_judge_were_not_seen(spec):
    judge = split_slices(SLICES, spec).judge
    assert 0 < judge < 20
    assert seen_until(SLICES, TIMES, spec) == {"seen_until": TIMES[judge > SLICES].max()}


def test_slices_that_settings_were_tuned_on_were_seen_also_where_they_are_not_there(spec):
    assert seen_until(SLICES, TIMES, tuned_until(spec, 20)) == {"seen_until": TIMES.max()}
    assert seen_until(SLICES, TIMES, tuned_until(spec, 25)) == {"seen_until": TIMES.max() + 5 * 60.0}


def test_nothing_is_known_without_times(spec):
    timeless = msgspec.structs.replace(spec, telemetry=msgspec.structs.replace(spec.telemetry, time=None))
    assert seen_until(SLICES, TIMES, timeless) == {}
