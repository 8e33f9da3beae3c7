"""Records are judged from where neither training nor tuning of the model has seen them."""

import pytest

from scheduler import Model
from tests import models
from training.pipeline.off_policy import unseen_since

WINDOW = {"last_slice": 19, "first_judged_slice": 18, "seen_until": 2_075.0}


def since(folder, window, *, column=True, time=True):
    text = models.SPEC if column else models.SPEC.replace('column = "slice", ', "origin = 500.0, ")
    text = text if time else text.replace('time = "t"\n', "")
    return unseen_since(Model.load(models.write_small(folder / "small", text, window=window)))


def test_slices_that_a_column_numbers_are_compared_by_the_time_that_the_artifact_says(tmp_path):
    found = since(tmp_path, WINDOW)
    assert found > 2_075.0
    assert found == pytest.approx(2_075.0)


def test_slices_that_follow_from_times_need_no_such_time(tmp_path):
    old = {name: value for name, value in WINDOW.items() if name != "seen_until"}
    assert since(tmp_path, old, column=False) == 500.0 + 18 * 60.0


def test_it_is_unknown_of_an_artifact_that_does_not_say_it_and_of_telemetry_without_times(tmp_path):
    assert since(tmp_path / "old", {"last_slice": 19}) is None
    assert since(tmp_path / "none", {}, column=False) is None
    assert since(tmp_path / "timeless", {"last_slice": 19}, time=False) is None
