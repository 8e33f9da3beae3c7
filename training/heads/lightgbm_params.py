"""LightGBM's parameters in a spec: aliases resolved, and what LightGBM would ignore or change refused before any work.

LightGBM ignores unknown names, prefers one alias to another, and changes some values, all without an error. So names
come from LightGBM's own table, and every set of parameters is tried on a few made-up rows: what LightGBM then says it
used must be what the spec says.
"""

from __future__ import annotations

import difflib
import logging
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, NoReturn

import lightgbm as lgb
import msgspec
import numpy as np
from lightgbm.basic import _ConfigAliases

from scheduler.errors import SpecError
from scheduler.features.program import compile_features
from scheduler.forest.trees import MAX_LEAVES
from scheduler.spec import Head, Spec
from scheduler.spec.types import Params
from training.heads.lightgbm_catalog import CHOICES, CONDITIONS, FIXED, LOGISTIC_ONLY, NEUTRAL, TREE_PARAMETERS, Value

OBJECTIVES = {"logistic": "binary", "log": "l2", "identity": "l2"}
"""The link `log` is fitted by least squares on log1p: robust against the long tail of latencies, and the mean that
this loses is put back by calibration."""

DEFAULTS: Params = {
    "num_leaves": 31,
    "learning_rate": 0.1,
    "min_data_in_leaf": 100,
    "feature_pre_filter": False,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,  # with `deterministic`: without it LightGBM times both layouts and picks one
}

NO_SPLIT: Params = {"min_gain_to_split": 1e300}
"""What keeps a head without trees from splitting: more than any split gains, as targets have single precision."""

TRIAL_ROWS = 64
"""Rows of a trial fit. LightGBM checks parameters whatever the data; a few rows make a trial take milliseconds."""

DIGITS = 1e-5
"""Relative error of a number in LightGBM's list of parameters, which has six digits."""

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_INT_MAX = 2**31 - 1  # LightGBM's integers have 32 bits; larger ones wrap around without an error
_CONSTRAINTS = re.compile(r"\[\d+(,\d+)*\](,\[\d+(,\d+)*\])*")
_USED = re.compile(r"^\[(\w+): (.*)\]$", re.MULTILINE)
_CHECK = re.compile(r"Check failed: \((\w+)\) (\S+) \(([\w.+-]+)\)")
_PLACE = re.compile(r"\s+at \S+, line \d+\s*\.?\s*$")


def resolve_lightgbm(spec: Spec) -> Spec:
    """Return a spec with LightGBM's parameters under their main names, after checking and trying them.

    A spec that has been resolved comes back equal.

    Raises
    ------
    SpecError
        If a parameter does not exist, stands there twice with different values, is set by fogline itself, has no
        effect, or has a value that LightGBM does not take or would change.
    """
    training = _Section("training.lightgbm", spec.training.lightgbm)
    heads = {name: _Section(f"heads.{name}.lightgbm", head.lightgbm) for name, head in spec.heads.items()}
    _check_effect(training, DEFAULTS | training.params, [head.link for head in spec.heads.values()])
    for name, section in heads.items():
        merged = DEFAULTS | training.params | section.params
        _check_effect(section, merged, [spec.heads[name].link])
        _check_leaves(section if "num_leaves" in section.params else training, merged)
        _try(spec, name, merged, (section, training))
    resolved = {
        name: msgspec.structs.replace(spec.heads[name], lightgbm=section.params) for name, section in heads.items()
    }
    settings = msgspec.structs.replace(spec.training, lightgbm=training.params)
    return msgspec.structs.replace(spec, heads=resolved, training=settings)


def head_params(name: str, spec: Spec, seed: int) -> dict[str, Any]:
    """Return LightGBM's parameters for a head under their main names, threads excepted."""
    head = spec.heads[name]
    return {
        **DEFAULTS,
        **_objective(head),
        "seed": seed,
        **_Section("training.lightgbm", spec.training.lightgbm).params,
        **_Section(f"heads.{name}.lightgbm", head.lightgbm).params,
        **({} if head.trees else NO_SPLIT),
    }


def used_params(text: str, asked: Mapping[str, Value]) -> dict[str, Value]:
    """Return what a fit really used of the parameters it was asked for.

    Parameters
    ----------
    text
        A model as LightGBM writes it, its parameters at the end.
    asked
        As `head_params` returns them.
    """
    used = dict(_USED.findall(text))
    return {name: value if _agree(value, used.get(name, "")) else used.get(name, "") for name, value in asked.items()}


def quiet() -> None:
    """Let LightGBM speak to a logger: by default it prints, also where standard output is for results."""
    logger = logging.getLogger("training.lightgbm")
    logger.setLevel(logging.ERROR)  # it warns that threads are those of the worker, and tells of every connection
    lgb.register_logger(logger)


@cache
def _main_names() -> dict[str, str]:
    """Return the main name of every name that LightGBM knows."""
    return {alias: main for main, aliases in _ConfigAliases._get_all_param_aliases().items() for alias in aliases}  # noqa: SLF001 - the table has no public name


class _Section:
    """One table of parameters in a spec: where it stands, its values by main name, and how the spec spells them."""

    def __init__(self, where: str, given: Params) -> None:
        self.where = where
        self.params: Params = {}
        self.spelling: dict[str, str] = {}
        for spelled, value in given.items():
            main = self._main_name(spelled)
            self.spelling.setdefault(main, spelled)
            if main in self.params and self.params[main] != value:
                first = self.spelling[main]
                _refuse(
                    f"{where}.{spelled}",
                    f"{self.params[main]!r} as for {first}, another name of the same parameter",
                    value,
                )
            _check_value(f"{where}.{spelled}", main, value)
            self.params[main] = value

    def place(self, main: str) -> str:
        """Return where a parameter stands in the spec, as it is spelled there."""
        return f"{self.where}.{self.spelling.get(main, main)}"

    def _main_name(self, spelled: str) -> str:
        main = _main_names().get(spelled)
        if main is not None:
            return main
        known = [name for name, main in _main_names().items() if main in TREE_PARAMETERS]
        near = difflib.get_close_matches(spelled.lower(), TREE_PARAMETERS, n=1, cutoff=0.8)
        near = near or difflib.get_close_matches(spelled.lower(), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SpecError(f"{self.where}.{spelled}: expected a parameter of LightGBM, found none of that name{hint}")


def _refuse(where: str, expected: str, found: object) -> NoReturn:
    raise SpecError(f"{where}: expected {expected}, found {found!r}")


def _check_value(where: str, main: str, value: Value) -> None:
    """Refuse what fogline sets itself, what has no part in fitting a head, and values of the wrong type."""
    if main in FIXED:
        fixed = FIXED[main]
        if fixed.value is None or isinstance(value, bool) != isinstance(fixed.value, bool) or fixed.value != value:
            _refuse(where, f"no {main}, because {fixed.reason}", value)
        return
    if main not in TREE_PARAMETERS:
        _refuse(where, "a parameter that takes part in fitting a head", f"{main}, which takes none")
    wanted = TREE_PARAMETERS[main]
    fits = isinstance(value, int | float) if wanted is float else isinstance(value, wanted)
    if not fits or (isinstance(value, bool) and wanted is not bool):
        _refuse(where, _KINDS[wanted], value)
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(where, "a finite number", value)
    if isinstance(value, int) and abs(value) > _INT_MAX:
        _refuse(where, f"at most {_INT_MAX}", value)
    if main in CHOICES and value not in CHOICES[main]:
        _refuse(where, "one of " + ", ".join(CHOICES[main]), value)


def _check_effect(section: _Section, merged: Params, links: list[str]) -> None:
    """Refuse parameters of a section that LightGBM would ignore, beside all that count with it."""
    for main, value in section.params.items():
        if value == NEUTRAL.get(main):
            continue
        condition = CONDITIONS.get(main)
        if condition and all(merged.get(name, NEUTRAL[name]) == NEUTRAL[name] for name in condition.parameters):
            _refuse(section.place(main), f"{condition.needs}, without which LightGBM ignores it", value)
        if main in LOGISTIC_ONLY and any(link != "logistic" for link in links):
            _refuse(section.place(main), "it with a head of the link logistic alone: others ignore it", value)


def _check_leaves(section: _Section, merged: Params) -> None:
    leaves, depth = int(merged["num_leaves"]), int(merged.get("max_depth", -1))
    if leaves > MAX_LEAVES and not 0 < depth <= math.log2(MAX_LEAVES):
        _refuse(section.place("num_leaves"), f"at most {MAX_LEAVES} leaves in a tree", leaves)


def _objective(head: Head) -> Params:
    if head.quantile is not None:
        return {"objective": "quantile", "alpha": head.quantile}
    return {"objective": OBJECTIVES[head.link]}


class _Rows(NamedTuple):
    """Made-up rows that have a spec's features and a head's kind of target."""

    x: np.ndarray
    y: np.ndarray
    categorical: list[int]


def _made_up_rows(spec: Spec, name: str) -> _Rows:
    rng = np.random.default_rng(0)
    categorical = list(compile_features(spec, {}).categorical)
    x = rng.normal(size=(TRIAL_ROWS, len(spec.features)))
    x[:, categorical] = rng.integers(0, 4, (TRIAL_ROWS, len(categorical)))
    y = rng.random(TRIAL_ROWS)
    return _Rows(
        x.astype(np.float32), (y > np.median(y)) * 1.0 if spec.heads[name].link == "logistic" else y, categorical
    )


def _try(spec: Spec, name: str, merged: Params, sections: tuple[_Section, ...]) -> None:
    """Let LightGBM fit one tree with a head's parameters, and compare what it used with what it was asked."""
    _check_constraints(merged, len(spec.features), sections)
    rows = _made_up_rows(spec, name)
    params = {**merged, **_objective(spec.heads[name]), "num_threads": 1}
    quiet()
    try:
        data = lgb.Dataset(rows.x, rows.y, categorical_feature=rows.categorical)
        text = lgb.train(params, data, 1).model_to_string()
    except (lgb.basic.LightGBMError, TypeError, ValueError) as error:
        _refuse_by(str(error), merged, sections)
    used = dict(_USED.findall(text))
    for main in merged.keys() & TREE_PARAMETERS.keys():
        if not _agree(merged[main], used[main]):
            place = _place(main, sections)
            raise SpecError(
                f"{place}: expected a value that LightGBM uses as it is, found {merged[main]!r}, "
                f"for which it uses {used[main]!r} beside the other parameters"
            )


def _check_constraints(merged: Params, n_features: int, sections: tuple[_Section, ...]) -> None:
    """Refuse groups of features that LightGBM would read as something else."""
    groups = str(merged.get("interaction_constraints", ""))
    if not groups:
        return
    features = [int(number) for number in re.findall(r"\d+", groups)]
    if _CONSTRAINTS.fullmatch(groups) is None or max(features) >= n_features:
        _refuse(
            _place("interaction_constraints", sections),
            f"groups such as [0,1],[2,3] of features below {n_features}, without spaces",
            groups,
        )


def _refuse_by(message: str, merged: Params, sections: tuple[_Section, ...]) -> NoReturn:
    """Refuse what LightGBM refuses, in its words, at the parameter that these name."""
    named = [word for word in re.findall(r"\w+", message) if word in merged and word in TREE_PARAMETERS]
    said = " ".join(_PLACE.sub("", message).split())
    if not named:
        raise SpecError(f"{sections[0].where}: expected parameters that LightGBM takes together, found {said!r}")
    place, value = _place(named[0], sections), merged[named[0]]
    check = _CHECK.match(said)
    if check is not None and check[1] == named[0]:
        _refuse(place, f"{check[1]} {check[2]} {check[3]}", value)
    raise SpecError(f"{place}: expected a value that LightGBM takes, found {value!r} ({said})")


def _place(main: str, sections: tuple[_Section, ...]) -> str:
    """Return where the value of a parameter that counts stands; of the first section where it is nowhere."""
    return next((one for one in sections if main in one.params), sections[0]).place(main)


def _agree(asked: Value, used: str) -> bool:
    """Return whether LightGBM's text of a value is the value that was asked for."""
    if isinstance(asked, bool):
        return used == str(int(asked))
    if isinstance(asked, str):
        return asked == used or _agree_in_lists(asked, used)
    try:
        return math.isclose(float(used), asked, rel_tol=DIGITS)
    except ValueError:
        return False


def _agree_in_lists(asked: str, used: str) -> bool:
    try:
        pairs = [(float(a), float(u)) for a, u in zip(asked.split(","), used.split(","), strict=True)]
    except ValueError:
        return False
    return all(math.isclose(a, u, rel_tol=DIGITS) for a, u in pairs)
