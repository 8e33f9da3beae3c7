"""Slices, half-lives and jumps that a draft chooses."""

import numpy as np
import polars as pl
import pytest

from training.draft.jumps import find_jumps
from training.draft.times import duration_text, find_change, find_slices, nice_duration

HOUR = 3_600.0


def matrix(n_rounds, gap, values):
    """Return a full matrix of 6 clients and 10 nodes a round; ``values(round, client, node)`` are costs."""
    at, client, node = np.meshgrid(np.arange(n_rounds), np.arange(6), np.arange(10), indexing="ij")
    cost = values(at, client, node)
    columns = {"@time": at * gap, "@client": client, "@node": node, "@cost": np.broadcast_to(cost, at.shape)}
    return pl.DataFrame({name: column.ravel() for name, column in columns.items()})


def scattered(n, hours, seed=0):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "@time": np.sort(rng.uniform(0.0, hours * HOUR, n)),
            "@client": rng.integers(0, 6, n),
            "@node": rng.integers(0, 30, n),
            "@cost": rng.normal(3.0, 1.0, n),
        }
    )


def test_what_is_measured_in_rounds_has_a_slice_for_each():
    slices = find_slices(matrix(40, 900.0, lambda *_: 1.0))
    assert (slices.seconds, slices.n, slices.nodes, slices.origin) == (900.0, 40, 10.0, 0.0)


@pytest.mark.parametrize(("n", "hours"), [(1_000, 1.0), (20_000, 24.0), (50_000, 24.0 * 365)])
def test_a_course_of_times_has_slices_of_a_length_that_people_use(n, hours):
    slices = find_slices(scattered(n, hours))
    assert 20 <= slices.n <= 202
    assert slices.seconds in (10, 15, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 172_800, 604_800, 1_209_600)


def test_more_rows_allow_shorter_slices():
    few, many = (find_slices(scattered(n, 24.0)) for n in (3_000, 60_000))
    assert many.seconds < few.seconds
    assert many.nodes >= 10


def test_the_evaluation_begins_after_most_rows_and_leaves_slices_to_train_on():
    slices = find_slices(scattered(20_000, 24.0))
    assert 0.65 * slices.n <= slices.start <= 0.75 * slices.n
    early = scattered(20_000, 1.0).vstack(scattered(100, 24.0)).sort("@time")
    late = find_slices(early)
    assert 10 <= late.start < late.n


def test_nodes_that_change_fast_have_short_half_lives():
    rng = np.random.default_rng(0)
    fast = rng.normal(size=(96, 10)).cumsum(axis=0)
    fast -= np.stack([np.convolve(one, np.ones(6) / 6, mode="same") for one in fast.T], axis=1)  # it comes back soon
    slow = np.linspace(0.0, 3.0, 96)[:, None] * rng.normal(size=10)
    found = [
        find_change(rows, find_slices(rows))
        for rows in (matrix(96, 900.0, lambda r, _c, n, level=level: level[r, n]) for level in (fast, slow))
    ]
    assert found[0].memory is not None
    assert found[0].memory <= 6 * 900.0
    assert found[0].half_lives[0] <= found[1].half_lives[0]
    for change in found:
        assert list(change.half_lives) == sorted(change.half_lives)
        assert change.half_lives[-1] <= 24.0 * HOUR / 2


def test_values_that_hold_and_jump_together_are_jumps():
    rng = np.random.default_rng(1)
    epoch = np.arange(240) // 6  # every six rounds, each client at another one
    levels = rng.normal(4.0, 1.0, (60, 6, 10))
    rows = matrix(240, 900.0, lambda r, c, n: levels[epoch[(r + c) % 240] + (r + c) // 240, c, n])
    jumps = find_jumps(rows, find_slices(rows))
    assert jumps.length == 6 * 900.0
    assert jumps.shape >= 6
    assert jumps.same < 0.2


def test_values_that_drift_or_change_one_by_one_are_none():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(60, 6, 10))
    drifting = matrix(60, 900.0, lambda r, c, n: noise[r, c, n])
    assert find_jumps(drifting, find_slices(drifting)) is None
    alone = np.where(rng.random((60, 6, 10)) < 0.1, noise, np.nan)
    held = alone.copy()
    held[0] = noise[0]
    for r in range(1, 60):
        held[r] = np.where(np.isnan(held[r]), held[r - 1], held[r])
    singly = matrix(60, 900.0, lambda r, c, n: held[r, c, n])
    assert find_jumps(singly, find_slices(singly)) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (90.0, "1.5m"),
        (600.0, "10m"),
        (4_500.0, "75m"),
        (21_600.0, "6h"),
        (172_800.0, "2d"),
        (0.25, "0.25s"),
        (7.0, "7s"),
    ],
)
def test_durations_are_written_as_a_spec_has_them(seconds, text):
    from scheduler.spec import seconds as read  # noqa: PLC0415 - beside what it checks

    assert duration_text(seconds) == text
    assert read(text) == seconds


def test_half_lives_are_rounded_to_what_people_say():
    assert [nice_duration(value) for value in (1.0, 100.0, 1_234.0, 4_000.0, 100_000.0)] == [
        1.0, 90.0, 1_260.0, 3_600.0, 86_400.0,
    ]  # fmt: skip
