"""A category column named ``id`` from the table of clients or nodes is the id itself, without being told."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from scheduler import InputError
from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.id_table import IdTable
from scheduler.columns.ids import id_key
from scheduler.columns.schema import Schema
from scheduler.engine.request_codec import RequestCodec
from scheduler.spec import Column, load_spec

SPECS = Path(__file__).resolve().parents[3] / "models" / "specs"
COLUMNS = {"load": Column(), "id": Column(type="category", source="nodes"), "isp": Column(type="category")}
SCHEMA = Schema(COLUMNS)
KEY = SCHEMA.key_columns["id"]


def new(**columns):
    return IdTable(Schema(COLUMNS | columns), "ids")


def test_new_rows_get_their_id_as_the_column():
    table = new()
    table.upsert([7, "box", 9], {"load": [1, 2, 3]})
    slots = table.slots([7, "box", 9])
    assert table.columns.keys[slots, KEY].tolist() == [id_key(7), id_key("box"), id_key(9)]
    assert table.columns.keys[slots, KEY].tolist() == table.columns.keys[slots, 0].tolist()


def test_what_the_caller_gives_stands_and_stays():
    table = new()
    table.upsert([1, 2], {"id": ["box", None]})
    slots = table.slots([1, 2])
    table.upsert([1, 2, 3], {"load": [1, 2, 3]})
    assert table.columns.keys[slots, KEY].tolist() == [id_key("box"), MISSING_KEY]


def test_a_row_in_a_slot_used_before_gets_its_own_id():
    table = new()
    table.upsert([7], {})
    table.remove([7])
    table.upsert(["box"], {})
    (slot,) = table.slots(["box"])
    assert table.columns.keys[slot, KEY] == id_key("box")


@pytest.mark.parametrize("column", [Column(type="category"), Column(source="nodes")], ids=["telemetry's", "a number"])
def test_another_column_of_that_name_is_left_missing(column):
    table = new(id=column)
    table.upsert([7], {})
    (slot,) = table.slots([7])
    assert np.isnan(table.columns.values[slot]).all()
    assert table.columns.keys[slot, 1:].tolist() == [MISSING_KEY] * (table.schema.n_keys - 1)


def test_wrong_input_still_changes_nothing():
    table = new()
    with pytest.raises(InputError):
        table.upsert([7, 8], {"load": [1, "x"]})
    assert len(table) == 0
    assert (table.columns.keys == MISSING_KEY).all()


def test_a_request_of_an_unknown_client_carries_its_id_too():
    clients = new()
    clients.upsert([7], {"isp": ["north"]})
    rows = RequestCodec(clients.schema, "who").rows({"who": [7, "box", 9]}, clients)
    assert rows.keys[:, KEY].tolist() == [id_key(7), id_key("box"), id_key(9)]


def test_a_request_that_gives_the_column_goes_before():
    rows = RequestCodec(SCHEMA, "who").rows({"who": [7, 8], "id": ["box", None]}, new())
    assert rows.keys[:, KEY].tolist() == [id_key("box"), MISSING_KEY]


@pytest.mark.parametrize("name", ["wsdream2", "hbrp"])
def test_the_shipped_specs_need_only_the_clients_id(name):
    spec = load_spec(SPECS / f"{name}.toml")
    schema = Schema(spec.request)
    codec = RequestCodec(schema, spec.telemetry.client)
    rows = codec.rows({spec.telemetry.client: [17, "paris"]}, IdTable(schema, "client ids"))
    assert rows.keys[:, schema.key_columns["id"]].tolist() == [id_key(17), id_key("paris")]
    assert msgspec.structs.asdict(spec.request["id"])["source"] == "clients"
