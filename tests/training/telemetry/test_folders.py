"""Columns that stand in the names of folders: read by the spec's types and the tables', and held against the files."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scheduler.errors import DataError
from scheduler.spec import parse_spec
from tests.training.telemetry.test_many_files import CLIENTS, NODES, ROWS, SPEC, same, write
from training.telemetry import read_telemetry
from training.telemetry.files.partitions import NULL, partitions

CODES = ROWS.with_columns(kind=pl.col("kind").replace({"live": "0132", "vod": "7018"}))


def parted(folder, by, rows=CODES, *, keep=False, names=None, **tables):
    """Write rows into a folder for each value of some columns; ``names`` are other texts for values."""
    write(folder, [], **tables)
    for values, part in rows.group_by(by, maintain_order=True):
        texts = [f"{name}={(names or {}).get(v, v)}" for name, v in zip(by, values, strict=True)]
        file = Path(folder, "telemetry", *texts, "part.parquet")
        file.parent.mkdir(parents=True)
        (part if keep else part.drop(by)).write_parquet(file)
    return folder


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (["kind"], {}),
        (["slice", "kind"], {}),
        (["slice"], {k: f"{k:05}" for k in range(4)}),
        (["rate"], {None: NULL}),
        (["ok"], {True: "true", False: "False"}),
        (["who"], {}),
        (["who", "box"], {1: "01"}),
        (["ts"], {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("keep", [False, True], ids=["folders alone", "columns too"])
def test_folders_are_read_as_the_column_would_be(by, names, keep, tmp_path):
    spec = parse_spec(SPEC)
    got = read_telemetry(parted(tmp_path / "parted", by, keep=keep, names=names), spec, rejected_to=tmp_path / "out")
    same(got, read_telemetry(write(tmp_path / "one", [CODES]), spec))
    assert got.request["kind"].values == ("0132", "7018")


@pytest.mark.parametrize("text", ["007", "1e3", "2024-01-01", "true", "null", "+5", "-0", "0x10", "1_000", "a=b"])
def test_a_text_in_a_folder_s_name_stays_as_it_is_written(text, tmp_path):
    folder = parted(tmp_path, ["kind"], names={"0132": text})
    assert text in read_telemetry(folder, parse_spec(SPEC)).request["kind"].values


def test_signs_that_writers_escape_are_read_back(tmp_path):
    folder = parted(tmp_path, ["kind"], names={"0132": "a%2Fb%20c%3D", "7018": "é"})
    assert read_telemetry(folder, parse_spec(SPEC)).request["kind"].values == ("a/b c=", "é")


def test_what_polars_writes_is_read_back(tmp_path):
    rows = CODES.with_columns(kind=pl.col("kind").replace({"0132": "0132 a/b", "7018": None}))
    write(tmp_path / "parted", [])
    rows.write_parquet(tmp_path / "parted" / "telemetry", partition_by=["slice", "kind"])
    spec = parse_spec(SPEC)
    same(read_telemetry(tmp_path / "parted", spec), read_telemetry(write(tmp_path / "one", [rows]), spec))


def test_texts_of_ids_keep_their_zeros(tmp_path):
    rows = CODES.with_columns(who=pl.format("00{}", "who"))
    clients = CLIENTS.with_columns(id=pl.format("00{}", "id"))
    got = read_telemetry(parted(tmp_path, ["who"], rows, clients=clients), parse_spec(SPEC))
    assert got.rejected == {}
    assert len(got) == 24


def test_folders_above_the_telemetry_say_nothing_of_it(tmp_path):
    folder = parted(tmp_path / "kind=other" / "rate=fast", ["kind"])
    assert read_telemetry(folder, parse_spec(SPEC)).request["kind"].values == ("0132", "7018")


def test_one_part_may_have_folders_and_another_the_column(tmp_path):
    folder = parted(tmp_path / "mixed", ["kind"], CODES[:12])
    CODES[12:].write_parquet(folder / "telemetry" / "rest.parquet")
    spec = parse_spec(SPEC)
    same(read_telemetry(folder, spec), read_telemetry(write(tmp_path / "one", [CODES]), spec))


# --- integers, where something but the path says so

INTEGERS = CODES.with_columns(kind=pl.col("kind").cast(pl.Int64))
COMPARED = SPEC.replace("[heads.", 'of = { op = "equal", request = "kind", node = "home" }\n[heads.', 1)
TIER = SPEC + '[candidates]\ntiers = [{ name = "near", match = { kind = "home" } }]\n'
HOMES = {"clients": CLIENTS.with_columns(home=pl.lit(132)), "nodes": NODES.with_columns(home=pl.lit(132))}


@pytest.mark.parametrize("text", [COMPARED, TIER], ids=["feature", "tier"])
def test_a_folder_is_of_integers_where_a_table_s_column_it_is_compared_with_is(text, tmp_path):
    folder = parted(tmp_path, ["kind"], **HOMES)
    assert read_telemetry(folder, parse_spec(text)).request["kind"].values == (132, 7018)


def test_a_folder_is_of_integers_where_another_file_s_column_is(tmp_path):
    folder = parted(tmp_path / "mixed", ["kind"], CODES[:12])
    INTEGERS[12:].write_parquet(folder / "telemetry" / "rest.parquet")
    assert read_telemetry(folder, parse_spec(SPEC)).request["kind"].values == (132, 7018)


def test_a_folder_is_of_integers_where_a_profile_says_so(tmp_path):
    text = SPEC + "[[utility.profiles]]\nwhen = { kind = 7018 }\nheads = { latency = -2.0 }\n"
    assert read_telemetry(parted(tmp_path, ["kind"]), parse_spec(text)).request["kind"].values == (132, 7018)


# --- errors


@pytest.mark.parametrize(
    ("by", "names", "message"),
    [
        ("slice", {0: "first"}, r"slice=first/part.parquet: folder of column 'slice': expected an integer of 64 bits"),
        ("slice", {0: "0.0"}, r"folder of column 'slice': expected an integer of 64 bits, found '0.0'"),
        ("rate", {100.0: "fast"}, r"rate=fast/part.parquet: folder of column 'rate': expected a number, found 'fast'"),
        (
            "who",
            {1: "one"},
            r"who=one/part.parquet: folder of column 'who': expected an integer of 64 bits",
        ),
        ("ok", {True: "1"}, r"folder of column 'ok': expected true or false, found '1'"),
        ("ts", {1_704_067_200.0: "noon"}, r"folder of column 'ts': expected a datetime or a number of seconds"),
    ],
)
def test_a_folder_that_is_not_of_the_spec_s_type_is_named(by, names, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_telemetry(parted(tmp_path, [by], names={None: NULL} | names), parse_spec(SPEC))


@pytest.mark.parametrize(
    ("by", "names", "found"),
    [
        ("kind", {"0132": "132"}, "expected '132' as the folder's name says, found '0132'"),
        ("slice", {2: "7"}, "expected 7 as the folder's name says, found 2"),
        ("rate", {400.0: "40"}, "expected 40.0 as the folder's name says, found 400.0"),
        ("ok", {False: "true"}, "expected True as the folder's name says, found False"),
        ("who", {3: NULL}, "expected None as the folder's name says, found 3"),
    ],
)
def test_a_folder_and_a_column_that_differ_are_an_error(by, names, found, tmp_path):
    folder = parted(tmp_path, [by], CODES.drop_nulls("rate"), keep=True, names=names)
    with pytest.raises(DataError, match=rf"{by}={next(iter(names.values()))}.*: column '{by}': {found}"):
        read_telemetry(folder, parse_spec(SPEC))


def test_one_wrong_row_among_many_files_is_found(tmp_path):
    folder = parted(tmp_path, ["slice", "kind"], keep=True)
    file = folder / "telemetry" / "slice=2" / "kind=0132" / "part.parquet"
    rows = pl.read_parquet(file, hive_partitioning=False)
    wrong = pl.when(pl.int_range(pl.len()) == 1).then(pl.lit("7018")).otherwise("kind")
    rows.with_columns(kind=wrong).write_parquet(file)
    with pytest.raises(DataError, match=r"slice=2/kind=0132.*'kind': expected '0132' as the .*, found '7018'"):
        read_telemetry(folder, parse_spec(SPEC))


def test_float32_columns_hold_what_their_folders_say_as_exactly_as_they_can(tmp_path):
    rows = CODES.with_columns(rate=(pl.col("slice") / 10 + 0.1).cast(pl.Float32))
    names = {np.float32(k / 10 + 0.1).item(): f"{k / 10 + 0.1:.1f}" for k in range(4)}
    got = read_telemetry(parted(tmp_path, ["rate"], rows, keep=True, names=names), parse_spec(SPEC))
    assert len(got) == 24


def test_two_folders_for_one_column_are_refused():
    with pytest.raises(DataError, match="expected one folder for column 'kind', found two"):
        partitions(Path("/data/telemetry/kind=a/kind=b/part.parquet"), Path("/data/telemetry"))
