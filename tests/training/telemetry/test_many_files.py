"""Telemetry in several files: types that differ without harm are widened, others are refused by the file's name."""

import decimal
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.errors import DataError
from scheduler.spec import parse_spec
from training.availability.sightings import read_sightings
from training.telemetry import read_telemetry

SPEC = """
name = "tiny"
[telemetry]
client = "who"
node = "box"
slice = { column = "slice", seconds = 60 }
time = "ts"
ok = "ok"
arrival = ["ms", "fail_ms"]
[outcomes]
ms = { min = 0 }
fail_ms = { min = 0 }
[cost]
success = "ms"
failure = 500
[request]
kind = { type = "category" }
rate = { min = 0 }
home = { type = "category", source = "clients" }
[node]
home = { type = "category", source = "nodes" }
price = { source = "nodes" }
place = { type = "vector", size = 2, source = "nodes" }
[history]
values = ["ms"]
half_lives = ["1h"]
keys = { node = ["node"] }
[features]
rate = { op = "request", column = "rate" }
same = { op = "equal", request = "home", node = "home" }
[heads.latency]
target = "ms"
link = "identity"
[utility]
heads = { latency = -1.0 }
"""

FIRST = 1_704_067_200
"""Midnight that began 2024, in UTC."""

ROWS = pl.DataFrame(
    {
        "slice": np.repeat(np.arange(4), 6),
        "ts": [float(FIRST + 10 * i) for i in range(24)],
        "who": [1, 2, 3] * 8,
        "box": ["a", "b"] * 12,
        "ok": [True, True, False] * 8,
        "ms": [20.0, 30.0, None] * 8,
        "fail_ms": [None, None, 900.0] * 8,
        "kind": ["live", "vod"] * 12,
        "rate": [100.0, 200.0, None, 400.0] * 6,
        "note": ["x"] * 24,
    }
)
CLIENTS = pl.DataFrame({"id": [1, 2, 3], "home": ["x", "y", None]})
NODES = pl.DataFrame({"id": ["a", "b"], "home": ["y", "x"], "price": [1.0, 2.0], "place": [[1.0, 2.0], [3.0, 4.0]]})


def write(folder, parts, clients=CLIENTS, nodes=NODES):
    """Write a telemetry directory of several files."""
    (folder / "telemetry").mkdir(parents=True)
    for number, part in enumerate(parts):
        part.write_parquet(folder / "telemetry" / f"{number}.parquet")
    clients.write_parquet(folder / "clients.parquet")
    nodes.write_parquet(folder / "nodes.parquet")
    return folder


def halves(**changed):
    """The rows in two files, the second with columns in other types."""
    return ROWS[:12], ROWS[12:].with_columns(**changed)


def same(one, other):
    """Compare two readings, column by column."""
    for name in ("time", "arrival", "slice", "client", "node", "ok"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name, values in one.outcomes.items():
        np.testing.assert_array_equal(values, other.outcomes[name])
    assert one.request["kind"].raw() == other.request["kind"].raw()
    np.testing.assert_array_equal(one.request["rate"], other.request["rate"])
    assert one.rejected == other.rejected


def dated(unit, zone=None):
    """The times as datetimes; in another zone they are the same instants."""
    at = pl.from_epoch((pl.col("ts") * 1e6).cast(pl.Int64), time_unit="us").dt.replace_time_zone("UTC")
    return (at.dt.replace_time_zone(None) if zone is None else at.dt.convert_time_zone(zone)).dt.cast_time_unit(unit)


def whole(name, dtype=pl.Int64):
    return pl.col(name).cast(dtype)


HARMLESS = {
    "whole numbers beside fractions": {"rate": whole("rate")},
    "float32 beside float64": {"ms": whole("ms", pl.Float32)},
    "decimals beside floats": {"rate": whole("rate", pl.Decimal(20, 4))},
    "narrow and unsigned integers": {"who": whole("who", pl.UInt8), "slice": whole("slice", pl.UInt64)},
    "ids as floats, as pandas writes integers with nulls": {"who": whole("who", pl.Float64)},
    "ids as decimals": {"who": whole("who", pl.Decimal(38, 0))},
    "slices as floats": {"slice": whole("slice", pl.Float64)},
    "categorical beside text": {"kind": whole("kind", pl.Categorical)},
    "enum beside text": {"box": whole("box", pl.Enum(["a", "b"]))},
    "datetimes beside seconds": {"ts": dated("ns")},
    "whole seconds": {"ts": whole("ts")},
    "seconds as decimals": {"ts": whole("ts", pl.Decimal(20, 6))},
    "a column the spec does not name": {"note": pl.lit(7)},
    "a nested column the spec does not name": {"note": pl.struct(pl.lit(1))},
}


@pytest.mark.parametrize("changed", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("odd_first", [False, True], ids=["last", "first"])
def test_types_that_differ_without_harm_are_read_as_from_one_file(changed, odd_first, tmp_path):
    spec = parse_spec(SPEC)
    parts = halves(**changed) if not odd_first else (ROWS[:12].with_columns(**changed), ROWS[12:])
    got = read_telemetry(write(tmp_path / "several", parts), spec, rejected_to=tmp_path / "out")
    same(got, read_telemetry(write(tmp_path / "one", [ROWS]), spec))
    assert len(got) == 24


@pytest.mark.parametrize("zones", [(None, "UTC"), ("Asia/Tokyo", "UTC"), ("America/Lima", None)])
def test_datetimes_of_several_zones_are_the_same_instants(zones, tmp_path):
    spec = parse_spec(SPEC)
    one, other = zones
    parts = [ROWS[:12].with_columns(ts=dated("ms", one)), ROWS[12:].with_columns(ts=dated("us", other))]
    same(read_telemetry(write(tmp_path / "zones", parts), spec), read_telemetry(write(tmp_path / "one", [ROWS]), spec))


EMPTY = ["fail_ms", "kind", "rate"]


@pytest.mark.parametrize("column", EMPTY)
@pytest.mark.parametrize("odd", [0, 1])
def test_a_column_without_a_value_in_one_file_is_null_there(column, odd, tmp_path):
    rows = ROWS if column != "fail_ms" else ROWS.filter("ok")
    parts = [rows.filter(pl.col("slice") < 2), rows.filter(pl.col("slice") >= 2)]
    null = pl.lit(None).alias(column)
    expected = [part.with_columns(null.cast(ROWS.schema[column])) if k == odd else part for k, part in enumerate(parts)]
    written = [part.with_columns(null) if k == odd else part for k, part in enumerate(parts)]
    spec = parse_spec(SPEC)
    got = read_telemetry(write(tmp_path / "null", written), spec)
    same(got, read_telemetry(write(tmp_path / "one", [pl.concat(expected)]), spec))


def test_rows_without_a_client_are_rejected_where_ids_became_floats(tmp_path):
    odd = ROWS[12:].with_columns(who=pl.when(pl.int_range(pl.len()) > 1).then("who").cast(pl.Float64))
    odd = odd.with_columns(who=pl.col("who").fill_null(float("nan")))
    got = read_telemetry(write(tmp_path, [ROWS[:12], odd]), parse_spec(SPEC))
    assert got.rejected == {"client: null": 2}


REFUSED = {
    "a text for a number": ({"rate": whole("rate", pl.String)}, "'rate': expected a number, found String"),
    "integers for a boolean": ({"ok": whole("ok", pl.Int8)}, "'ok': expected a boolean, found Int8"),
    "fractions for an id": ({"who": pl.lit(1.5)}, r"'who': expected whole numbers of 64 bits, found 1.5 in .* Float64"),
    "too large for a slice": ({"slice": pl.lit(2**63, pl.UInt64)}, "'slice': expected whole numbers of 64 bits"),
    "texts for ids": ({"who": whole("who", pl.String)}, "'who': expected ids of type Int64 as in its table, found Str"),
    "integers for texts": ({"box": pl.lit(3)}, "'box': expected ids of type String as in its table, found Int32"),
    "dates for times": ({"ts": dated("us").dt.date()}, "'ts': expected a datetime or a number of seconds, found Date"),
    "lists for numbers": ({"ms": pl.concat_list("ms")}, r"'ms': expected a number, found List"),
}


@pytest.mark.parametrize(("changed", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("odd", [0, 1])
def test_the_file_that_differs_from_the_spec_is_named_and_not_its_neighbour(changed, message, odd, tmp_path):
    parts = [ROWS[:12], ROWS[12:]]
    parts[odd] = parts[odd].with_columns(**changed)
    with pytest.raises(DataError, match=rf"telemetry/{odd}.parquet: column {message}"):
        read_telemetry(write(tmp_path, parts), parse_spec(SPEC))


def test_texts_beside_integers_of_one_category_name_both_files(tmp_path):
    message = r"1.parquet: column 'kind': expected strings as in column 'kind' of .*0.parquet, found Int32"
    with pytest.raises(DataError, match=message):
        read_telemetry(write(tmp_path, halves(kind=pl.lit(5))), parse_spec(SPEC))


def test_columns_that_are_compared_must_be_of_one_type(tmp_path):
    nodes = NODES.with_columns(home=pl.Series([1, 2]))
    message = r"nodes.parquet: column 'home': expected strings as in column 'home' of .*clients.parquet, found Int64"
    with pytest.raises(DataError, match=message):
        read_telemetry(write(tmp_path, [ROWS], nodes=nodes), parse_spec(SPEC))


def test_a_table_may_hold_whole_numbers_as_floats_or_decimals(tmp_path):
    clients = CLIENTS.with_columns(id=pl.col("id").cast(pl.Float64), home=pl.Series([7.0, None, 9.0]))
    nodes = NODES.with_columns(
        home=pl.Series([9, 7], dtype=pl.Decimal(10, 0)),
        price=pl.Series([decimal.Decimal("1.5"), None]),
        place=pl.Series([[1, 2], None]),
    )
    got = read_telemetry(write(tmp_path, [ROWS], clients, nodes), parse_spec(SPEC))
    assert got.clients.ids.tolist() == [1, 2, 3]
    assert got.clients.columns["home"].raw() == [7, None, 9]
    assert got.nodes.columns["home"].raw() == [9, 7]
    np.testing.assert_array_equal(got.nodes.columns["price"], [1.5, np.nan])
    np.testing.assert_array_equal(got.nodes.columns["place"], [[1, 2], [np.nan, np.nan]])


def test_the_id_of_a_table_may_be_one_of_its_categories_too(tmp_path):
    text = SPEC.replace("[node]\n", '[node]\nid = { type = "category", source = "nodes" }\n')
    got = read_telemetry(write(tmp_path, [ROWS]), parse_spec(text))
    assert got.nodes.columns["id"].raw() == got.nodes.ids.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"clients": CLIENTS.with_columns(id=pl.Series([1.0, 2.5, 3.0]))},
            "clients.parquet: column 'id': .* found 2.5",
        ),
        ({"nodes": NODES.with_columns(place=pl.Series([["1", "2"], None]))}, "expected a list of numbers, found List"),
        ({"nodes": NODES.with_columns(price=pl.Series(["1", "2"]))}, "'price': expected a number, found String"),
    ],
)
def test_a_table_of_other_types_is_refused(table, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_telemetry(write(tmp_path, [ROWS], **table), parse_spec(SPEC))


def test_equal_rows_keep_the_order_of_files_whatever_their_types(tmp_path):
    row = ROWS[:1]
    parts = [row.with_columns(ms=pl.lit(float(k)) if k % 2 else pl.lit(k)) for k in range(12)]
    got = read_telemetry(write(tmp_path, parts), parse_spec(SPEC))
    assert got.outcomes["ms"].tolist() == [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]  # by name, as texts are sorted


TYPES = {
    "slice": [pl.Int8, pl.UInt64, pl.Float32, pl.Decimal(9, 0)],
    "who": [pl.UInt16, pl.Int32, pl.Float64, pl.Decimal(12, 0)],
    "box": [pl.String, pl.Categorical, pl.Enum(["b", "a"])],
    "kind": [pl.String, pl.Categorical, pl.Null],
    "ms": [pl.Float32, pl.Float64, pl.Int16, pl.Decimal(12, 2)],
    "rate": [pl.UInt32, pl.Float64, pl.Null],
    "ts": [pl.Float64, pl.Int64, pl.Datetime("ms"), pl.Datetime("ns", "UTC"), pl.Decimal(20, 3)],
}


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.fixed_dictionaries({n: st.sampled_from(types) for n, types in TYPES.items()}), min_size=2, max_size=4)
)
def test_any_harmless_mixture_is_read_as_the_plain_rows(tmp_path_factory, mixture):
    plain, parts = [], []
    for number, types in enumerate(mixture):
        part = ROWS[number * 6 : number * 6 + 6]
        nulls = [name for name, dtype in types.items() if dtype == pl.Null]
        plain.append(part.with_columns(pl.lit(None).alias(name).cast(ROWS.schema[name]) for name in nulls))
        when = types.pop("ts")
        part = part.with_columns(pl.lit(None).alias(n) if t == pl.Null else pl.col(n).cast(t) for n, t in types.items())
        if when == pl.Datetime:
            parts.append(part.with_columns(ts=dated(when.time_unit, when.time_zone)))
        else:
            parts.append(part.with_columns(pl.col("ts").cast(when)))
    spec, folder = parse_spec(SPEC), tmp_path_factory.mktemp("mixture")
    got = read_telemetry(write(folder / "several", parts), spec)
    same(got, read_telemetry(write(folder / "one", [pl.concat(plain)]), spec))


# --- sightings, which have a file of their own beside the telemetry


def sighted(folder, **changed):
    folder.mkdir()
    at = [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)]
    frame = pl.DataFrame(
        {"slice": [0, 1], "ts": at, "client_id": [1, 1], "node_id": ["a", "b"], "throughput_kbps": [1, 2]}
    )
    frame.write_parquet(folder / "telemetry.parquet")
    state = pl.DataFrame({"slice": [0, 1], "node_id": ["a", "b"], "load": [0.5, 0.7]})
    state.with_columns(**changed).write_parquet(folder / "node_state.parquet")
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        {"slice": whole("slice", pl.UInt16)},
        {"slice": whole("slice", pl.Float64)},
        {"node_id": whole("node_id", pl.Categorical)},
        {"node_id": whole("node_id", pl.Enum(["a", "b"]))},
    ],
)
def test_the_state_of_nodes_joins_sightings_whatever_its_integers_and_texts_are_stored_as(changed, tmp_path):
    assert read_sightings(sighted(tmp_path / "data", **changed))["load"].to_list() == [0.5, 0.7]


def test_a_state_with_other_ids_than_the_sightings_is_named(tmp_path):
    folder = sighted(tmp_path / "data", node_id=pl.lit(3))
    with pytest.raises(DataError, match=r"node_state.parquet: column 'node_id': expected String as in .*, found Int32"):
        read_sightings(folder)
