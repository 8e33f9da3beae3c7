"""Times that are not in seconds are noticed by the length of slices, and single wrong ones are set aside."""

import re

import numpy as np
import polars as pl
import pytest

from scheduler.errors import DataError
from scheduler.spec import parse_spec
from tests.training.telemetry.test_many_files import CLIENTS, NODES, SPEC
from training.telemetry import check_telemetry, read_telemetry
from training.telemetry.units import date_text

SECONDS = 900
TEXT = SPEC.replace("seconds = 60", f"seconds = {SECONDS}")
IN_2024, IN_1965, IN_2500 = 1_704_067_200, -157_766_400, 16_725_225_600


def telemetry(n_slices=12, per=30, begin=IN_2024, numbers=None, lasts=SECONDS):
    """Rows spread evenly over slices that follow each other; ``numbers`` are those of the slices."""
    s = np.repeat(np.arange(n_slices), per)
    within = np.tile((np.arange(per) + 0.5) / per, n_slices)
    n = len(s)
    return pl.DataFrame(
        {
            "slice": s if numbers is None else np.asarray(numbers)[s],
            "ts": begin + (s + within) * lasts,
            "who": np.arange(n) % 3 + 1,
            "box": ["a", "b"] * (n // 2) + ["a"] * (n % 2),
            "ok": [True] * n,
            "ms": np.full(n, 20.0),
            "fail_ms": pl.Series([None] * n, dtype=pl.Float64),
            "kind": ["live"] * n,
            "rate": np.full(n, 100.0),
        }
    )


def write(folder, *parts):
    (folder / "telemetry").mkdir(parents=True)
    for number, part in enumerate(parts):
        part.write_parquet(folder / "telemetry" / f"{number:02}.parquet")
    CLIENTS.write_parquet(folder / "clients.parquet")
    NODES.write_parquet(folder / "nodes.parquet")
    return folder


def scaled(rows, factor, dtype=pl.Int64):
    ts = pl.col("ts") * factor
    return rows.with_columns((ts if dtype == pl.Float64 else ts.round()).cast(dtype))


def read_as(unit):
    """Seconds that were taken for another unit when they became datetimes."""
    return pl.from_epoch(pl.col("ts").cast(pl.Int64), time_unit=unit)


UNITS = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}


@pytest.mark.parametrize("factor", UNITS)
@pytest.mark.parametrize("begin", [IN_2024, IN_1965, IN_2500, 0, 86_400 * 200, -(10**9)])
@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64])
def test_a_smaller_unit_than_seconds_is_named_at_any_date(factor, begin, dtype, tmp_path):
    if abs(begin) * factor > 2**63 and dtype == pl.Int64:
        pytest.skip("beyond 64 bits")
    folder = write(tmp_path, scaled(telemetry(begin=begin), factor, dtype))
    unit = UNITS[factor] if begin in (IN_2024, 0) else ""
    with pytest.raises(DataError, match=rf"column 'ts': expected times in seconds.*{unit}"):
        read_telemetry(folder, parse_spec(TEXT))


NOTICED = {
    "one slice": (scaled(telemetry(1, begin=0), 1e3), "times are likely in milliseconds"),
    "two slices, few rows": (scaled(telemetry(2, 4, begin=0), 1e3), "times are likely in milliseconds"),
    "slices at one moment each": (scaled(telemetry(9, 1, begin=0), 1e3), "times are likely in milliseconds"),
    "slices at one moment each, later": (scaled(telemetry(9, 1), 1e3), "they are likely in milliseconds"),
    "January 1970": (scaled(telemetry(begin=8 * 86_400), 1e3), "times are likely in milliseconds"),
    "minutes": (scaled(telemetry(), 1 / 60, pl.Float64), "times are likely in minutes"),
    "hours": (scaled(telemetry(), 1 / 3600, pl.Float64), "times are likely in hours"),
    "days": (scaled(telemetry(), 1 / 86_400, pl.Float64), "times are likely in days"),
    "datetimes from the wrong unit": (
        telemetry().with_columns(ts=read_as("ms")),
        "seconds were likely read as milliseconds",
    ),
    "datetimes too far": (telemetry().with_columns(ts=(pl.col("ts") * 1e9).cast(pl.Int64).cast(pl.Datetime("us"))), ""),
    "the hour of the day for a slice": (telemetry(24 * 60, 10, numbers=np.arange(24 * 60) % 24, lasts=3600), ""),
}


@pytest.mark.parametrize(("rows", "unit"), NOTICED.values(), ids=NOTICED)
def test_times_that_are_no_seconds_are_noticed(rows, unit, tmp_path):
    with pytest.raises(DataError, match=rf"column 'ts': expected times in seconds.*{unit}"):
        check_telemetry(write(tmp_path, rows), parse_spec(TEXT))


@pytest.mark.parametrize(
    ("seconds", "unit"), [(900_000, "milliseconds"), (15, "minutes"), (0.25, "hours"), (9e8, "microseconds")]
)
def test_a_slice_s_length_in_another_unit_is_named(seconds, unit, tmp_path):
    spec = parse_spec(TEXT.replace("seconds = 900", f"seconds = {seconds}"))
    with pytest.raises(DataError, match=rf"that one lasts about 900 s.*slice.seconds is likely in {unit}"):
        read_telemetry(write(tmp_path, telemetry()), spec)


@pytest.mark.parametrize("begin", [0, IN_2024])
@pytest.mark.parametrize("which", [0, 5, 11])
def test_one_file_of_several_in_another_unit_is_noticed(begin, which, tmp_path):
    parts = telemetry(begin=begin).partition_by("slice")
    parts[which] = scaled(parts[which], 1e3, pl.Float64)
    with pytest.raises(DataError, match=r"expected times in seconds.*are likely in milliseconds"):
        read_telemetry(write(tmp_path, *parts), parse_spec(TEXT))


def test_the_message_says_what_was_expected_and_what_came(tmp_path):
    folder = write(tmp_path, scaled(telemetry(begin=0), 1e3))
    message = (
        f"{folder}: column 'ts': expected times in seconds and slices of 900 s as telemetry.slice.seconds says, found "
        "that one lasts about 900,000 s, between 1970-01-06T05:00:00Z and 1970-04-30T19:00:00Z: "
        "the times are likely in milliseconds"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        read_telemetry(folder, parse_spec(TEXT))


# --- no false alarm


def nightly():
    """Slices of 8 hours a day, numbered without a hole."""
    rows = telemetry(200)
    return rows.with_columns(ts=pl.col("ts") + (pl.col("slice") // 32) * 16 * 3600)


FINE = {
    "seconds": telemetry(),
    "whole seconds": telemetry().with_columns(pl.col("ts").cast(pl.Int64)),
    "one row": telemetry(1, 1),
    "one slice": telemetry(1, 50),
    "two slices that touch": telemetry(2, 2).with_columns(ts=pl.Series([898.0, 899.0, 900.0, 901.0]) + IN_2024),
    "three slices of one row": telemetry(3, 1).with_columns(ts=pl.Series([899.0, 1000.0, 1801.0])),
    "before 1970": telemetry(begin=IN_1965),
    "in 2500": telemetry(begin=IN_2500),
    "from zero": telemetry(begin=0),
    "across 1970": telemetry(begin=-5000),
    "pauses at night": nightly(),
    "a day's distance between slices": telemetry(40).with_columns(ts=IN_2024 + pl.col("slice") * 86_400.0),
    "holes in the numbers": telemetry(12, numbers=np.cumsum([1, 1, 4, 1, 9, 1, 1, 30, 1, 2, 1, 1])),
    "numbers that are dates": telemetry(
        3 * 365 * 24,
        1,
        numbers=[
            int(str(h).replace("-", "").replace("T", ""))
            for h in np.arange("2021-01-01T00", "2024-01-01T00", dtype="M8[h]")[: 3 * 365 * 24]
        ],
        lasts=3600,
    ),
    "numbers that are seconds": telemetry(numbers=IN_2024 + 900 * np.arange(12)),
    "slices four times as long as said": telemetry(lasts=3600),
    "slices a tenth as long as said": telemetry(lasts=90),
    "datetimes": telemetry().with_columns(ts=read_as("s")),
}


@pytest.mark.parametrize("rows", FINE.values(), ids=FINE)
def test_seconds_raise_no_alarm(rows, tmp_path):
    got = read_telemetry(write(tmp_path, rows), parse_spec(TEXT))
    assert got.rejected == {}
    assert len(got) == len(rows)


# --- single wrong times


@pytest.mark.parametrize("wrong", [1e12, -1e12, 1e300, IN_2024 * 1e3, IN_2024 + 10**7])
@pytest.mark.parametrize("place", [0, 5, 11])
def test_a_single_time_in_another_unit_is_set_aside_with_no_other_row(wrong, place, tmp_path):
    at = pl.int_range(pl.len()) == place * 30 + 7
    rows = telemetry().with_columns(ts=pl.when(at).then(wrong).otherwise("ts"))
    assert read_telemetry(write(tmp_path, rows), parse_spec(TEXT)).rejected == {"time: against the order of slices": 1}


def test_a_small_slice_in_another_unit_is_set_aside_and_its_neighbours_stay(tmp_path):
    rows = telemetry(40)
    rows = rows.with_columns(ts=pl.when(pl.col("slice") == 20).then(pl.col("ts") * 1e3).otherwise("ts"))
    got = read_telemetry(write(tmp_path, rows), parse_spec(TEXT))
    assert got.rejected == {"time: against the order of slices": 30}
    assert 20 not in got.slice
    assert len(got) == 39 * 30


# --- arrival


@pytest.mark.parametrize("factor", [1.0, 1e3, 1e6, 1e9], ids=["s", "ms", "us", "ns"])
def test_an_arrival_that_is_a_time_and_no_delay_is_named(factor, tmp_path):
    rows = telemetry().with_columns(ms=(pl.col("ts") + 0.02) * factor)
    unit = {1.0: "seconds", 1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}[factor]
    message = (
        f"column 'ms' or 'fail_ms': expected milliseconds from the decision .*likely holds the time itself, in {unit}"
    )
    with pytest.raises(DataError, match=message):
        read_telemetry(write(tmp_path, rows), parse_spec(TEXT))


def test_an_arrival_long_after_the_data_is_named(tmp_path):
    rows = telemetry().with_columns(ms=pl.lit(0.2 * 1e9))
    with pytest.raises(DataError, match=r"column 'ms' or 'fail_ms': expected milliseconds .*look at the unit"):
        read_telemetry(write(tmp_path, rows), parse_spec(TEXT))


@pytest.mark.parametrize("arrival", ["telemetry", "nothing"])
def test_seconds_until_it_was_known_in_another_unit_are_named(arrival, tmp_path):
    spec = parse_spec(TEXT if arrival == "telemetry" else TEXT.replace('arrival = ["ms", "fail_ms"]\n', ""))
    assert bool(spec.telemetry.arrival) == (arrival == "telemetry")
    rows = telemetry().with_columns(known_after_s=pl.col("ts") * 1e3 + 20.0)
    where = "column 'known_after_s': expected seconds from the decision .*"
    with pytest.raises(DataError, match=f"{where}likely holds the time itself, in milliseconds"):
        read_telemetry(write(tmp_path, rows), spec)
    rows = telemetry().with_columns(known_after_s=pl.lit(20.0 * 1e9))
    with pytest.raises(DataError, match=rf"{where}found 2e\+10, over .*look at the unit"):
        read_telemetry(write(tmp_path / "late", rows), spec)


def test_an_arrival_within_the_data_may_be_late(tmp_path):
    rows = telemetry(200).with_columns(ms=pl.lit(150 * 900 * 1e3))
    assert read_telemetry(write(tmp_path, rows), parse_spec(TEXT)).rejected == {}


# --- what a check says


def test_a_check_tells_first_and_last_time_and_how_long_a_slice_lasts(tmp_path):
    report = check_telemetry(write(tmp_path, telemetry()), parse_spec(TEXT))
    assert (report.first_date, report.last_date) == ("2024-01-01T00:00:15Z", "2024-01-01T02:59:45Z")
    assert report.span_seconds == 10_770
    assert (report.slice_seconds, report.slice_seconds_spec) == (900, 900)


def test_a_check_of_one_slice_does_not_know_how_long_it_lasts(tmp_path):
    assert np.isnan(check_telemetry(write(tmp_path, telemetry(1)), parse_spec(TEXT)).slice_seconds)


def test_without_a_time_column_there_is_no_date(tmp_path):
    report = check_telemetry(write(tmp_path, telemetry()), parse_spec(TEXT.replace('time = "ts"', "")))
    assert (report.first_date, report.last_date) == (None, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00Z"), (-1, "1969-12-31T23:59:59Z"), (1.704e12, "55967-08-12T05:20:00Z")],
)
def test_dates_of_any_year_have_a_text(seconds, text):
    assert date_text(seconds) == text
