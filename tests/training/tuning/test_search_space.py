"""What is varied: the spec's own values are within reach, and values land where training reads them."""

import msgspec
import pytest

from scheduler.errors import InputError
from tests.evaluation_world import SPEC
from training.tuning.search_space import LIGHTGBM, TRAINING, own_values, search_space, with_values


def training(**changes):
    return msgspec.structs.replace(SPEC, training=msgspec.structs.replace(SPEC.training, **changes))


def test_everything_is_varied_by_default_and_a_part_where_asked():
    assert search_space(SPEC).keys() == {*LIGHTGBM, *TRAINING}
    assert list(search_space(SPEC, ["reveal", "num_leaves"])) == ["num_leaves", "reveal"]


def test_an_unknown_name_is_refused_and_the_known_ones_are_named():
    with pytest.raises(InputError, match=r"^only: expected some of num_leaves, .*, reveal, found leaves, speed$"):
        search_space(SPEC, ["leaves", "reveal", "speed"])


def test_ranges_are_widened_to_hold_what_the_spec_says():
    spec = training(reveal=0.37, rounds=7, lightgbm={"num_leaves": 4, "learning_rate": 0.9, "lambda_l2": 300.0})
    space = search_space(spec)
    assert 0.37 in space["reveal"].values
    assert list(space["reveal"].values) == sorted(space["reveal"].values)
    assert (space["num_leaves"].low, space["num_leaves"].high) == (4, 64)
    assert (space["learning_rate"].high, space["lambda_l2"].high, space["rounds"].low) == (0.9, 300.0, 7)


def test_the_first_point_is_the_spec_itself():
    spec = training(reveal=0.2, rounds=77, lightgbm={"num_leaves": 9, "min_data_in_leaf": 30})
    values = own_values(spec, search_space(spec))
    assert (values["reveal"], values["rounds"], values["num_leaves"], values["min_data_in_leaf"]) == (0.2, 77, 9, 30)
    assert values["learning_rate"] == 0.1  # what training takes where the spec says nothing


def test_no_regularisation_counts_as_its_least_value_because_a_logarithm_has_no_zero():
    values = own_values(training(lightgbm={"lambda_l2": 0.0}), LIGHTGBM)
    assert values["lambda_l2"] == LIGHTGBM["lambda_l2"].low


def test_a_parameter_that_is_0_stays_0_so_that_the_first_point_is_the_spec():
    spec = training(lightgbm={"min_data_in_leaf": 0, "cat_smooth": 0.0})
    space = search_space(spec)
    assert {*LIGHTGBM, *TRAINING} - space.keys() == {"min_data_in_leaf", "cat_smooth"}
    assert with_values(spec, own_values(spec, space)).training.lightgbm.items() >= spec.training.lightgbm.items()
    with pytest.raises(
        InputError, match=r"^only: expected parameters that are above 0 in the spec, found cat_smooth of"
    ):
        search_space(spec, ["num_leaves", "cat_smooth"])


def test_values_go_where_training_reads_them_and_the_rest_stays():
    spec = training(lightgbm={"num_leaves": 9, "max_bin": 63})
    tuned = with_values(spec, {"num_leaves": 40, "feature_fraction": 0.5, "reveal": 0.5, "rounds": 80})
    assert tuned.training.lightgbm == {"num_leaves": 40, "max_bin": 63, "feature_fraction": 0.5}
    assert (tuned.training.reveal, tuned.training.rounds) == (0.5, 80)
    assert tuned.fingerprint() == spec.fingerprint()
    assert spec.training.lightgbm == {"num_leaves": 9, "max_bin": 63}


def test_no_value_can_make_a_tree_that_a_forest_cannot_hold():
    assert LIGHTGBM["num_leaves"].high == 64
