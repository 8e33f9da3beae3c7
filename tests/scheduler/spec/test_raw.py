"""The section ``[raw]``, and slices that follow from times."""

import pytest

from scheduler.errors import SpecError
from scheduler.spec import RawColumn, parse_spec
from tests.raw_specs import LATENCY_OF_NODES

SPEC = (
    """
name = "raw"
[telemetry]
client = "c"
node = "n"
TIME
slice = SLICE
[raw]
RAW
[outcomes]
ms = {}
[cost]
success = "ms"
failure = 1
"""
    + LATENCY_OF_NODES
)


def spec(raw="", slices="{ column = 's', seconds = 60 }", time="time = 't'"):
    return parse_spec(SPEC.replace("RAW", raw).replace("SLICE", slices).replace("TIME", time))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("x = {}", r"raw\.x: expected either a column or a value"),
        ("x = { column = 'a', value = 1 }", r"raw\.x: expected either a column or a value"),
        ("x = { column = 'a', scale = 2 }", r"raw\.x\.scale: expected no such key unless type is number, found 2"),
        (
            "x = { column = 'a', type = 'text', good = [1] }",
            r"raw\.x\.good: expected no such key unless type is boolean",
        ),
        ("x = { column = 'a', type = 'time', min = 1 }", r"raw\.x\.min: .* unless type is number or boolean"),
        ("x = { column = 'a', type = 'boolean', good = [1], min = 1 }", r"raw\.x\.good: expected either good, or min"),
        ("x = { column = 'a', type = 'number', scale = 0 }", r"raw\.x\.scale: expected a positive number, found 0"),
        ("x = { column = 'a', type = 'number', min = 2, max = 1 }", r"raw\.x\.min: expected at most the max, 1"),
        ("x = { column = 'a', type = 'float' }", "Invalid enum value 'float'"),
    ],
)
def test_what_contradicts_itself_is_named(raw, message):
    with pytest.raises(SpecError, match=message):
        spec(raw)


def test_slices_follow_from_times_only_where_there_are_times():
    assert spec(slices="{ seconds = 60, origin = 7 }").telemetry.slice.origin == 7.0
    with pytest.raises(SpecError, match=r"telemetry\.slice\.column: expected a column, because there is no time"):
        spec(slices="{ seconds = 60 }", time="")
    with pytest.raises(SpecError, match=r"telemetry\.slice\.origin: expected none, because a column numbers"):
        spec(slices="{ column = 's', seconds = 60, origin = 7 }")


def test_how_files_are_read_is_no_part_of_the_fingerprint_and_where_slices_begin_is():
    plain = spec()
    assert spec("x = { column = 'a' }").fingerprint() == plain.fingerprint()
    assert spec("x = { column = 'a' }").raw == {"x": RawColumn(column="a")}
    by_time = spec(slices="{ seconds = 60 }")
    assert (
        len({plain.fingerprint(), by_time.fingerprint(), spec(slices="{ seconds = 60, origin = 7 }").fingerprint()})
        == 3
    )
