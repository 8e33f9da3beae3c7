"""Where values and half-lives stand in a row of history."""

import msgspec
import pytest

from scheduler.history.arrays import LINE_FLOATS, STATISTICS, TIME_FLOATS
from scheduler.history.row_layout import (
    last_value_place,
    row_floats,
    slowest_half_life,
    slowest_weight_place,
    statistics_place,
)
from scheduler.history.store import new_history
from tests import models


def spec(*half_lives):
    one = models.spec()
    return msgspec.structs.replace(one, history=msgspec.structs.replace(one.history, half_lives=half_lives))


@pytest.mark.parametrize("half_lives", [("1h",), ("60s", "1h"), ("1h", "60s", "30m")])
def test_no_two_numbers_of_a_row_share_a_place_and_none_is_left_over(half_lives):
    one = spec(*half_lives)
    values = range(len(one.history.values))
    places = [*range(TIME_FLOATS), *map(last_value_place, values)]
    for value in values:
        for half_life in range(len(half_lives)):
            first = statistics_place(one, value, half_life)
            places += range(first, first + STATISTICS)
    assert sorted(places) == list(range(row_floats(one)))


def test_a_row_of_the_table_is_that_long_padded_to_whole_cache_lines():
    one = spec("60s", "1h")
    width = new_history(one).rows.shape[1]
    assert width % LINE_FLOATS == 0
    assert 0 <= width - row_floats(one) < LINE_FLOATS


def test_the_slowest_weight_is_that_of_the_longest_half_life_wherever_it_stands():
    for half_lives, slowest in ((("60s", "1h"), 1), (("1h", "60s"), 0), (("30m", "1d", "60s"), 1)):
        one = spec(*half_lives)
        assert slowest_half_life(one) == slowest
        assert slowest_weight_place(one, 2) == statistics_place(one, 2, slowest)
