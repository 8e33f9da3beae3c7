"""Memory that is touched is there, and holds what it held."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from scheduler.history.store import new_history, touch_history
from scheduler.runtime.touch import LARGE_PAGE_WORDS, PAGE_WORDS, touch
from tests import models

STATM = Path("/proc/self/statm")
WORDS = 1 << 22


def resident():
    return int(STATM.read_bytes().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(not STATM.exists(), reason="this system does not say how much memory is there")
def test_touched_memory_is_resident():
    """An addition of 0 was compiled to a read, for which no memory is handed out."""
    fresh = mmap.mmap(-1, 8 * WORDS)  # an array of zeros may stand in memory that was used before
    words = np.frombuffer(fresh, np.int64)
    touch(words, 0, 1, PAGE_WORDS)
    before = resident()
    touch(words, 0, WORDS, PAGE_WORDS)
    assert resident() - before > 0.9 * words.nbytes


@pytest.mark.parametrize("step", [1, PAGE_WORDS, LARGE_PAGE_WORDS])
def test_touched_memory_is_unchanged(step):
    words = np.random.default_rng(0).integers(-3, 3, WORDS)
    kept = words.copy()
    touch(words, 0, WORDS, step)
    np.testing.assert_array_equal(words, kept)


def test_tables_of_history_are_as_they_were():
    history = new_history(models.spec(models.EXTENDED))
    history.rows[:] = np.random.default_rng(0).random(history.rows.shape)
    kept = history.rows.copy()
    touch_history(history)
    np.testing.assert_array_equal(history.rows, kept)
    assert not history.keys.any()
