"""LightGBM's parameters in a spec: aliases count, and nothing is ignored, changed or misspelled without a word."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightgbm.basic import _ConfigAliases

from scheduler.errors import SpecError
from tests.evaluation_world import SPEC, telemetry
from tests.small_world import fogline, spec_text
from training.heads.lightgbm_catalog import CHOICES, CONDITIONS, FIXED, LOGISTIC_ONLY, NEUTRAL, TREE_PARAMETERS
from training.heads.lightgbm_params import head_params, resolve_lightgbm, used_params
from training.pipeline.train import train_model
from training.tuning.folds import time_folds
from training.tuning.objective import Judge
from training.tuning.search_space import LIGHTGBM, own_values, search_space, with_values
from training.tuning.tune import TuningOptions, tune


def spec(training=None, *, failure=None, latency=None):
    """The tiny spec with LightGBM parameters of all heads and of each."""
    heads = {
        name: msgspec.structs.replace(SPEC.heads[name], lightgbm=params or {})
        for name, params in (("failure", failure), ("latency", latency))
    }
    settings = msgspec.structs.replace(SPEC.training, rounds=4, lightgbm=training or {})
    return msgspec.structs.replace(SPEC, training=settings, heads=heads)


def refusal(*args, **heads) -> str:
    with pytest.raises(SpecError) as caught:
        resolve_lightgbm(spec(*args, **heads))
    return str(caught.value)


def every_alias():
    aliases = _ConfigAliases._get_all_param_aliases()  # noqa: SLF001
    return [(alias, main) for main, names in sorted(aliases.items()) for alias in names]


VALUES = {bool: True, int: 2, float: 0.5, str: "goss"}


@pytest.mark.parametrize(("alias", "main"), [pair for pair in every_alias() if pair[1] in TREE_PARAMETERS])
def test_every_alias_of_a_tree_parameter_counts_as_its_main_name(alias, main):
    value = VALUES[TREE_PARAMETERS[main]] if main not in CHOICES else CHOICES[main][0]
    assert head_params("latency", spec({alias: value}), 0)[main] == value
    assert head_params("latency", spec(latency={alias: value}), 0)[main] == value


@pytest.mark.parametrize(("alias", "main"), [pair for pair in every_alias() if pair[1] not in TREE_PARAMETERS])
def test_every_other_name_of_lightgbm_is_refused_unless_it_says_what_fogline_sets(alias, main):
    assert refusal({alias: "something"}).startswith(f"training.lightgbm.{alias}: expected ")
    if main in FIXED and FIXED[main].value is not None:
        resolve_lightgbm(spec({alias: FIXED[main].value}))


def test_the_catalog_names_parameters_of_lightgbm_once():
    names = {main for _, main in every_alias()}
    assert TREE_PARAMETERS.keys() | FIXED.keys() <= names
    assert not TREE_PARAMETERS.keys() & FIXED.keys()
    conditional = {*CONDITIONS, *LOGISTIC_ONLY, *NEUTRAL, *CHOICES}
    assert conditional <= TREE_PARAMETERS.keys()
    assert {name for one in CONDITIONS.values() for name in one.parameters} <= NEUTRAL.keys()


def test_aliases_give_the_same_model_as_main_names(tmp_path):
    main = {"num_leaves": 5, "learning_rate": 0.05, "min_data_in_leaf": 30}
    alias = {"max_leaves": 5, "eta": 0.05, "min_child_samples": 30}
    one, two = (train_model(telemetry(2_000), spec(given), tmp_path, threads=1) for given in (main, alias))
    assert one.folder == two.folder
    text = (one.folder / "latency.txt").read_text()
    assert all(f"[{name}: {value}]" in text for name, value in main.items())


def test_a_heads_alias_stands_over_the_main_name_of_all_heads():
    both = spec({"num_leaves": 31, "min_child_samples": 40}, latency={"max_leaf": 7})
    assert head_params("latency", both, 0)["num_leaves"] == 7
    assert head_params("failure", both, 0)["num_leaves"] == 31
    resolved = resolve_lightgbm(both)
    assert resolved.training.lightgbm == {"num_leaves": 31, "min_data_in_leaf": 40}
    assert resolved.heads["latency"].lightgbm == {"num_leaves": 7}
    assert resolve_lightgbm(resolved) == resolved


def test_two_names_of_one_parameter_may_agree_and_may_not_differ():
    assert resolve_lightgbm(spec({"eta": 0.1, "learning_rate": 0.1})).training.lightgbm == {"learning_rate": 0.1}
    message = "training.lightgbm.learning_rate: expected 0.2 as for eta, another name of the same parameter, found 0.1"
    assert refusal({"eta": 0.2, "learning_rate": 0.1}) == message
    assert refusal(latency={"min_data": 3, "min_child_samples": 4}).startswith(
        "heads.latency.lightgbm.min_child_samples"
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("num_leafs", "num_leaves"),
        ("learning-rate", "learning_rate"),
        ("Num_Leaves", "num_leaves"),
        ("lamda_l2", "lambda_l2"),
        ("min_child_sample", "min_child_samples"),
    ],
)
def test_a_misspelled_name_is_refused_with_the_one_that_was_meant(given, meant):
    assert refusal({given: 5}).startswith(f"training.lightgbm.{given}: expected a parameter of LightGBM")
    assert f"did you mean {meant}" in refusal({given: 5})


def test_a_name_that_is_like_none_is_refused_without_a_guess():
    assert refusal(failure={"zzz": 1}) == (
        "heads.failure.lightgbm.zzz: expected a parameter of LightGBM, found none of that name"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "regression_l1"}, "no objective, because the link and the quantile of the head decide it"),
        ({"app": "binary"}, "no objective, because"),
        ({"random_state": 3}, "no seed, because --seed fixes every random draw"),
        ({"bagging_seed": 3}, "no bagging_seed, because --seed fixes every random draw"),
        ({"n_estimators": 50}, "no num_iterations, because training.rounds decides it"),
        ({"early_stopping_rounds": 5}, "no early_stopping_round, because training.patience decides it"),
        ({"metric": "auc"}, "no metric, because a fit stops by the loss of its objective"),
        ({"deterministic": False}, "no deterministic, because the same data and seed give the same model"),
        ({"force_col_wise": True}, "no force_col_wise, because the same data and seed give the same model"),
        ({"n_jobs": 8}, "no num_threads, because --threads decides it"),
        ({"boosting": "dart"}, "no boosting, because forests sum trees that are never changed again"),
        ({"linear_trees": True}, "no linear_tree, because forests have constant leaves"),
        ({"device": "gpu"}, "no device_type, because the same data and seed give the same model"),
        ({"deterministic": 1}, "no deterministic, because"),
    ],
)
def test_what_fogline_sets_itself_is_refused_with_who_decides_it(given, message):
    (name,) = given
    assert refusal(given).startswith(f"training.lightgbm.{name}: expected {message}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_leaves": 31.0}, "num_leaves: expected a whole number, found 31.0"),
        ({"max_leaves": "31"}, "max_leaves: expected a whole number, found '31'"),
        ({"num_leaves": True}, "num_leaves: expected a whole number, found True"),
        ({"eta": True}, "eta: expected a number, found True"),
        ({"extra_trees": 1}, "extra_trees: expected true or false, found 1"),
        ({"monotone_constraints": 1}, "monotone_constraints: expected a text, found 1"),
        ({"lambda_l2": float("inf")}, "lambda_l2: expected a finite number, found inf"),
        ({"lambda_l2": float("nan")}, "lambda_l2: expected a finite number, found nan"),
        ({"min_data_in_leaf": 2**40}, "min_data_in_leaf: expected at most 2147483647, found 1099511627776"),
        ({"num_leaf": 1}, "num_leaf: expected num_leaves > 1, found 1"),
        ({"max_leaves": 65}, "max_leaves: expected at most 64 leaves in a tree, found 65"),
        ({"eta": 0}, "eta: expected learning_rate > 0.0, found 0"),
        ({"colsample_bytree": 1.5}, "colsample_bytree: expected feature_fraction <= 1.0, found 1.5"),
        ({"min_child_samples": -3}, "min_child_samples: expected min_data_in_leaf >= 0, found -3"),
        ({"data_sample_strategy": "some"}, "data_sample_strategy: expected one of bagging, goss, found 'some'"),
        (
            {"monotone_constraints": "1,0"},
            "monotone_constraints: expected a value that LightGBM takes, found '1,0' (Check",
        ),
        ({"monotone_constraints": "1,0,0,0,x"}, "monotone_constraints: expected a value that LightGBM uses as it is"),
        (
            {"interaction_constraints": "[0, 1]"},
            "interaction_constraints: expected groups such as [0,1],[2,3] of features below 5",
        ),
        ({"interaction_constraints": "[0,5]"}, "interaction_constraints: expected groups such as"),
        (
            {"path_smooth": 1.0, "min_data": 1},
            "min_data: expected a value that LightGBM uses as it is, found 1, for which it uses '2'",
        ),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_refused_where_it_stands(given, message):
    assert refusal(given).startswith(f"training.lightgbm.{message}")
    assert refusal(latency=given).startswith(f"heads.latency.lightgbm.{message}")


@pytest.mark.parametrize(
    ("given", "name", "message"),
    [
        (
            {"subsample": 0.5},
            "subsample",
            "bagging_freq of 1 or more beside it, without which LightGBM ignores it, found 0.5",
        ),
        ({"bagging_freq": 1}, "bagging_freq", "a bagging_fraction below 1 beside it"),
        ({"top_rate": 0.3}, "top_rate", 'data_sample_strategy = "goss" beside it'),
        ({"num_grad_quant_bins": 8}, "num_grad_quant_bins", "use_quantized_grad = true beside it"),
        ({"monotone_penalty": 1.0}, "monotone_penalty", "monotone_constraints beside it"),
        ({"scale_pos_weight": 2.0}, "scale_pos_weight", "it with a head of the link logistic alone"),
    ],
)
def test_a_parameter_without_effect_is_refused(given, name, message):
    assert refusal(given).startswith(f"training.lightgbm.{name}: expected {message}")


@pytest.mark.parametrize(
    "given",
    [
        {"bagging_fraction": 0.5, "bagging_freq": 1},
        {"subsample": 1.0, "subsample_freq": 0},
        {"data_sample_strategy": "goss", "top_rate": 0.3, "other_rate": 0.2},
        {"num_leaves": 200, "max_depth": 6},
        {"monotone_constraints": "0,1,0,0,0", "monotone_penalty": 0.5},
        {"interaction_constraints": "[0,1],[2,3,4]"},
        {"lambda": 0.123456789, "max_bin": 63, "extra_tree": True, "zero_as_missing": True, "verbose": -1},
        {"feature_fraction": 1, "max_delta_step": 0},
    ],
)
def test_what_lightgbm_uses_as_it_is_is_taken(given):
    resolve_lightgbm(spec(given))


def test_a_head_may_switch_off_what_all_heads_have():
    both = spec(
        {"bagging_fraction": 0.5, "bagging_freq": 1}, latency={"bagging_freq": 0}, failure={"is_unbalance": True}
    )
    assert head_params("latency", resolve_lightgbm(both), 0)["bagging_freq"] == 0


def test_what_a_model_says_it_used_stands_for_what_was_asked():
    text = "tree\n[num_leaves: 7]\n[learning_rate: 0.123457]\n[extra_trees: 1]\n[max_bin: 15]\n"
    asked = {"num_leaves": 7, "learning_rate": 0.123456789, "extra_trees": True, "max_bin": 63}
    assert used_params(text, asked) == {**asked, "max_bin": "15"}


NAMES = [alias for alias, main in every_alias() if main in TREE_PARAMETERS]


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.booleans()
        | st.integers(-(2**40), 2**40)
        | st.integers(0, 4)
        | st.floats()
        | st.floats(0.0, 2.0)
        | st.text(),
        max_size=3,
    )
)
def test_whatever_stands_there_is_used_as_it_is_or_refused(params):
    try:
        resolved = resolve_lightgbm(spec(params))
    except SpecError:
        return
    for name in resolved.heads:
        asked = head_params(name, resolved, 0)
        assert resolved.training.lightgbm.items() <= asked.items()


@pytest.mark.parametrize("command", ["check", "train", "tune"])
def test_the_command_line_refuses_when_the_spec_is_read(command, tmp_path, capfd):
    path = tmp_path / "small.toml"
    path.write_text(spec_text("rounds = 15\nlightgbm = { num_leafs = 8 }\n"), encoding="utf-8")
    ran = fogline(capfd, command, tmp_path / "no data at all", "--spec", path, "--json")
    expected = "training.lightgbm.num_leafs: expected a parameter of LightGBM"
    message = f"{expected}, found none of that name; did you mean num_leaves?"
    assert ran.code == 2
    assert ran.json == {"error": {"type": "SpecError", "message": message}}


def test_a_search_varies_what_the_spec_says_under_another_name():
    resolved = resolve_lightgbm(spec({"eta": 0.05, "max_leaves": 12}))
    values = own_values(resolved, LIGHTGBM)
    assert (values["learning_rate"], values["num_leaves"]) == (0.05, 12)
    tried = with_values(resolved, {"learning_rate": 0.2})
    assert head_params("latency", resolve_lightgbm(tried), 0)["learning_rate"] == 0.2
    assert search_space(resolved)["learning_rate"].low == 0.02


def test_a_search_refuses_before_it_reads_data(tmp_path):
    with pytest.raises(SpecError, match=r"training\.lightgbm\.eta: expected learning_rate > 0\.0, found -1"):
        tune(tmp_path / "nothing", spec({"eta": -1}), TuningOptions(f"sqlite:///{tmp_path}/mlflow.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_fold_is_fitted_with_what_an_alias_says():
    rows = telemetry(3_000)
    (fold,) = time_folds(rows, 1)
    one, two, other = (
        Judge(rows, SPEC, "loss", seed=0, threads=1).score(fold, spec(given))
        for given in (
            {"num_leaves": 3, "min_data_in_leaf": 20},
            {"max_leaves": 3, "min_data": 20},
            {"max_leaves": 9, "min_data": 20},
        )
    )
    assert one == two
    assert one != other
