"""Ranges cover all slices once, and rows come back from files as they went."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation_world import telemetry
from training.distributed import slice_ranges as under_test
from training.distributed.slice_ranges import from_frame, plan_ranges, to_frame
from training.telemetry import Categories

COUNTS = st.dictionaries(st.integers(0, 500), st.integers(1, 3_000_000), min_size=1, max_size=40)


@given(COUNTS, st.one_of(st.none(), st.integers(501, 600)))
def test_windows_cover_all_slices_once_and_in_order(counts, until):
    counts = dict(sorted(counts.items()))
    ranges = plan_ranges(counts, until)
    assert [w.number for w in ranges] == list(range(len(ranges)))
    assert (ranges[0].start, ranges[-1].until) == (None, until)
    assert all(a.until == b.start for a, b in pairwise(ranges))
    starts = [w.start for w in ranges[1:]]
    assert starts == sorted(set(starts))


@given(COUNTS)
def test_a_window_is_closed_by_the_slice_that_fills_it(counts):
    counts = dict(sorted(counts.items()))
    ranges = plan_ranges(counts, None)
    for one in ranges[:-1]:
        low = -1 if one.start is None else one.start
        inside = [n for s, n in counts.items() if low <= s < one.until]
        assert sum(inside) >= under_test.RANGE_ROWS > sum(inside[:-1])


def test_workers_of_one_number_write_a_part_apart_and_an_error_leaves_nothing(tmp_path, monkeypatch):
    frame, file, used = pl.DataFrame({"row": [1, 2]}), tmp_path / "part" / "000001.arrow", []
    put, write = under_test._write, pl.DataFrame.write_ipc  # noqa: SLF001 - what a task of a worker writes

    def write_twice(frame, part, **options):
        """Begin to write, and let another worker with this process's number write the same meanwhile."""
        used.append(part)
        write(frame, part, **options)
        if len(used) == 1:
            put(frame, file)

    monkeypatch.setattr(pl.DataFrame, "write_ipc", write_twice)
    put(frame, file)
    assert len(set(used)) == 2
    assert pl.read_ipc(file).equals(frame)
    assert list(file.parent.iterdir()) == [file]

    def fill(_, part, **_options):
        part.write_bytes(b"AR")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_ipc", fill)
    with pytest.raises(OSError, match="No space"):
        put(frame, file)
    assert list(file.parent.iterdir()) == [file]


def test_rows_come_back_as_they_went():
    rows = telemetry(300)
    frame = to_frame(rows)
    meaning = {"request.kind": rows.request["kind"].values}
    back = from_frame(frame, rows.clients, rows.nodes, meaning)
    for name in ("time", "arrival", "slice", "client", "node", "ok"):
        np.testing.assert_array_equal(getattr(back, name), getattr(rows, name))
    assert list(back.outcomes) == list(rows.outcomes)
    for name, values in rows.outcomes.items():
        np.testing.assert_array_equal(back.outcomes[name], values)
    for ours, theirs in ((back.request, rows.request), (back.node_state, rows.node_state)):
        assert list(ours) == list(theirs)
        for name, column in theirs.items():
            if isinstance(column, Categories):
                assert ours[name].values == column.values
                np.testing.assert_array_equal(ours[name].codes, column.codes)
            else:
                np.testing.assert_array_equal(ours[name], column)
