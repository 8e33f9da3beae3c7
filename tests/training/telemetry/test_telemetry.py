"""Reading telemetry: what comes out, what is rejected and why, and what is an error."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scheduler.errors import DataError
from scheduler.spec import load_spec, parse_spec
from training.telemetry import check_telemetry, data_id, read_telemetry

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
ms = { min = 0, max = 1000 }
fail_ms = { min = 0 }
[cost]
success = "ms"
failure = 500
failure_column = "fail_ms"
[request]
kind = { type = "category" }
rate = { min = 0 }
spot = { type = "vector", size = 2, source = "clients" }
[node]
load = { min = 0, max = 1 }
isp = { type = "category", source = "nodes" }
price = { min = 0, source = "nodes" }
[history]
values = ["ms"]
half_lives = ["1h"]
keys = { node = ["node"] }
[features]
rate = { op = "request", column = "rate" }
[heads.latency]
target = "ms"
link = "identity"
[utility]
heads = { latency = -1.0 }
"""

NAN = float("nan")
SPECS = Path(__file__).resolve().parents[3] / "models" / "specs"


def row(**changed):
    """One good row of slice 0, but for what is changed."""
    good = {
        "slice": 0,
        "ts": 10.0,
        "who": 7,
        "box": "a",
        "ok": True,
        "ms": 20.0,
        "fail_ms": None,
        "kind": "live",
        "rate": 100.0,
        "load": 0.5,
    }
    return good | changed


TYPES = {
    "slice": pl.Int64,
    "ts": pl.Float64,
    "who": pl.UInt16,
    "box": pl.String,
    "ok": pl.Boolean,
    "ms": pl.Float64,
    "fail_ms": pl.Float32,
    "kind": pl.String,
    "rate": pl.Float64,
    "load": pl.Float64,
}

GOOD = [
    row(slice=1, ts=61.0, box="b", kind="vod"),
    row(ts=10.0),
    row(ts=10.0, who=3, ms=30.0, rate=None, load=None),
    row(ts=5.0, ok=False, ms=None, fail_ms=900.0, kind=None),
    row(ts=6.0, ok=False, ms=None, fail_ms=100.0),
]


@pytest.fixture
def spec():
    return parse_spec(SPEC)


@pytest.fixture
def write(tmp_path):
    """Write a telemetry directory; tables and types may be replaced."""

    def write(rows=GOOD, *, clients=None, nodes=None, **types):
        pl.DataFrame(rows, schema=TYPES | types).write_parquet(tmp_path / "telemetry.parquet")
        (clients if clients is not None else CLIENTS).write_parquet(tmp_path / "clients.parquet")
        (nodes if nodes is not None else NODES).write_parquet(tmp_path / "nodes.parquet")
        return tmp_path

    return write


CLIENTS = pl.DataFrame({"id": [3, 7], "spot": [[1.0, 2.0], None]})
NODES = pl.DataFrame({"id": ["b", "a"], "isp": ["y", None], "price": [None, 2.5], "other": [1, 2]})


def test_rows_come_sorted_with_positions_in_the_tables(write, spec):
    got = read_telemetry(write(), spec)
    assert got.time.tolist() == [5, 6, 10, 10, 61]
    assert got.slice.tolist() == [0, 0, 0, 0, 1]
    assert got.client.tolist() == [1, 1, 0, 1, 1]
    assert got.node.tolist() == [1, 1, 1, 1, 0]
    assert got.ok.tolist() == [False, False, True, True, True]
    assert got.rejected == {}
    assert got.n_read == len(got) == 5


def test_outcomes_cost_and_arrival(write, spec):
    got = read_telemetry(write(), spec)
    assert sorted(got.outcomes) == ["cost", "fail_ms", "failed", "ms"]
    np.testing.assert_array_equal(got.outcomes["ms"], [NAN, NAN, 30, 20, 20])
    np.testing.assert_array_equal(got.outcomes["fail_ms"], [900, 100, NAN, NAN, NAN])
    assert got.outcomes["failed"].tolist() == [1, 1, 0, 0, 0]
    assert got.outcomes["cost"].tolist() == [900, 500, 30, 20, 20]
    np.testing.assert_allclose(got.arrival - got.time, [0.9, 0.1, 0.03, 0.02, 0.02], atol=1e-6)


def test_request_and_node_columns(write, spec):
    got = read_telemetry(write(), spec)
    assert got.request["kind"].values == ("live", "vod")
    assert got.request["kind"].codes.tolist() == [-1, 0, 0, 0, 1]
    assert got.request["kind"].raw() == [None, "live", "live", "live", "vod"]
    np.testing.assert_array_equal(got.request["rate"], [100, 100, NAN, 100, 100])
    np.testing.assert_array_equal(got.node_state["load"], [0.5, 0.5, NAN, 0.5, 0.5])
    assert got.clients.ids.tolist() == [3, 7]
    np.testing.assert_array_equal(got.clients.columns["spot"], [[1, 2], [NAN, NAN]])
    assert got.nodes.ids.tolist() == ["b", "a"]
    assert got.nodes.columns["isp"].raw() == ["y", None]
    np.testing.assert_array_equal(got.nodes.columns["price"], [NAN, 2.5])


def test_types_are_narrow_and_arrays_writable(write, spec):
    got = read_telemetry(write(), spec)
    assert [a.dtype.name for a in (got.time, got.arrival, got.slice, got.client, got.node, got.ok)] == [
        "float64", "float64", "int32", "int32", "int32", "bool",
    ]  # fmt: skip
    arrays = [got.time, got.arrival, got.slice, got.client, got.node, got.ok, *got.outcomes.values()]
    assert all(array.flags.writeable for array in arrays)
    assert {values.dtype.name for values in got.outcomes.values()} == {"float32"}


def test_time_may_be_a_datetime(write, spec):
    at = datetime(2024, 5, 1, 12, tzinfo=UTC)
    rows = [row(ts=at + timedelta(milliseconds=250)), row(ts=at)]
    got = read_telemetry(write(rows, ts=pl.Datetime("ms", "UTC")), spec)
    assert got.time.tolist() == [at.timestamp(), at.timestamp() + 0.25]


def test_without_a_time_column_a_row_is_of_the_start_of_its_slice(write):
    got = read_telemetry(write(), parse_spec(SPEC.replace('time = "ts"', "")))
    assert got.time.tolist() == [0, 0, 0, 0, 60]
    assert got.client.tolist() == [0, 1, 1, 1, 1]


def test_propensities_are_read_where_the_spec_names_them_and_impossible_ones_reject_their_row(write, spec):
    rows = [row(p=p) for p in (0.25, 1.0, None, 0.0, -0.5, 1.5)]
    folder = write(rows, p=pl.Float64)
    named = parse_spec(SPEC.replace('ok = "ok"', 'ok = "ok"\npropensity = "p"'))
    got = read_telemetry(folder, named)
    np.testing.assert_array_equal(got.propensity, [0.25, 1.0, NAN])
    np.testing.assert_array_equal(got.where(got.propensity > 0.5).propensity, [1.0])
    assert got.rejected == {"propensity: not above 0 and at most 1": 3}
    assert read_telemetry(folder, spec).propensity is None
    with pytest.raises(DataError, match="'p'"):
        read_telemetry(write(), named)


def test_without_an_ok_column_all_rows_are_ok(write):
    got = read_telemetry(write(), parse_spec(SPEC.replace('ok = "ok"', "")))
    assert got.ok.all()
    assert got.rejected == {"cost: ok without the outcome": 2}


def test_without_arrival_columns_an_outcome_is_known_at_once(write):
    got = read_telemetry(write(), parse_spec(SPEC.replace('arrival = ["ms", "fail_ms"]', "")))
    assert got.arrival.tolist() == got.time.tolist()


def test_the_time_until_an_outcome_was_known_goes_before_its_measured_duration(write, spec):
    rows = [row(known_after_s=s, ts=float(i)) for i, s in enumerate((5.0, None, NAN, 0.0, math.inf))]
    rows += [row(known_after_s=math.inf, ts=5.0, ok=False, ms=None)]
    got = read_telemetry(write(rows, known_after_s=pl.Float64), spec)
    np.testing.assert_allclose(got.arrival - got.time, [5.0, 0.02, 0.02, 0.0, math.inf, math.inf], atol=1e-9)
    assert got.rejected == {}
    assert got.outcomes["failed"].tolist() == [0, 0, 0, 0, 0, 1]


def test_failures_without_a_duration_are_known_at_once_where_nothing_says_when(write, spec):
    got = read_telemetry(write([row(ok=False, ms=None), row()]), spec)
    assert got.arrival.min() == got.time[0]


def test_an_outcome_known_before_its_decision_rejects_the_row(write, spec):
    got = read_telemetry(write([row(known_after_s=-1.0), row(known_after_s=1.0)], known_after_s=pl.Float64), spec)
    assert got.rejected == {"arrival: before the decision": 1}


def test_when_an_outcome_was_known_must_be_a_number(write, spec):
    folder = write([row(known_after_s="soon")], known_after_s=pl.String)
    with pytest.raises(DataError, match="column 'known_after_s': expected a number, found String"):
        read_telemetry(folder, spec)


def test_a_column_of_the_spec_says_nothing_of_when_outcomes_were_known(write):
    spec = parse_spec(SPEC.replace("rate = { min = 0 }", "rate = { min = 0 }\nknown_after_s = {}"))
    got = read_telemetry(write([row(known_after_s=7.0)], known_after_s=pl.Float64), spec)
    assert got.request["known_after_s"].tolist() == [7.0]
    np.testing.assert_allclose(got.arrival - got.time, 0.02, atol=1e-9)


def test_outcomes_that_were_never_known_say_nothing_of_the_unit_of_arrival(write, spec):
    rows = [row(known_after_s=math.inf, ts=float(i)) for i in range(5)]
    assert np.isinf(read_telemetry(write(rows, known_after_s=pl.Float64), spec).arrival).all()


RULES = {
    "slice: null": row(slice=None),
    "slice: out of range": row(slice=-1),
    "time: null": row(ts=None),
    "time: not finite": row(ts=NAN),
    "time: against the order of slices": row(slice=1, ts=2.0),
    "client: null": row(who=None),
    "client: unknown": row(who=8),
    "node: null": row(box=None),
    "node: unknown": row(box="c"),
    "ok: null": row(ok=None),
    "cost: ok without the outcome": row(ms=None),
    "ms: not finite": row(ms=NAN),
    "ms: out of range": row(ms=1000.5),
    "fail_ms: not finite": row(fail_ms=math.inf),
    "rate: not finite": row(rate=-math.inf),
    "rate: out of range": row(rate=-1.0),
    "load: out of range": row(load=1.01),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_rejects_the_one_bad_row_and_no_other(rule, write, spec, tmp_path):
    got = read_telemetry(write([*GOOD, RULES[rule]]), spec, rejected_to=tmp_path / "out")
    assert got.rejected == {rule: 1}
    assert len(got) == len(GOOD)
    kept = pl.read_parquet(tmp_path / "out" / "rejected.parquet")
    assert kept["reasons"].to_list() == [[rule]]
    assert kept.drop("reasons").to_dicts() == [pytest.approx(RULES[rule], nan_ok=True)]


def test_a_cost_below_0_is_rejected_where_no_range_says_so(write):
    free = SPEC.replace("ms = { min = 0, max = 1000 }", "ms = {}").replace("fail_ms = { min = 0 }", "fail_ms = {}")
    rows = [*GOOD, row(ms=-3.0), row(ok=False, ms=None, fail_ms=-1.0), row(ok=False, ms=-3.0, fail_ms=9.0)]
    got = read_telemetry(write(rows), parse_spec(free.replace('arrival = ["ms", "fail_ms"]', "")))
    assert got.rejected == {"cost: negative": 2}
    assert (got.outcomes["cost"] >= 0.0).all()


def test_a_row_keeps_all_its_reasons(write, spec, tmp_path):
    got = read_telemetry(write([*GOOD, row(ms=-3.0, who=None)]), spec, rejected_to=tmp_path)
    expected = ["client: null", "arrival: before the decision", "ms: out of range"]
    assert got.rejected == dict.fromkeys(expected, 1)
    assert pl.read_parquet(tmp_path / "rejected.parquet")["reasons"].to_list() == [expected]


def test_a_value_too_large_for_float32_is_not_finite(write, spec):
    assert read_telemetry(write([*GOOD, row(ms=1e39)]), spec).rejected == {"ms: not finite": 1}


def test_the_rejected_file_is_replaced_and_leaves_nothing_else(write, spec, tmp_path):
    out = tmp_path / "out"
    folder = write([*GOOD, row(ok=None)])
    first = read_telemetry(folder, spec, rejected_to=out)
    again = read_telemetry(folder, spec, rejected_to=out)
    assert first.rejected == again.rejected
    np.testing.assert_array_equal(first.outcomes["cost"], again.outcomes["cost"])
    assert pl.read_parquet(out / "rejected.parquet").height == 1
    read_telemetry(write(), spec, rejected_to=out)
    assert pl.read_parquet(out / "rejected.parquet").height == 0
    assert [file.name for file in out.iterdir()] == ["rejected.parquet"]


def test_one_wrong_time_does_not_reject_the_other_rows(write, spec):
    rows = [row(slice=s, ts=60.0 * s + i) for s in range(6) for i in range(9)]
    far = [row(slice=0, ts=1e12), row(slice=5, ts=-1e12)]
    assert read_telemetry(write([*rows, *far]), spec).rejected == {"time: against the order of slices": 2}


def test_slices_may_overlap_by_less_than_half(write, spec):
    rows = [row(slice=s, ts=60.0 * s + t) for s in range(3) for t in (0, 30, 45, 75)]
    assert read_telemetry(write(rows), spec).rejected == {}


# --- partitions and the slices asked for


def partition(folder, rows, name):
    file = folder / "telemetry" / name / "part-0.parquet"
    file.parent.mkdir(parents=True)
    types = {n: t for n, t in TYPES.items() if n != "slice"} if name.startswith("slice=") else TYPES
    pl.DataFrame(rows, schema=types).write_parquet(file)
    return file


@pytest.fixture
def hive(write):
    """Three partitions by slice in place of the one file."""
    folder = write()
    (folder / "telemetry.parquet").unlink()
    for s in range(3):
        partition(folder, [row(ts=60.0 * s + i) | {"slice": s} for i in range(s + 1)], f"slice={s}")
    return folder


def test_hive_partitions_are_one_telemetry(hive, spec):
    got = read_telemetry(hive, spec)
    assert got.slice.tolist() == [0, 1, 1, 2, 2, 2]
    assert got.rejected == {}


def test_rows_from_until_on_are_not_looked_at(write, spec):
    rows = [*GOOD, row(slice=2, ts=121.0), row(slice=3, ts=NAN, who=99)]
    got = read_telemetry(write(rows), spec, until=2)
    assert got.slice.max() == 1
    assert got.rejected == {}
    assert got.n_read == len(GOOD)


def test_rows_before_start_are_not_looked_at(write, spec):
    got = read_telemetry(write([*GOOD, row(ok=None)]), spec, start=1)
    assert got.slice.tolist() == [1]
    assert got.rejected == {}


def test_a_partition_from_until_on_is_not_even_opened(hive, spec):
    (hive / "telemetry" / "slice=2" / "part-0.parquet").write_bytes(b"poison")
    assert read_telemetry(hive, spec, until=2).slice.tolist() == [0, 1, 1]
    with pytest.raises(DataError, match=r"slice=2.part-0.parquet: expected readable parquet"):
        read_telemetry(hive, spec)


def test_partitions_may_hold_numbers_of_several_widths(hive, spec):
    file = hive / "telemetry" / "slice=1" / "part-0.parquet"
    frame = pl.read_parquet(file, hive_partitioning=False)
    frame.with_columns(pl.col("ms").cast(pl.Int16)).write_parquet(file)
    assert read_telemetry(hive, spec).outcomes["ms"].tolist() == [20.0] * 6


def test_no_partition_in_the_slices_asked_for(hive, spec):
    with pytest.raises(DataError, match="slices from 7 until None, found none"):
        read_telemetry(hive, spec, start=7)


def test_no_row_in_the_slices_asked_for(write, spec):
    with pytest.raises(DataError, match="expected telemetry rows, found none"):
        read_telemetry(write(), spec, start=7)


# --- errors


def test_no_telemetry_at_all(write, spec):
    folder = write()
    (folder / "telemetry.parquet").unlink()
    with pytest.raises(DataError, match=r"expected telemetry.parquet or .*, found neither"):
        read_telemetry(folder, spec)


@pytest.mark.parametrize("table", ["clients.parquet", "nodes.parquet"])
def test_a_missing_table(table, write, spec):
    folder = write()
    (folder / table).unlink()
    with pytest.raises(DataError, match=f"{table}: expected a table with a column 'id', found no such file"):
        read_telemetry(folder, spec)


@pytest.mark.parametrize("column", ["slice", "ts", "who", "box", "ok", "ms", "fail_ms", "kind", "load"])
def test_a_missing_column(column, write, spec):
    folder = write()
    file = folder / "telemetry.parquet"
    pl.read_parquet(file).drop(column).write_parquet(file)
    message = rf"telemetry.parquet: column '{column}': expected .*, found no such column"
    with pytest.raises(DataError, match=message):
        read_telemetry(folder, spec)


@pytest.mark.parametrize(
    ("column", "dtype", "expected"),
    [
        ("slice", pl.String, "an integer"),
        ("ts", pl.String, "a datetime or a number of seconds"),
        ("who", pl.Date, "an integer or a string"),
        ("ok", pl.Int8, "a boolean"),
        ("ms", pl.String, "a number"),
        ("kind", pl.Boolean, "an integer or a string"),
        ("load", pl.Date, "a number"),
    ],
)
def test_a_wrong_type(column, dtype, expected, write, spec):
    folder = write()
    file = folder / "telemetry.parquet"
    pl.read_parquet(file).with_columns(pl.lit(None, dtype).alias(column)).write_parquet(file)
    message = rf"telemetry.parquet: column '{column}': expected {expected}, found {dtype}"
    with pytest.raises(DataError, match=message):
        read_telemetry(folder, spec)


def test_ids_of_another_type_than_the_tables(write, spec):
    message = "column 'who': expected ids of type String as in its table, found UInt16"
    with pytest.raises(DataError, match=message):
        read_telemetry(write(clients=CLIENTS.with_columns(id=pl.Series(["3", "7"]))), spec)


def test_an_empty_telemetry(write, spec):
    with pytest.raises(DataError, match="expected telemetry rows, found none"):
        read_telemetry(write([]), spec)


def test_no_row_left_says_which_rules(write, spec, tmp_path):
    message = r"at least one good row, found 3 bad ones: client: unknown \(2\), ok: null \(1\)"
    with pytest.raises(DataError, match=message):
        read_telemetry(write([row(who=1), row(who=2), row(ok=None)]), spec, rejected_to=tmp_path)
    assert pl.read_parquet(tmp_path / "rejected.parquet").height == 3


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Null])
def test_an_all_null_cost_outcome(dtype, write, spec):
    rows = [row(ms=None, ok=False), row(ms=None, ok=False)]
    with pytest.raises(DataError, match=r"outcome 'ms': expected a value .* found null in all 2 rows"):
        read_telemetry(write(rows, ms=dtype), spec)


WEIGHED = '[utility]\nprice = "{}"\nprice_weight = -1.0\n'
PROFILED = '[utility]\nprice = "{}"\nprofiles = [{{ when = {{ kind = "live" }}, price_weight = -1.0 }}]\n'


@pytest.mark.parametrize("weighed", [WEIGHED, PROFILED])
@pytest.mark.parametrize(("column", "n"), [("price", 2), ("load", 3)])
def test_a_price_that_the_utility_weighs_and_no_node_has(weighed, column, n, write):
    spec = parse_spec(SPEC.replace("[utility]\n", weighed.format(column)))
    nodes, rows = NODES.with_columns(price=pl.lit(None, pl.Float64)), [row(load=None)] * 3
    with pytest.raises(DataError, match=rf"node column '{column}': expected some prices, .* found null in all {n}"):
        read_telemetry(write(rows, nodes=nodes), spec)
    assert len(read_telemetry(write(rows, nodes=nodes), parse_spec(SPEC))) == 3
    assert len(read_telemetry(write([row(), row(load=None)]), spec)) == 2


def test_other_outcomes_may_be_all_null(write, spec):
    got = read_telemetry(write([row()], fail_ms=pl.Null), spec)
    assert np.isnan(got.outcomes["fail_ms"]).all()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (NODES.clear(), "nodes.parquet: expected at least one row, found none"),
        (NODES.drop("id"), "nodes.parquet: column 'id': expected .*, found no such column"),
        (NODES.drop("isp"), "nodes.parquet: column 'isp': expected .*, found no such column"),
        (NODES.with_columns(id=pl.lit("a")), "column 'id': expected every id once, found .*'a'"),
        (NODES.with_columns(id=pl.Series([None, "a"])), "column 'id': expected no null, found 1 nulls"),
        (NODES.with_columns(price=pl.lit("x")), "column 'price': expected a number, found String"),
        (NODES.with_columns(price=pl.lit(-1.0)), r"column 'price': expected finite numbers from 0.*-1\.0"),
        (NODES.with_columns(price=pl.lit(NAN)), r"column 'price': expected finite numbers.*, found nan"),
    ],
)
def test_a_bad_table(table, message, write, spec):
    with pytest.raises(DataError, match=message):
        read_telemetry(write(nodes=table), spec)


@pytest.mark.parametrize(
    "vectors", [pl.Series([[1.0], [2.0, 3.0]]), pl.Series([["x", "y"], ["z", "u"]]), pl.Series([1.0, 2.0])]
)
def test_vectors_of_a_wrong_shape(vectors, write, spec):
    with pytest.raises(DataError, match=r"clients.parquet: column 'spot': expected .*numbers, found"):
        read_telemetry(write(clients=CLIENTS.with_columns(spot=vectors)), spec)


HELD = SPEC.replace("[node]\n", '[node]\nheld = { type = "categories", source = "nodes" }\n')


@pytest.mark.parametrize(
    "held",
    [
        pl.Series([["film", "song"], None]),
        pl.Series([[7, 7], []]),
        pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)),
        pl.Series([None, None]),
        pl.Series([[], None], dtype=pl.List(pl.Null)),
        pl.Series([["film"], []], dtype=pl.List(pl.Categorical)),
        None,
    ],
    ids=["texts", "integers", "an array", "nulls", "empty lists", "categorical texts", "no such column"],
)
def test_sets_may_be_in_the_table_and_are_no_columns_of_rows(held, write):
    nodes = NODES if held is None else NODES.with_columns(held=held)
    got = read_telemetry(write(nodes=nodes), parse_spec(HELD))
    assert sorted(got.nodes.columns) == ["isp", "price"]


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (pl.Series(["film", "song"]), "found String"),
        (pl.Series([[1.5], [2.0]]), r"found List\(Float64\)"),
        (pl.Series([["film", None], []]), "none of them null, found a null in a list"),
    ],
    ids=["no lists", "fractions", "a null"],
)
def test_sets_of_something_else_are_refused(held, found, write):
    with pytest.raises(
        DataError, match=f"nodes.parquet: column 'held': expected a list of integers or strings.*{found}"
    ):
        read_telemetry(write(nodes=NODES.with_columns(held=held)), parse_spec(HELD))


def test_a_file_that_is_no_parquet(write, spec):
    folder = write()
    (folder / "telemetry.parquet").write_bytes(b"who,box\n7,a\n")
    with pytest.raises(DataError, match=r"telemetry.parquet: expected readable parquet, found"):
        read_telemetry(folder, spec)


@pytest.mark.parametrize("table", ["telemetry", "clients", "nodes"])
def test_a_truncated_file(table, write, spec):
    file = write() / f"{table}.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{table}.parquet: expected readable parquet, found"):
        read_telemetry(file.parent, spec)


# --- a plain twin


def twin(rows):
    """What should come out, in plain Python: (time, slice, client, node, cost) of the good rows, in order."""
    good = []
    for r in rows:
        if None in (r["who"], r["box"], r["ok"]) or r["who"] not in (3, 7) or r["box"] not in ("a", "b"):
            continue
        if r["ok"] and r["ms"] is None:
            continue
        if r["ms"] is not None and not 0 <= r["ms"] <= 1000:
            continue
        if not all(low <= (r[n] if r[n] is not None else 0) <= high for n, low, high in BOUNDS):
            continue
        cost = r["ms"] if r["ok"] else max(500.0, r["fail_ms"] or 0.0)
        good.append((r["ts"], r["slice"], (3, 7).index(r["who"]), ("b", "a").index(r["box"]), cost))
    return sorted(good, key=lambda g: g[:4])


BOUNDS = (("fail_ms", 0, 1e300), ("rate", 0, 1e300), ("load", 0, 1))


def test_reading_equals_the_plain_twin(write, spec):
    rng = np.random.default_rng(5)

    def pick(*values):
        return values[rng.integers(len(values))]

    rows = [
        row(
            slice=s,
            ts=60.0 * s + float(rng.integers(60)),
            who=pick(3, 7, 7, None, 9),
            box=pick("a", "b", "b", None, "z"),
            ok=pick(*(True, True, False, None)),
            ms=pick(1.0, 20.0, None, NAN, -1.0, 2000.0),
            fail_ms=pick(None, None, 800.0, math.inf),
            rate=pick(None, 1.0, 5.0, -5.0),
            load=pick(None, 0.0, 1.0, 1.5),
        )
        for s in range(8)
        for _ in range(300)
    ]
    rng.shuffle(rows)
    got = read_telemetry(write(rows), spec)
    found = zip(got.time, got.slice, got.client, got.node, got.outcomes["cost"], strict=True)
    assert [tuple(float(v) for v in g) for g in found] == [tuple(map(float, g)) for g in twin(rows)]


# --- check and identity


def test_check_reports_what_is_there(write, spec):
    folder = write([*GOOD, row(ok=None)])
    report = check_telemetry(folder, spec)
    assert (report.rows, report.accepted, report.rejected) == (6, 5, {"ok: null": 1})
    assert (report.slices, report.first_slice, report.last_slice) == (2, 0, 1)
    assert (report.first_time, report.last_time) == (5.0, 61.0)
    assert (report.clients, report.nodes) == (2, 2)
    ms = report.outcomes["ms"]
    assert (ms.nulls, ms.min, ms.median, ms.max) == (2, 20, 20, 30)
    assert report.data_id == data_id(folder)


def test_an_outcome_never_measured_is_reported_as_nan(write, spec):
    report = check_telemetry(write([row()]), spec)
    assert report.outcomes["fail_ms"].nulls == 1
    assert math.isnan(report.outcomes["fail_ms"].median)


def test_progress_is_told_of_every_step(write, spec):
    told = []
    read_telemetry(write(), spec, progress=lambda done, of: told.append((done, of)))
    assert told == [(i, 4) for i in range(1, 5)]


def test_data_id_depends_on_names_and_contents_only(write, tmp_path):
    folder = write()
    before = data_id(folder)
    assert len(before) == 64
    (folder / "rejected.parquet").write_bytes(b"no part of the data")
    assert data_id(folder) == before
    moved = folder.rename(tmp_path.with_name("moved"))
    assert data_id(moved) == before
    nodes = moved / "nodes.parquet"
    nodes.write_bytes(nodes.read_bytes() + b"\0")
    assert data_id(moved) != before


def test_a_table_is_part_of_the_data_where_there_is_one(write):
    folder = write()
    before = data_id(folder)
    (folder / "nodes.parquet").unlink()
    assert data_id(folder) != before


def test_seattle_is_read_whole(shared_data):
    got = read_telemetry(shared_data / "seattle", load_spec(SPECS / "seattle.toml"), until=24)
    assert len(got) == 24 * 99 * 98
    assert got.rejected == {}
    raw = pl.read_parquet(shared_data / "seattle" / "telemetry.parquet").filter(pl.col("slice") < 24)
    assert got.outcomes["rtt_ms"].tolist() == raw["rtt_ms"].to_list()
    assert got.node.tolist() == raw["node_id"].to_list()
