"""Compile the spec's utility, ledger and exploration into the arrays that kernels read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import id_key
from scheduler.columns.schema import Schema
from scheduler.errors import InputError, shown
from scheduler.history.row_layout import slowest_half_life, slowest_weight_place
from scheduler.model.arrays import LINK_LOGISTIC
from scheduler.model.model import Model
from scheduler.policy.arrays import EXPLORES, PolicyArrays
from scheduler.spec import Profile, Spec, seconds

KEPT = ("max_nodes", "alternatives")
"""Keys that a change of policy leaves as they are: threads have room for so many nodes. An arm that joins may have
others, and the decision log widens for it."""


def check_model(model: object) -> None:
    """Raise `InputError` unless a caller passed a model."""
    if not isinstance(model, Model):
        message = f"model: expected a Model, such as from Model.load(folder), found {shown(model)}"
        raise InputError(message)


def with_policy(model: Model, spec: Spec) -> Model:
    """Return a model under another spec's utility, policy, candidates, sets of categories, ledger and windows.

    Raises
    ------
    InputError
        If ``spec`` is not a `Spec`, or if its fingerprint is not the model's.
    """
    if not isinstance(spec, Spec):
        message = f"spec: expected a Spec, as load_spec returns, found {type(spec).__name__}"
        raise InputError(message)
    expected, found = model.spec.fingerprint(), spec.fingerprint()
    if found != expected:
        message = (
            f"spec {spec.name}: expected the fingerprint of {model.name}-{model.version}, {expected}, found {found}"
        )
        raise InputError(message)
    own = {name: getattr(spec, name) for name in ("utility", "policy", "candidates", "ledger", "node", "watch")}
    features = model.features._replace(node=model.features.node.with_sets(spec.node))
    return dataclasses.replace(model, spec=msgspec.structs.replace(model.spec, **own), features=features)


STATE = ("candidates", "ledger", "node")
"""Sections of a spec that lay out the state, besides those of its fingerprint."""


def check_arm(state: Spec, arm: Spec) -> None:
    """Raise `InputError` unless a spec can decide over a state that another spec laid out."""
    expected, found = state.fingerprint(), arm.fingerprint()
    if found != expected:
        message = f"spec {arm.name}: expected the fingerprint of the state, {expected}, found {found}"
        raise InputError(message)
    for name in STATE:
        ours, theirs = getattr(state, name), getattr(arm, name)
        if ours != theirs:
            message = f"spec {arm.name}: expected the same {name} as the state's, {ours!r}, found {theirs!r}"
            raise InputError(message)


def check_swap(old: Spec, new: Spec) -> None:
    """Raise `InputError` unless a running scheduler can change to the new spec and keep its state."""
    pairs = {name: (getattr(old, name), getattr(new, name)) for name in STATE}
    pairs |= {f"policy.{name}": (getattr(old.policy, name), getattr(new.policy, name)) for name in KEPT}
    for name, (expected, found) in pairs.items():
        if expected != found:
            message = f"spec {new.name}: expected the same {name} as in charge, {expected!r}, found {found!r}"
            raise InputError(message)


def compile_policy(model: Model) -> PolicyArrays:
    """Return the policy of a model's spec as arrays.

    Raises
    ------
    InputError
        If the policy needs the variances of leaves and the artifact has none.
    """
    spec, features, utility = model.spec, model.features, model.spec.utility
    if spec.policy.uncertainty_source == "leaves" and not model.uncertainty[:, 0].any():
        message = (
            f"policy.uncertainty: expected 'count', because {model.name}-{model.version} was trained without "
            "variances of leaves, found 'leaves'"
        )
        raise InputError(message)
    profiles = (*utility.profiles, Profile(when={}))
    weights = [[p.heads.get(name, utility.heads.get(name, 0.0)) for name in spec.heads] for p in profiles]
    when_column, when_key = _conditions(profiles, features.request)
    policy, keys, ledger = spec.policy, list(spec.history.keys), spec.ledger
    failures = np.flatnonzero(model.calibration[:, 0] == LINK_LOGISTIC)
    return PolicyArrays(
        calibration=model.calibration,
        offsets=model.offsets,
        uncertainty=model.uncertainty,
        given_ok=np.array([head.given_ok for head in spec.heads.values()]),
        failure=int(failures[0]) if failures.size else -1,
        weights=np.array(weights, np.float64),
        load=np.array([utility.load if p.load is None else p.load for p in profiles], np.float64),
        price_weight=np.array(
            [utility.price_weight if p.price_weight is None else p.price_weight for p in profiles], np.float64
        ),
        when_column=when_column,
        when_key=when_key,
        price=-1 if utility.price is None else features.node.offsets[utility.price],
        demand=-1 if ledger is None else features.request.offsets[ledger.demand],
        explore=EXPLORES.index(policy.explore),
        epsilon=float(policy.epsilon),
        temperature=float(policy.temperature),
        uncertainty_scale=float(policy.uncertainty_scale),
        budget=float(policy.budget),
        max_utility_loss=np.inf if policy.max_utility_loss is None else float(policy.max_utility_loss),
        newcomer_share=float(policy.newcomer_share),
        newcomer_below=float(policy.newcomer_below),
        count_key=keys.index(policy.count_key) if policy.uncertainty_source else -1,
        by_leaves=policy.uncertainty_source == "leaves",
        newcomer_key=keys.index(policy.newcomer_key) if policy.newcomer_share > 0 else -1,
        weights_at=np.array([slowest_weight_place(spec, v) for v in range(len(spec.history.values))], np.int32),
        fade=1.0 / seconds(spec.history.half_lives[slowest_half_life(spec)]),
        hold=seconds(ledger.hold) if ledger is not None else np.inf,
        spread=np.array(
            [(features.node.key_columns[name], most) for name, most in policy.spread.items()], np.int32
        ).reshape(-1, 2),
    )


def _conditions(profiles: Sequence[Profile], request: Schema) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Return (n_profiles, n) key columns of the request, -1 past a profile's last, and what they must equal."""
    width = max(1, *(len(profile.when) for profile in profiles))
    column = np.full((len(profiles), width), -1, np.int32)
    key = np.zeros((len(profiles), width), np.uint64)
    for p, profile in enumerate(profiles):
        for w, (name, value) in enumerate(profile.when.items()):
            column[p, w], key[p, w] = request.key_columns[name], id_key(value)
    return column, key
