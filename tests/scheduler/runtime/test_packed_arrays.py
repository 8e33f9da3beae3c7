"""Arrays handed over as one address: what kernels see is what was packed."""

import copy
import pickle
from typing import NamedTuple

import numpy as np
import pytest
from numba import typeof

from scheduler.runtime.jit import kernel
from scheduler.runtime.packed_arrays import PackedArrays, PackedType, unpack_arrays


class Inner(NamedTuple):
    row: np.ndarray
    table: np.ndarray
    flag: bool
    scale: float


class Outer(NamedTuple):
    inner: Inner
    same: tuple[np.ndarray, np.ndarray]
    empty: np.ndarray
    count: int


@kernel
def add_up(packed, out):
    outer = unpack_arrays(packed)
    inner = outer.inner
    out[0] = outer.count + inner.scale * inner.flag + outer.empty.size + outer.same[1][1]
    for i in range(inner.table.shape[0]):
        for j in range(inner.table.shape[1]):
            out[0] += inner.table[i, j] * inner.row[j]
    inner.row[0] += 1


def make(n, step):
    table = np.arange(2.0 * n * step).reshape(n, 2 * step)[:, ::step]
    table.flags.writeable = False
    inner = Inner(np.ones(2 * step)[::step], table, flag=True, scale=0.5)
    return Outer(inner, (np.zeros(2), np.arange(2.0)), np.empty((0, 3), np.int8), 7)


def result(argument):
    out = np.zeros(1)
    add_up(argument, out)
    return out[0]


@pytest.mark.slow
def test_kernels_see_what_was_packed_and_write_into_it():
    for n, step in ((0, 2), (1, 2), (5, 3)):
        outer = make(n, step)
        packed, plain = PackedArrays(outer), result(make(n, step))
        assert result(packed) == plain == 8.5 + outer.inner.table.sum()
        assert outer.inner.row.tolist() == [2.0, 1.0]
        assert packed.content is outer


KINDS = {
    "contiguous": np.zeros((4, 4)),
    "columns first": np.zeros((4, 4), order="F"),
    "strided": np.zeros((4, 8))[:, ::2],
    "read-only": np.broadcast_to(np.float64(1.0), (4, 4)),
    "one column": np.zeros((4, 1)),
    "unaligned": np.frombuffer(bytes(4 * 4 * 8 + 1), np.uint8)[1:].view(np.float64).reshape(4, 4),
    "single": np.zeros((4, 4), np.float32),
    "rows": np.zeros(4, [("a", "i4"), ("b", "f8")]),
    "no dimension": np.zeros(()),
    "flag": True,
    "small": 1,
    "numpy's": np.int32(1),
    "tuple": (np.zeros(2), 1),
    "tuple of others": (np.zeros(2, np.float32), 1.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_type_that_was_met_before_is_the_one_that_numba_finds(kind):
    for _ in range(2):
        for other in (kind, "contiguous", "small"):
            content = Outer(KINDS[other], KINDS["strided"], KINDS[other], KINDS["flag"])
            assert typeof(PackedArrays(content)) == PackedType(typeof(content))


def test_others_of_the_same_types_run_the_same_code():
    first, second = PackedArrays(make(1, 2)), PackedArrays(make(9, 2))
    before = result(first), result(second)
    assert before[0] != before[1]
    signatures = len(getattr(add_up, "signatures", ()))
    assert result(PackedArrays(make(9, 2))) == before[1]
    assert len(getattr(add_up, "signatures", ())) == signatures


def test_a_copy_is_packed_anew_and_does_not_read_the_memory_of_the_original():
    original = PackedArrays(make(2, 2))
    for other in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):  # noqa: S301 - our own bytes
        assert result(other) == result(PackedArrays(make(2, 2)))
        other.content.inner.row[:] = 0.0
        assert result(other) < result(PackedArrays(make(2, 2)))
    assert result(original) == result(PackedArrays(make(2, 2)))
