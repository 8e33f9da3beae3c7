"""Too little memory, in whatever library it shows, is one line that says what was too large."""

import errno

import lightgbm as lgb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from scheduler.errors import DataError, RegistryError
from scheduler.model.mlflow_client import registry_call
from tests.small_world import fogline
from training.memory_errors import describe_shortage, is_shortage
from training.telemetry.tables import naming

TOO_LARGE = 2**48


def allocate_array(*_, **__):
    return np.zeros((TOO_LARGE, 8))


def allocate_list(*_, **__):
    return [None] * TOO_LARGE


def say(error):
    """Return a function that raises an error, as libraries do that cannot be brought to it here."""

    def raises(*_, **__):
        raise error

    return raises


class KilledWorker(Exception):  # noqa: N818 - Dask's name
    """Dask's error, which needs a cluster."""


SHORT = {
    "numpy": (allocate_array, "Unable to allocate 16.0 PiB for an array with shape (281474976710656, 8)"),
    "numpy, past what numbers of bytes can say": (lambda *_, **__: np.zeros(2**61), "found too little: "),
    "Python": (allocate_list, "nothing more could be allocated"),
    "Polars": (say(pl.exceptions.ComputeError("memory allocation of 12884901888 bytes failed")), "12884901888 bytes"),
    "a panic in Polars": (say(pl.exceptions.PanicException("out of memory")), "out of memory"),
    "Arrow": (say(pa.lib.ArrowMemoryError("malloc of size 99 failed")), "malloc of size 99 failed"),
    "LightGBM": (say(lgb.basic.LightGBMError("std::bad_alloc")), "std::bad_alloc"),
    "the system": (say(OSError(errno.ENOMEM, "Cannot allocate memory")), "Cannot allocate memory"),
    "workers": (say(KilledWorker("replay-1")), "workers of the cluster died over and over"),
}


@pytest.mark.parametrize(("work", "said"), SHORT.values(), ids=SHORT)
def test_too_little_memory_is_one_line_and_exit_code_1(work, said, small_world, monkeypatch, capfd):
    monkeypatch.setattr("training.telemetry.check.read_telemetry", work)
    ran = fogline(capfd, "check", small_world.data, "--spec", small_world.spec_file, "--json")
    assert ran.code == 1
    assert ran.json["error"]["type"] == "MemoryError"
    message = ran.json["error"]["message"]
    assert ran.err == f"fogline: {message}\n"
    assert "\n" not in message
    assert message.startswith("memory: expected enough for training.telemetry.check.check_telemetry, at `telemetry = ")
    assert said in message


def test_another_error_is_no_shortage():
    assert not is_shortage(ValueError("array is too small"))
    assert not is_shortage(DataError("clients.parquet: expected text, found out of memory"))


def test_reading_without_memory_does_not_blame_the_file(tmp_path):
    with pytest.raises(MemoryError, match=r"bad_alloc, in reading .*nodes.parquet"), naming(tmp_path / "nodes.parquet"):
        raise pl.exceptions.ComputeError("bad_alloc")


def test_a_registry_is_not_blamed_for_the_memory_of_this_process():
    with pytest.raises(MemoryError), registry_call("sqlite://", "a version"):
        raise MemoryError


def test_what_was_raised_from_a_shortage_is_one():
    error = RegistryError("expected a version")
    error.__cause__ = MemoryError("Unable to allocate 3 GiB")
    assert is_shortage(error)
    assert "Unable to allocate 3 GiB" in describe_shortage(error)
