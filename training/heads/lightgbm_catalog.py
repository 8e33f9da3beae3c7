"""Which LightGBM parameters a spec may set: those that shape trees, with their type, and why the others are refused."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

Value: TypeAlias = bool | int | float | str

TREE_PARAMETERS: Final[dict[str, type]] = {
    "learning_rate": float,
    "num_leaves": int,
    "max_depth": int,
    "min_data_in_leaf": int,
    "min_sum_hessian_in_leaf": float,
    "bagging_fraction": float,
    "pos_bagging_fraction": float,
    "neg_bagging_fraction": float,
    "bagging_freq": int,
    "data_sample_strategy": str,
    "top_rate": float,
    "other_rate": float,
    "feature_fraction": float,
    "feature_fraction_bynode": float,
    "extra_trees": bool,
    "max_delta_step": float,
    "lambda_l1": float,
    "lambda_l2": float,
    "min_gain_to_split": float,
    "path_smooth": float,
    "min_data_per_group": int,
    "max_cat_threshold": int,
    "cat_l2": float,
    "cat_smooth": float,
    "max_cat_to_onehot": int,
    "monotone_constraints": str,
    "monotone_constraints_method": str,
    "monotone_penalty": float,
    "interaction_constraints": str,
    "feature_contri": str,
    "cegb_tradeoff": float,
    "cegb_penalty_split": float,
    "cegb_penalty_feature_lazy": str,
    "cegb_penalty_feature_coupled": str,
    "use_quantized_grad": bool,
    "num_grad_quant_bins": int,
    "quant_train_renew_leaf": bool,
    "stochastic_rounding": bool,
    "max_bin": int,
    "max_bin_by_feature": str,
    "min_data_in_bin": int,
    "bin_construct_sample_cnt": int,
    "is_enable_sparse": bool,
    "enable_bundle": bool,
    "use_missing": bool,
    "zero_as_missing": bool,
    "feature_pre_filter": bool,
    "histogram_pool_size": float,
    "boost_from_average": bool,
    "is_unbalance": bool,
    "scale_pos_weight": float,
}

CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "data_sample_strategy": ("bagging", "goss"),
    "monotone_constraints_method": ("basic", "intermediate", "advanced"),
}
"""Values of parameters that take a word. LightGBM itself takes any word for some of them."""


class Fixed(NamedTuple):
    """A parameter that fogline sets itself: the only accepted value, if any, and the setting that decides it."""

    reason: str
    value: Value | None = None


_SEED = Fixed("--seed fixes every random draw")
_HEAD = Fixed("the link and the quantile of the head decide it")
_STOP = Fixed("a fit stops by the loss of its objective; training.patience says when")
_CLUSTER = Fixed("--cluster decides how a fit is distributed")
_FEATURES = Fixed("the features of the spec decide it")

FIXED: Final[dict[str, Fixed]] = {
    "objective": _HEAD,
    "alpha": Fixed("heads.NAME.quantile decides it"),
    "boosting": Fixed("forests sum trees that are never changed again, which rf and dart do not", "gbdt"),
    "num_iterations": Fixed("training.rounds decides it"),
    "early_stopping_round": Fixed("training.patience decides it"),
    "early_stopping_min_delta": _STOP,
    "first_metric_only": _STOP,
    "metric": _STOP,
    "seed": _SEED,
    "bagging_seed": _SEED,
    "feature_fraction_seed": _SEED,
    "extra_seed": _SEED,
    "data_random_seed": _SEED,
    "objective_seed": _SEED,
    "drop_seed": _SEED,
    "num_threads": Fixed("--threads decides it"),
    "deterministic": Fixed("the same data and seed give the same model", value=True),
    "force_row_wise": Fixed("the same data and seed give the same model", value=True),
    "force_col_wise": Fixed("the same data and seed give the same model", value=False),
    "device_type": Fixed("the same data and seed give the same model", "cpu"),
    "verbosity": Fixed("commands report progress themselves", -1),
    "linear_tree": Fixed("forests have constant leaves", value=False),
    "num_class": Fixed("a head has one score", 1),
    "sigmoid": Fixed("the link logistic has a slope of 1", 1),
    "reg_sqrt": Fixed("the link of the head says what is fitted", value=False),
    "tree_learner": _CLUSTER,
    "num_machines": _CLUSTER,
    "machines": _CLUSTER,
    "machine_list_filename": _CLUSTER,
    "local_listen_port": _CLUSTER,
    "time_out": _CLUSTER,
    "pre_partition": _CLUSTER,
    "categorical_feature": _FEATURES,
    "ignore_column": _FEATURES,
    "label_column": _FEATURES,
    "weight_column": _FEATURES,
    "group_column": _FEATURES,
}


class Condition(NamedTuple):
    """When a parameter has an effect: what must be so of the others, in words, and the parameters that decide it."""

    needs: str
    parameters: tuple[str, ...]


_BAGGING = Condition("bagging_freq of 1 or more beside it", ("bagging_freq",))
_GOSS = Condition('data_sample_strategy = "goss" beside it', ("data_sample_strategy",))
_QUANTIZED = Condition("use_quantized_grad = true beside it", ("use_quantized_grad",))
_MONOTONE = Condition("monotone_constraints beside it", ("monotone_constraints",))

CONDITIONS: Final[dict[str, Condition]] = {
    "bagging_fraction": _BAGGING,
    "pos_bagging_fraction": _BAGGING,
    "neg_bagging_fraction": _BAGGING,
    "bagging_freq": Condition(
        "a bagging_fraction below 1 beside it", ("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction")
    ),
    "top_rate": _GOSS,
    "other_rate": _GOSS,
    "num_grad_quant_bins": _QUANTIZED,
    "quant_train_renew_leaf": _QUANTIZED,
    "stochastic_rounding": _QUANTIZED,
    "monotone_constraints_method": _MONOTONE,
    "monotone_penalty": _MONOTONE,
}
"""Parameters that LightGBM ignores without a word unless others are set too."""

NEUTRAL: Final[dict[str, Value]] = {
    "bagging_fraction": 1.0,
    "pos_bagging_fraction": 1.0,
    "neg_bagging_fraction": 1.0,
    "bagging_freq": 0,
    "use_quantized_grad": False,
    "data_sample_strategy": "bagging",
    "monotone_constraints": "",
    "is_unbalance": False,
    "scale_pos_weight": 1.0,
}
"""LightGBM's defaults of the parameters that switch something on."""

LOGISTIC_ONLY: Final = ("pos_bagging_fraction", "neg_bagging_fraction", "is_unbalance", "scale_pos_weight")
"""Parameters that LightGBM ignores for every objective but the binary one."""
