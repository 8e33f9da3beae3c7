"""Checks of a whole spec: every reference resolves, every number is in range."""

from __future__ import annotations

import math
import re

from scheduler.errors import SpecError
from scheduler.spec.bounds import check_bounds
from scheduler.spec.check_features import check_features
from scheduler.spec.check_raw import check_raw
from scheduler.spec.check_training import check_training
from scheduler.spec.offsets import AUTO, NO_OFFSET, offset_features
from scheduler.spec.policy import Profile, Tier, Utility
from scheduler.spec.refuse import duration, in_range, one_of, refuse, typed
from scheduler.spec.types import CLIENT, COST, FAILED, NODE, Capacity, Column, Head, Spec, Value

LEAST_CAPACITY, MOST_CAPACITY = 16, 2**31
"""Entries of one bucket, and far more than a machine has memory for."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


def check_spec(spec: Spec) -> None:
    """Raise `SpecError`, which names the key, unless all references and ranges of the spec are valid."""
    for check in (
        check_bounds,
        check_raw,
        check_training,
        _check_columns,
        _check_outcomes,
        _check_history,
        _check_latent_factors,
        _check_change_points,
        check_features,
        _check_heads,
        _check_rest,
    ):
        check(spec)


def _capacity(where: str, capacity: Capacity) -> None:
    if capacity != "auto":
        in_range(where, capacity, LEAST_CAPACITY, MOST_CAPACITY)


def _shared(where: str, capacities: list[Capacity]) -> None:
    """Bound what all entries of a kind need of their one table."""
    total = sum(capacity for capacity in capacities if capacity != "auto")
    in_range(f"{where}: capacity of all", total, 0, MOST_CAPACITY)


def _bounds(where: str, low: float | None, high: float | None) -> None:
    for name, bound in (("min", low), ("max", high)):
        if bound is not None and not math.isfinite(bound):
            refuse(f"{where}.{name}", "a finite number", bound)
    if low is not None and high is not None and low > high:
        refuse(f"{where}.min", f"at most the max, {high:g}", low)


def _check_columns(spec: Spec) -> None:
    if _NAME.fullmatch(spec.name) is None:
        refuse("name", "lower-case letters, digits, _ and -", spec.name)
    in_range("telemetry.slice.seconds", spec.telemetry.slice.seconds, 1e-3, 1e9)
    for side, columns, tables in (
        ("request", spec.request, ("telemetry", "clients")),
        ("node", spec.node, ("telemetry", "nodes")),
    ):
        for name, column in columns.items():
            one_of(f"{side}.{name}.source", column.source, tables)
            if side == "request" and column.type == "categories":
                refuse(f"{side}.{name}.type", "number, category or vector: only nodes hold categories", column.type)
            _check_column(f"{side}.{name}", column)


def _check_column(where: str, column: Column) -> None:
    if column.type == "vector":
        in_range(f"{where}.size", column.size, 2, 4096)
    elif column.size != 1:
        refuse(f"{where}.size", f"1 for a column of type {column.type}", column.size)
    if column.type in ("vector", "categories") and column.source == "telemetry":
        refuse(f"{where}.source", f"a table of clients or nodes for a column of type {column.type}", column.source)
    if column.type in ("category", "categories") and (column.min is not None or column.max is not None):
        refuse(f"{where}.min" if column.max is None else f"{where}.max", "none for a category", column.max)
    _bounds(where, column.min, column.max)


def _check_outcomes(spec: Spec) -> None:
    for name, outcome in spec.outcomes.items():
        if name in (FAILED, COST, "ok"):
            refuse(f"outcomes.{name}", "another name, because this one has a meaning of its own", name)
        _bounds(f"outcomes.{name}", outcome.min, outcome.max)
    for name in spec.telemetry.arrival:
        one_of("telemetry.arrival", name, spec.outcomes)
    one_of("cost.success", spec.cost.success, spec.outcomes)
    if spec.cost.failure_column is not None:
        one_of("cost.failure_column", spec.cost.failure_column, spec.outcomes)
    in_range("cost.failure", spec.cost.failure, 0, 1e12)


def _check_value(where: str, text: str, spec: Spec, *, tracked: bool = False) -> None:
    try:
        value = Value.parse(text)
    except SpecError as error:
        message = f"{where}: {error}"
        raise SpecError(message) from None
    if value.residual and not tracked:
        refuse(where, "an outcome, because only history tracks residuals", text)
    one_of(where, value.outcome, spec.latent_factors if value.residual else {*spec.outcomes, FAILED, COST})


def _check_history(spec: Spec) -> None:
    history = spec.history
    for value in history.values:
        _check_value("history.values", value, spec, tracked=True)
    for half_life in history.half_lives:
        duration("history.half_lives", half_life)
    for where, items in (
        ("values", history.values),
        ("half_lives", history.half_lives),
        ("keys", history.keys),
    ):
        if not items or len(set(items)) != len(items):
            refuse(f"history.{where}", "at least one, none twice", list(items))
    _capacity("history.capacity", history.capacity)
    for name, parts in history.keys.items():
        if not parts or len(set(parts)) != len(parts):
            refuse(f"history.keys.{name}", "at least one part, none twice", list(parts))
        for part in parts:
            _check_part(f"history.keys.{name}", part, spec)


def _check_latent_factors(spec: Spec) -> None:
    keys = spec.history.keys
    for name, model in spec.latent_factors.items():
        where = f"latent_factors.{name}"
        _check_value(f"{where}.value", model.value, spec)
        one_of(f"{where}.value", model.value, spec.history.values)
        for side, key, own in (("client", model.client, (CLIENT, "request")), ("node", model.node, (NODE,))):
            one_of(f"{where}.{side}", key, keys)
            if not all(part.partition(".")[0] in own for part in keys[key]):
                refuse(f"{where}.{side}", f"a key of parts of the {own[-1]} alone", list(keys[key]))
        in_range(f"{where}.rank", model.rank, 0, 64)
        duration(f"{where}.half_life", model.half_life)
        duration(f"{where}.memory", model.memory)
        _capacity(f"{where}.capacity", model.capacity)
    _shared("latent_factors", [model.capacity for model in spec.latent_factors.values()])


def _check_change_points(spec: Spec) -> None:
    for name, kind in spec.change_points.items():
        where = f"change_points.{name}"
        _check_value(f"{where}.value", kind.value, spec)
        one_of(f"{where}.value", kind.value, spec.history.values)
        one_of(f"{where}.group", kind.group, spec.history.keys)
        one_of(f"{where}.member", kind.member, spec.history.keys)
        in_range(f"{where}.tolerance", kind.tolerance, 0, 1e12)
        duration(f"{where}.length", kind.length)
        in_range(f"{where}.shape", kind.shape, 1, 16)
        in_range(f"{where}.same", kind.same, 0.001, 0.999)
        _capacity(f"{where}.capacity", kind.capacity)
    _shared("change_points", [kind.capacity for kind in spec.change_points.values()])


def _check_part(where: str, part: str, spec: Spec) -> None:
    if part in (CLIENT, NODE):
        return
    side, _, column = part.partition(".")
    columns = {"request": spec.request, "node": spec.node}.get(side)
    if columns is None or column not in columns or columns[column].type != "category":
        refuse(where, "client, node, request.CATEGORY or node.CATEGORY", part)


def _check_heads(spec: Spec) -> None:
    if not spec.heads:
        refuse("heads", "at least one head", {})
    for name, head in spec.heads.items():
        _check_value(f"heads.{name}.target", head.target, spec)
        value = Value.parse(head.target)
        if (head.link == "logistic") != (value.outcome == FAILED):
            refuse(f"heads.{name}.link", "logistic for failed, and for nothing else", head.link)
        if head.link == "log" and not value.log1p:
            refuse(f"heads.{name}.target", "log1p(...) with the link log", head.target)
        if head.quantile is not None and (head.link == "logistic" or not 0.0 < head.quantile < 1.0):
            refuse(f"heads.{name}.quantile", "between 0 and 1, of a head with the link log or identity", head.quantile)
        if head.given_ok and value.outcome == FAILED:
            refuse(f"heads.{name}.given_ok", "false for a head that predicts failure", head.given_ok)
        _check_offset(f"heads.{name}.offset", head, spec)
        if not head.trees and head.lightgbm:
            refuse(f"heads.{name}.lightgbm", "nothing, as the head has no trees", head.lightgbm)
    failures = [name for name, head in spec.heads.items() if head.link == "logistic"]
    if len(failures) > 1:
        refuse("heads", "at most one head with the link logistic", failures)


def _check_offset(where: str, head: Head, spec: Spec) -> None:
    """Refuse an offset that is no mean of the head's target."""
    known = [AUTO, NO_OFFSET, *offset_features(spec, head)]
    if head.offset not in known:
        means = f"a mean of {head.target} that does not belong to the node alone"
        refuse(where, f"one of {', '.join(known)}; a feature has to be {means}", head.offset)
    if not head.trees and head.offset in (AUTO, NO_OFFSET):
        refuse(where, "a feature, as the head has no trees", head.offset)


def _check_rest(spec: Spec) -> None:
    _check_utility(spec)
    for tier in spec.candidates.tiers:
        _check_tier(f"candidates.tiers.{tier.name}", tier, spec)
    in_range("candidates.limit", spec.candidates.limit, 1, 65_536)
    if spec.ledger is not None:
        typed("ledger.capacity", spec.ledger.capacity, spec.node, ("number",))
        typed("ledger.demand", spec.ledger.demand, spec.request, ("number",))
        duration("ledger.hold", spec.ledger.hold)
    _check_evaluation(spec)
    _check_watch(spec)
    _check_exploration(spec)
    policy = spec.policy
    in_range("policy.max_nodes", policy.max_nodes, 1, 16)
    in_range("policy.alternatives", policy.alternatives, 0, 64)
    for column, most in policy.spread.items():
        typed("policy.spread", column, spec.node, ("category",))
        in_range(f"policy.spread.{column}", most, 1, 16)


def _check_tier(where: str, tier: Tier, spec: Spec) -> None:
    for left, right in tier.match.items():
        typed(where, left, spec.request, ("category",))
        typed(where, right, spec.node, ("category", "categories"))
    sets = [right for right in tier.match.values() if spec.node[right].type == "categories"]
    if len(sets) > 1:
        refuse(where, "at most one column of type categories", sets)
    if tier.limit is not None:
        in_range(f"{where}.limit", tier.limit, 1, spec.candidates.limit)


def _check_exploration(spec: Spec) -> None:
    policy = spec.policy
    in_range("policy.epsilon", policy.epsilon, 0, 1)
    in_range("policy.temperature", policy.temperature, 1e-9, 1e12)
    in_range("policy.uncertainty_scale", policy.uncertainty_scale, 0, 1e12)
    in_range("policy.budget", policy.budget, 0, 1)
    if policy.max_utility_loss is not None:
        in_range("policy.max_utility_loss", policy.max_utility_loss, 0, 1e12)
    in_range("policy.newcomer_share", policy.newcomer_share, 0, 1)
    in_range("policy.newcomer_below", policy.newcomer_below, 1, 1e9)
    if policy.uncertainty_source:
        one_of("policy.count_key", policy.count_key, spec.history.keys)
    if policy.newcomer_share > 0:
        one_of("policy.newcomer_key", policy.newcomer_key, spec.history.keys)


def _check_evaluation(spec: Spec) -> None:
    in_range("evaluation.requests", spec.evaluation.requests, 1, 1e6)
    in_range("evaluation.candidates", spec.evaluation.candidates, 2, 65_536)
    if spec.evaluation.place is not None:
        for column in spec.evaluation.place:
            typed("evaluation.place", column, spec.request, ("number",))
            typed("evaluation.place", column, spec.node, ("number",))
    if spec.evaluation.carrier is not None:
        typed("evaluation.carrier", spec.evaluation.carrier, spec.request, ("category",))
        typed("evaluation.carrier", spec.evaluation.carrier, spec.node, ("category",))


def _check_watch(spec: Spec) -> None:
    duration("watch.window", spec.watch.window)
    for i, profile in enumerate(spec.utility.profiles):
        if profile.window is not None:
            duration(f"utility.profiles[{i}].window", profile.window)
    if spec.watch.carrier is not None:
        typed("watch.carrier", spec.watch.carrier, spec.node, ("category",))


def _check_utility(spec: Spec) -> None:
    utility = spec.utility
    for i, profile in enumerate(utility.profiles):
        for column in profile.when:
            typed(f"utility.profiles[{i}].when", column, spec.request, ("category",))
    parts: dict[str, Utility | Profile] = {"utility": utility}
    parts |= {f"utility.profiles[{i}]": profile for i, profile in enumerate(utility.profiles)}
    for where, part in parts.items():
        for name, weight in part.heads.items():
            one_of(f"{where}.heads", name, spec.heads)
            _finite(f"{where}.heads.{name}", weight)
        _finite(f"{where}.load", part.load)
        _finite(f"{where}.price_weight", part.price_weight)
        if part.load and spec.ledger is None:
            refuse(f"{where}.load", "0 without a ledger section", part.load)
        if part.price_weight and utility.price is None:
            refuse("utility.price", f"a node column, because {where}.price_weight has a weight", None)
    if utility.price is not None:
        typed("utility.price", utility.price, spec.node, ("number",))


def _finite(where: str, weight: float | None) -> None:
    if weight is not None and not math.isfinite(weight):
        refuse(where, "a finite weight", weight)
