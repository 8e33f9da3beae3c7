"""Telemetry that is not laid out as a directory: one file, several, texts, frames, other names, no tables."""

import datetime as dt
import gzip

import numpy as np
import polars as pl
import pytest

from scheduler.errors import DataError
from scheduler.spec import parse_spec
from tests.raw_specs import LATENCY_OF_NODES
from tests.raw_world import iso, pings
from training.telemetry import Files, Frames, check_telemetry, data_id, data_name, read_telemetry
from training.telemetry.raw import open_raw

P = pings(2_000)

SPEC = (
    """
name = "raw"
[telemetry]
client = "asker"
node = "answerer"
time = "at"
slice = { seconds = 3_600, origin = 1_777_593_600 }
ok = "ok"
[raw]
RAW
[outcomes]
ms = { min = 0 }
[cost]
success = "ms"
failure = 100
"""
    + LATENCY_OF_NODES
)


def spec(raw="at = { column = 'seconds' }", **changes):
    text = SPEC.replace("RAW", raw)
    for old, new in changes.items():
        text = text.replace(old, new)
    return parse_spec(text)


def test_slices_follow_from_times_where_no_column_numbers_them():
    telemetry = read_telemetry(Frames(P), spec())
    np.testing.assert_array_equal(telemetry.slice, (telemetry.time - 1_777_593_600) // 3_600)
    assert (telemetry.slice.min(), telemetry.slice.max()) == (0, 23)


def test_rows_before_the_origin_are_counted_as_out_of_range():
    late = spec(**{"origin = 1_777_593_600": "origin = 1_777_597_200"})
    telemetry = read_telemetry(Frames(P), late)
    assert telemetry.rejected == {"slice: out of range": P.filter(pl.col("seconds") < 1_777_597_200).height}


def test_rows_from_a_slice_on_or_before_one_are_read_alone():
    part = read_telemetry(Frames(P), spec(), start=5, until=9)
    assert set(part.slice) == {5, 6, 7, 8}


def test_clients_and_nodes_are_the_ids_of_telemetry_where_there_are_no_tables():
    telemetry = read_telemetry(Frames(P), spec(), until=1)
    assert telemetry.clients.ids.tolist() == list(range(8))
    assert telemetry.nodes.ids.tolist() == list(range(20))  # those of later slices too, as in a table


def test_a_column_of_a_table_that_is_not_there_is_named():
    wants = spec(**{"[history]": "[node]\ncountry = { type = 'category', source = 'nodes' }\n[history]"})
    with pytest.raises(DataError, match="expected a table of nodes with the columns country, found no such table"):
        read_telemetry(Frames(P), wants)


def test_a_directory_with_other_names_and_no_tables_is_read(tmp_path):
    P.write_parquet(tmp_path / "telemetry.parquet")
    assert len(read_telemetry(tmp_path, spec())) == len(P)


def test_a_table_as_csv_beside_telemetry_is_read(tmp_path):
    P.write_csv(tmp_path / "telemetry.csv")
    pl.DataFrame({"id": range(20), "country": ["SE", "NO"] * 10}).write_csv(tmp_path / "nodes.csv")
    wants = spec(**{"[history]": "[node]\ncountry = { type = 'category', source = 'nodes' }\n[history]"})
    telemetry = read_telemetry(tmp_path, wants)
    assert telemetry.nodes.columns["country"].raw() == ["SE", "NO"] * 10


def test_a_table_whose_ids_are_of_another_type_is_refused():
    nodes = pl.DataFrame({"id": [str(one) for one in range(20)]})
    with pytest.raises(DataError, match="nodes: column 'id': expected integers as in column 'answerer'"):
        read_telemetry(Frames(P, nodes=nodes), spec())


WRITTEN = {
    "commas": lambda frame: frame.write_csv().encode(),
    "semicolons": lambda frame: frame.write_csv(separator=";").encode(),
    "tabs": lambda frame: frame.write_csv(separator="\t").encode(),
    "decimal commas": lambda frame: frame.write_csv(separator=";", decimal_comma=True).encode(),
    "byte order mark": lambda frame: b"\xef\xbb\xbf" + frame.write_csv().encode(),
    "stars for failures": lambda frame: frame.write_csv(null_value="*").encode(),
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_texts_are_read_however_they_are_written(how, suffix, tmp_path):
    data, file = WRITTEN[how](P), tmp_path / f"pings.{suffix}"
    file.write_bytes(gzip.compress(data) if suffix == "csv.gz" else data)
    got, expected = read_telemetry(file, spec()), read_telemetry(Frames(P), spec())
    for name in ("time", "client", "node", "ok", "slice"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    np.testing.assert_array_equal(got.outcomes["ms"], expected.outcomes["ms"])


def test_several_files_are_one_data_set_whatever_their_order(tmp_path):
    files = [tmp_path / "b.csv", tmp_path / "a.csv"]
    for number, file in enumerate(files):
        P[number * 1_000 : (number + 1) * 1_000].write_csv(file)
    together = read_telemetry(Files(tuple(files)), spec())
    assert len(together) == len(read_telemetry(tmp_path, spec())) == len(P)
    assert data_id(Files(tuple(files))) == data_id(Files(tuple(reversed(files))))
    assert (data_name(Files(tuple(files))), data_name(files[0])) == (tmp_path.name, "b")


def test_texts_in_one_file_are_texts_in_all(tmp_path):
    P.with_columns(answerer=pl.col("answerer").cast(pl.String))[:1_000].write_parquet(tmp_path / "a.parquet")
    P[1_000:].write_csv(tmp_path / "b.csv")
    telemetry = read_telemetry(tmp_path, spec())
    assert telemetry.nodes.ids.tolist() == sorted(str(one) for one in range(20))


READ = {
    "unit": ("at = { column = 'x', type = 'time', unit = 'ms' }", {"x": P["seconds"] * 1e3}),
    "format": ("at = { column = 'x', type = 'time', format = '%+' }", {"x": iso(P["seconds"])}),
    "dates": (
        "at = { column = 'x', type = 'time' }",
        {"x": (P["seconds"] * 1e3).cast(pl.Int64).cast(pl.Datetime("ms"))},
    ),
}


@pytest.mark.parametrize("how", READ)
def test_times_are_read_by_unit_and_format(how):
    raw, columns = READ[how]
    telemetry = read_telemetry(Frames(P.drop("seconds").with_columns(**columns)), spec(raw))
    np.testing.assert_allclose(telemetry.time, P["seconds"], atol=1.1e-3)


AT = "at = { column = 'seconds' }\n"
BOOLEANS = {
    "good": (
        "{ column = 'code', type = 'boolean', good = ['OK'] }",
        P["ok"].replace_strict({True: "ok ", False: "NO"}),
    ),
    "codes": (
        "{ column = 'code', type = 'boolean', min = 200, max = 399 }",
        P["ok"].replace_strict({True: 204, False: None}),
    ),
    "present": ("{ column = 'code', type = 'boolean' }", P["ms"].fill_null(float("nan"))),
    "zero": ("{ column = 'code', type = 'boolean', good = [0] }", 1 - P["ok"].cast(pl.Int64)),
    "false": ("{ column = 'code', type = 'boolean', good = [false] }", ~P["ok"]),
}


@pytest.mark.parametrize("how", BOOLEANS)
def test_success_is_read_by_values_ranges_or_presence(how):
    raw, column = BOOLEANS[how]
    telemetry = read_telemetry(Frames(P.drop("ok").with_columns(code=column)), spec(f"{AT}ok = {raw}"))
    assert telemetry.ok.sum() == P["ok"].sum()


NUMBERS = {
    "scale": ("{ column = 'x', type = 'number', scale = 1_000 }", P["ms"] / 1e3),
    "inverse": ("{ column = 'x', type = 'number', inverse = 1_000 }", (1e3 / P["ms"]).fill_null(0.0)),
    "texts": ("{ column = 'x', type = 'number' }", P["ms"].cast(pl.String).fill_null("timeout")),
    "sentinel": ("{ column = 'x', type = 'number', min = 0 }", P["ms"].fill_null(-1.0)),
}


@pytest.mark.parametrize("how", NUMBERS)
def test_numbers_are_scaled_turned_and_cleared(how):
    raw, column = NUMBERS[how]
    frames = Frames(P.drop("ms").with_columns(x=column))
    telemetry = read_telemetry(frames, spec(f"{AT}ms = {raw}"))
    expected = read_telemetry(Frames(P), spec()).outcomes["ms"]
    np.testing.assert_allclose(telemetry.outcomes["ms"], expected, rtol=1e-6)


def test_a_column_may_be_the_same_in_all_rows():
    telemetry = read_telemetry(Frames(P.drop("asker")), spec(f"{AT}asker = {{ value = 'all' }}"))
    assert telemetry.clients.ids.tolist() == ["all"]


def test_milliseconds_that_were_taken_for_seconds_are_refused():
    frame = P.with_columns(seconds=(pl.col("seconds") * 1e3).cast(pl.Int64))
    with pytest.raises(DataError, match=r"expected times in seconds.*milliseconds"):
        read_telemetry(Frames(frame), spec())


def test_rejected_rows_are_kept_as_they_were(tmp_path):
    frame = P.with_columns(ms=pl.when(pl.int_range(pl.len()) < 5).then(-3.0).otherwise("ms"), note=pl.lit("x"))
    report = check_telemetry(Frames(frame), spec(), rejected_to=tmp_path)
    kept = pl.read_parquet(tmp_path / "rejected.parquet")
    assert report.rejected == {"ms: out of range": 5}
    assert set(kept.columns) == {*frame.columns, "at", "reasons"}
    assert kept["note"].to_list() == ["x"] * 5


def test_frames_are_told_apart_by_their_contents():
    assert data_id(Frames(P)) == data_id(Frames(P.clone(), name="other"))
    assert data_id(Frames(P)) != data_id(Frames(P[1:]))
    assert data_id(Frames(P)) != data_id(Frames(P, nodes=pl.DataFrame({"id": [1]})))


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "odd.xlsx").write_text("x")
    (tmp_path / "torn.parquet").write_text("PAR1")
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(P.write_csv().encode())[:9_000])
    with pytest.raises(DataError, match=r"empty\.csv: expected a line of column names .*, found an empty file"):
        read_telemetry(tmp_path / "empty.csv", spec())
    with pytest.raises(DataError, match=r"odd\.xlsx: expected a file that ends with \.parquet, .*, found 'odd\.xlsx'"):
        read_telemetry(tmp_path / "odd.xlsx", spec())
    with pytest.raises(DataError, match=r"torn\.parquet: expected readable parquet"):
        read_telemetry(tmp_path / "torn.parquet", spec())
    with pytest.raises(DataError, match=r"torn\.csv\.gz: expected a readable file"):
        read_telemetry(tmp_path / "torn.csv.gz", spec())
    with pytest.raises(DataError, match="nothing: expected a file or folder of telemetry, found none"):
        read_telemetry(tmp_path / "nothing", spec())
    with pytest.raises(
        DataError, match="column 'seconds': expected a column, of which 'at' is made, found no such column"
    ):
        read_telemetry(Frames(P.drop("seconds")), spec())


def test_data_with_the_columns_of_the_spec_are_said_to_need_no_raw():
    written = P.drop("seconds").with_columns(at=P["seconds"])
    with pytest.raises(DataError, match=r"'at' is there already, and a spec for such data has no \[raw\]$"):
        read_telemetry(Frames(written), spec())


def test_numbers_that_are_none_are_told_with_their_column_and_a_value():
    frame = P.drop("ms").with_columns(took=pl.concat_str(P["ms"].fill_null(7.0).round(1), pl.lit(" ms")))
    told = r"in all \d+ rows; \[raw\] makes 'ms' \(type number\) of column 'took', whose first value is '.* ms'$"
    with pytest.raises(DataError, match=told):
        read_telemetry(Frames(frame), spec(f"{AT}ms = {{ column = 'took', type = 'number' }}"))
    empty = P.drop("ms").with_columns(took=pl.lit(None, pl.String))
    with pytest.raises(DataError, match=r"column 'took', which has no value$"):
        read_telemetry(Frames(empty), spec(f"{AT}ms = {{ column = 'took', type = 'number' }}"))


def test_times_of_another_format_are_told_with_the_format_and_a_value():
    frame = P.drop("seconds").with_columns(at=iso(P["seconds"]))
    told = r"; \[raw\] makes 'at' \(type time in format '%d.%m.%Y'\) of column 'at', whose first value is '2"
    with pytest.raises(DataError, match=told):
        read_telemetry(Frames(frame), spec("at = { column = 'at', type = 'time', format = '%d.%m.%Y' }"))


def test_dates_of_files_with_and_without_a_zone_are_one_time(tmp_path):
    naive = P.with_columns(pl.from_epoch("seconds", "s").alias("when")).drop("seconds")
    zoned = naive.with_columns(pl.col("when").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"))
    naive.write_parquet(tmp_path / "a.parquet")
    zoned.with_columns(pl.col("when").dt.cast_time_unit("ns")).write_parquet(tmp_path / "b.parquet")
    P.head(1).with_columns(pl.lit(dt.date(2026, 5, 1)).alias("when")).drop("seconds").write_parquet(
        tmp_path / "c.parquet"
    )
    telemetry = read_telemetry(tmp_path, spec("at = { column = 'when', type = 'time' }"))
    np.testing.assert_allclose(telemetry.time, np.sort([1_777_593_600, *P["seconds"], *P["seconds"]]), atol=1.1e-6)


@pytest.mark.parametrize("kind", ["text", "datetime"])
def test_a_column_with_dates_in_one_file_and_numbers_in_another_is_refused(kind, tmp_path):
    P.write_parquet(tmp_path / "a.parquet")
    dates = pl.from_epoch("seconds", "s")
    if kind == "datetime":
        P.with_columns(dates).write_parquet(tmp_path / "b.parquet")
        found = r"b\.parquet: column 'seconds': expected numbers, as in .*a\.parquet, found dates: Datetime"
    else:
        P.with_columns(pl.lit("2026-05-01").alias("seconds")).write_parquet(tmp_path / "a.parquet")
        P.with_columns(dates).write_parquet(tmp_path / "b.parquet")
        found = r"b\.parquet: column 'seconds': expected texts, as in .*a\.parquet, found dates: Datetime"
    with pytest.raises(DataError, match=found):
        read_telemetry(tmp_path, spec())


@pytest.mark.parametrize("n", [0, 5])
def test_a_text_file_without_values_of_a_column_changes_no_other_file(n, tmp_path):
    P.write_csv(tmp_path / "a.csv")
    P.head(n).with_columns(pl.lit(None).alias("ms")).write_csv(tmp_path / "b.csv")
    assert open_raw(tmp_path).frame.collect_schema()["ms"] == P.schema["ms"]
    together, alone = read_telemetry(tmp_path, spec()), read_telemetry(tmp_path / "a.csv", spec())
    assert np.nansum(together.outcomes["ms"]) == np.nansum(alone.outcomes["ms"]) > 0.0


def test_ids_beyond_64_bits_with_a_sign_are_refused():
    huge = P.with_columns(answerer=pl.col("answerer").cast(pl.UInt64) + 2**63)
    for whole in (huge, P.with_columns(answerer=pl.col("answerer").cast(pl.Int128) + 2**63)):
        with pytest.raises(
            DataError, match=r"'(answerer|id)': expected whole numbers of 64 bits, found 92233720368547758"
        ):
            read_telemetry(Frames(whole), spec())
    small = P.with_columns(pl.col("answerer").cast(pl.UInt64))
    np.testing.assert_array_equal(read_telemetry(Frames(small), spec()).nodes.ids, range(20))
