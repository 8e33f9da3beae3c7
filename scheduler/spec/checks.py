"""Checks of a whole spec: every reference resolves, every number is in range."""

from __future__ import annotations

import math
import re

from scheduler.errors import SpecError, shown
from scheduler.spec.bounds import check_bounds
from scheduler.spec.check_raw import check_raw
from scheduler.spec.check_training import check_training
from scheduler.spec.duration import seconds
from scheduler.spec.features import (
    ChangePoint,
    Clock,
    Difference,
    Distance,
    Dot,
    Equal,
    LatentFactor,
    NodeColumn,
    RequestColumn,
    ShrunkMean,
    Statistic,
)
from scheduler.spec.offsets import AUTO, NO_OFFSET, offset_features
from scheduler.spec.policy import Profile, Tier, Utility
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
        _check_features,
        _check_heads,
        _check_rest,
    ):
        check(spec)


def _refuse(where: str, expected: str, found: object) -> None:
    message = f"{where}: expected {expected}, found {shown(found)}"
    raise SpecError(message)


def _one_of(where: str, name: str, known: object) -> None:
    names = sorted(known)  # type: ignore[call-overload]
    if name not in names:
        _refuse(where, "one of " + (", ".join(names) or "(none defined)"), name)


def _duration(where: str, text: str) -> None:
    try:
        seconds(text)
    except SpecError as error:
        message = f"{where}: {error}"
        raise SpecError(message) from None


def _in_range(where: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # false for NaN too
        _refuse(where, f"a number from {low:g} to {high:g}", value)


def _capacity(where: str, capacity: Capacity) -> None:
    if capacity != "auto":
        _in_range(where, capacity, LEAST_CAPACITY, MOST_CAPACITY)


def _shared(where: str, capacities: list[Capacity]) -> None:
    """Bound what all entries of a kind need of their one table."""
    total = sum(capacity for capacity in capacities if capacity != "auto")
    _in_range(f"{where}: capacity of all", total, 0, MOST_CAPACITY)


def _bounds(where: str, low: float | None, high: float | None) -> None:
    for name, bound in (("min", low), ("max", high)):
        if bound is not None and not math.isfinite(bound):
            _refuse(f"{where}.{name}", "a finite number", bound)
    if low is not None and high is not None and low > high:
        _refuse(f"{where}.min", f"at most the max, {high:g}", low)


def _check_columns(spec: Spec) -> None:
    if _NAME.fullmatch(spec.name) is None:
        _refuse("name", "lower-case letters, digits, _ and -", spec.name)
    _in_range("telemetry.slice.seconds", spec.telemetry.slice.seconds, 1e-3, 1e9)
    for side, columns, tables in (
        ("request", spec.request, ("telemetry", "clients")),
        ("node", spec.node, ("telemetry", "nodes")),
    ):
        for name, column in columns.items():
            _one_of(f"{side}.{name}.source", column.source, tables)
            if side == "request" and column.type == "categories":
                _refuse(f"{side}.{name}.type", "number, category or vector: only nodes hold categories", column.type)
            _check_column(f"{side}.{name}", column)


def _check_column(where: str, column: Column) -> None:
    if column.type == "vector":
        _in_range(f"{where}.size", column.size, 2, 4096)
    elif column.size != 1:
        _refuse(f"{where}.size", f"1 for a column of type {column.type}", column.size)
    if column.type in ("vector", "categories") and column.source == "telemetry":
        _refuse(f"{where}.source", f"a table of clients or nodes for a column of type {column.type}", column.source)
    if column.type in ("category", "categories") and (column.min is not None or column.max is not None):
        _refuse(f"{where}.min" if column.max is None else f"{where}.max", "none for a category", column.max)
    _bounds(where, column.min, column.max)


def _check_outcomes(spec: Spec) -> None:
    for name, outcome in spec.outcomes.items():
        if name in (FAILED, COST, "ok"):
            _refuse(f"outcomes.{name}", "another name, because this one has a meaning of its own", name)
        _bounds(f"outcomes.{name}", outcome.min, outcome.max)
    for name in spec.telemetry.arrival:
        _one_of("telemetry.arrival", name, spec.outcomes)
    _one_of("cost.success", spec.cost.success, spec.outcomes)
    if spec.cost.failure_column is not None:
        _one_of("cost.failure_column", spec.cost.failure_column, spec.outcomes)
    _in_range("cost.failure", spec.cost.failure, 0, 1e12)


def _check_value(where: str, text: str, spec: Spec, *, tracked: bool = False) -> None:
    try:
        value = Value.parse(text)
    except SpecError as error:
        message = f"{where}: {error}"
        raise SpecError(message) from None
    if value.residual and not tracked:
        _refuse(where, "an outcome, because only history tracks residuals", text)
    _one_of(where, value.outcome, spec.latent_factors if value.residual else {*spec.outcomes, FAILED, COST})


def _check_history(spec: Spec) -> None:
    history = spec.history
    for value in history.values:
        _check_value("history.values", value, spec, tracked=True)
    for half_life in history.half_lives:
        _duration("history.half_lives", half_life)
    for where, items in (
        ("values", history.values),
        ("half_lives", history.half_lives),
        ("keys", history.keys),
    ):
        if not items or len(set(items)) != len(items):
            _refuse(f"history.{where}", "at least one, none twice", list(items))
    _capacity("history.capacity", history.capacity)
    for name, parts in history.keys.items():
        if not parts or len(set(parts)) != len(parts):
            _refuse(f"history.keys.{name}", "at least one part, none twice", list(parts))
        for part in parts:
            _check_part(f"history.keys.{name}", part, spec)


def _check_latent_factors(spec: Spec) -> None:
    keys = spec.history.keys
    for name, model in spec.latent_factors.items():
        where = f"latent_factors.{name}"
        _check_value(f"{where}.value", model.value, spec)
        _one_of(f"{where}.value", model.value, spec.history.values)
        for side, key, own in (("client", model.client, (CLIENT, "request")), ("node", model.node, (NODE,))):
            _one_of(f"{where}.{side}", key, keys)
            if not all(part.partition(".")[0] in own for part in keys[key]):
                _refuse(f"{where}.{side}", f"a key of parts of the {own[-1]} alone", list(keys[key]))
        _in_range(f"{where}.rank", model.rank, 0, 64)
        _duration(f"{where}.half_life", model.half_life)
        _duration(f"{where}.memory", model.memory)
        _capacity(f"{where}.capacity", model.capacity)
    _shared("latent_factors", [model.capacity for model in spec.latent_factors.values()])


def _check_change_points(spec: Spec) -> None:
    for name, kind in spec.change_points.items():
        where = f"change_points.{name}"
        _check_value(f"{where}.value", kind.value, spec)
        _one_of(f"{where}.value", kind.value, spec.history.values)
        _one_of(f"{where}.group", kind.group, spec.history.keys)
        _one_of(f"{where}.member", kind.member, spec.history.keys)
        _in_range(f"{where}.tolerance", kind.tolerance, 0, 1e12)
        _duration(f"{where}.length", kind.length)
        _in_range(f"{where}.shape", kind.shape, 1, 16)
        _in_range(f"{where}.same", kind.same, 0.001, 0.999)
        _capacity(f"{where}.capacity", kind.capacity)
    _shared("change_points", [kind.capacity for kind in spec.change_points.values()])


def _check_part(where: str, part: str, spec: Spec) -> None:
    if part in (CLIENT, NODE):
        return
    side, _, column = part.partition(".")
    columns = {"request": spec.request, "node": spec.node}.get(side)
    if columns is None or column not in columns or columns[column].type != "category":
        _refuse(where, "client, node, request.CATEGORY or node.CATEGORY", part)


def _check_features(spec: Spec) -> None:
    if not spec.features:
        _refuse("features", "at least one feature", {})
    for name, feature in spec.features.items():
        where = f"features.{name}"
        match feature:
            case RequestColumn(column=column):
                _typed(where, column, spec.request, ("number", "category"))
            case NodeColumn(column=column):
                _typed(where, column, spec.node, ("number", "category"))
            case Clock(period=period):
                _duration(f"{where}.period", period)
            case Statistic():
                _check_statistic(where, feature, spec)
            case ShrunkMean():
                _check_shrunk(where, feature, spec)
            case LatentFactor(of=of):
                _one_of(f"{where}.of", of, spec.latent_factors)
            case ChangePoint(of=of):
                _one_of(f"{where}.of", of, spec.change_points)
            case _:
                _check_pair(where, feature, spec)


def _check_pair(where: str, feature: Equal | Difference | Distance | Dot, spec: Spec) -> None:
    wanted = {Equal: "category", Dot: "vector"}.get(type(feature), "number")
    for side, columns in ((feature.request, spec.request), (feature.node, spec.node)):
        for column in (side,) if isinstance(side, str) else side:
            _typed(where, column, columns, (wanted,))
    if isinstance(feature, Dot) and spec.request[feature.request].size != spec.node[feature.node].size:
        size = spec.request[feature.request].size
        _refuse(where, f"vectors of one size ({size})", spec.node[feature.node].size)


def _typed(where: str, column: str, columns: dict[str, Column], types: tuple[str, ...]) -> None:
    _one_of(where, column, columns)
    if columns[column].type not in types:
        _refuse(f"{where} ({column})", "a column of type " + " or ".join(types), columns[column].type)


def _check_statistic(where: str, feature: Statistic, spec: Spec) -> None:
    _one_of(f"{where}.key", feature.key, spec.history.keys)
    if feature.stat == "age":
        if feature.value is not None or feature.half_life is not None:
            _refuse(where, "no value and no half_life for the age of the last outcome", feature.value)
        return
    if feature.value is None:
        _refuse(f"{where}.value", "a value of the history", feature.value)
    else:
        _one_of(f"{where}.value", feature.value, spec.history.values)
    if feature.stat == "last":
        if feature.half_life is not None:
            _refuse(f"{where}.half_life", "none for the last value", feature.half_life)
    elif feature.half_life is None:
        _refuse(f"{where}.half_life", "a half-life of the history", feature.half_life)
    else:
        _one_of(f"{where}.half_life", feature.half_life, spec.history.half_lives)


def _check_shrunk(where: str, feature: ShrunkMean, spec: Spec) -> None:
    if len(set(feature.keys)) < max(len(feature.keys), 2):
        _refuse(f"{where}.keys", "two or more, none twice", list(feature.keys))
    for key in feature.keys:
        _one_of(f"{where}.keys", key, spec.history.keys)
    _one_of(f"{where}.value", feature.value, spec.history.values)
    _one_of(f"{where}.half_life", feature.half_life, spec.history.half_lives)
    _in_range(f"{where}.strength", feature.strength, 1e-6, 1e9)


def _check_heads(spec: Spec) -> None:
    if not spec.heads:
        _refuse("heads", "at least one head", {})
    for name, head in spec.heads.items():
        _check_value(f"heads.{name}.target", head.target, spec)
        value = Value.parse(head.target)
        if (head.link == "logistic") != (value.outcome == FAILED):
            _refuse(f"heads.{name}.link", "logistic for failed, and for nothing else", head.link)
        if head.link == "log" and not value.log1p:
            _refuse(f"heads.{name}.target", "log1p(...) with the link log", head.target)
        if head.quantile is not None and (head.link == "logistic" or not 0.0 < head.quantile < 1.0):
            _refuse(f"heads.{name}.quantile", "between 0 and 1, of a head with the link log or identity", head.quantile)
        if head.given_ok and value.outcome == FAILED:
            _refuse(f"heads.{name}.given_ok", "false for a head that predicts failure", head.given_ok)
        _check_offset(f"heads.{name}.offset", head, spec)
    failures = [name for name, head in spec.heads.items() if head.link == "logistic"]
    if len(failures) > 1:
        _refuse("heads", "at most one head with the link logistic", failures)


def _check_offset(where: str, head: Head, spec: Spec) -> None:
    """Refuse an offset that is no mean of the head's target."""
    known = [AUTO, NO_OFFSET, *offset_features(spec, head)]
    if head.offset not in known:
        means = f"a mean of {head.target} that does not belong to the node alone"
        _refuse(where, f"one of {', '.join(known)}; a feature has to be {means}", head.offset)


def _check_rest(spec: Spec) -> None:
    _check_utility(spec)
    for tier in spec.candidates.tiers:
        _check_tier(f"candidates.tiers.{tier.name}", tier, spec)
    _in_range("candidates.limit", spec.candidates.limit, 1, 65_536)
    if spec.ledger is not None:
        _typed("ledger.capacity", spec.ledger.capacity, spec.node, ("number",))
        _typed("ledger.demand", spec.ledger.demand, spec.request, ("number",))
        _duration("ledger.hold", spec.ledger.hold)
    _check_evaluation(spec)
    _check_watch(spec)
    _check_exploration(spec)
    policy = spec.policy
    _in_range("policy.max_nodes", policy.max_nodes, 1, 16)
    _in_range("policy.alternatives", policy.alternatives, 0, 64)
    for column, most in policy.spread.items():
        _typed("policy.spread", column, spec.node, ("category",))
        _in_range(f"policy.spread.{column}", most, 1, 16)


def _check_tier(where: str, tier: Tier, spec: Spec) -> None:
    for left, right in tier.match.items():
        _typed(where, left, spec.request, ("category",))
        _typed(where, right, spec.node, ("category", "categories"))
    sets = [right for right in tier.match.values() if spec.node[right].type == "categories"]
    if len(sets) > 1:
        _refuse(where, "at most one column of type categories", sets)
    if tier.limit is not None:
        _in_range(f"{where}.limit", tier.limit, 1, spec.candidates.limit)


def _check_exploration(spec: Spec) -> None:
    policy = spec.policy
    _in_range("policy.epsilon", policy.epsilon, 0, 1)
    _in_range("policy.temperature", policy.temperature, 1e-9, 1e12)
    _in_range("policy.uncertainty_scale", policy.uncertainty_scale, 0, 1e12)
    _in_range("policy.budget", policy.budget, 0, 1)
    if policy.max_utility_loss is not None:
        _in_range("policy.max_utility_loss", policy.max_utility_loss, 0, 1e12)
    _in_range("policy.newcomer_share", policy.newcomer_share, 0, 1)
    _in_range("policy.newcomer_below", policy.newcomer_below, 1, 1e9)
    if policy.uncertainty_source:
        _one_of("policy.count_key", policy.count_key, spec.history.keys)
    if policy.newcomer_share > 0:
        _one_of("policy.newcomer_key", policy.newcomer_key, spec.history.keys)


def _check_evaluation(spec: Spec) -> None:
    _in_range("evaluation.requests", spec.evaluation.requests, 1, 1e6)
    _in_range("evaluation.candidates", spec.evaluation.candidates, 2, 65_536)
    if spec.evaluation.place is not None:
        for column in spec.evaluation.place:
            _typed("evaluation.place", column, spec.request, ("number",))
            _typed("evaluation.place", column, spec.node, ("number",))
    if spec.evaluation.carrier is not None:
        _typed("evaluation.carrier", spec.evaluation.carrier, spec.request, ("category",))
        _typed("evaluation.carrier", spec.evaluation.carrier, spec.node, ("category",))


def _check_watch(spec: Spec) -> None:
    _duration("watch.window", spec.watch.window)
    for i, profile in enumerate(spec.utility.profiles):
        if profile.window is not None:
            _duration(f"utility.profiles[{i}].window", profile.window)
    if spec.watch.carrier is not None:
        _typed("watch.carrier", spec.watch.carrier, spec.node, ("category",))


def _check_utility(spec: Spec) -> None:
    utility = spec.utility
    for i, profile in enumerate(utility.profiles):
        for column in profile.when:
            _typed(f"utility.profiles[{i}].when", column, spec.request, ("category",))
    parts: dict[str, Utility | Profile] = {"utility": utility}
    parts |= {f"utility.profiles[{i}]": profile for i, profile in enumerate(utility.profiles)}
    for where, part in parts.items():
        for name, weight in part.heads.items():
            _one_of(f"{where}.heads", name, spec.heads)
            _finite(f"{where}.heads.{name}", weight)
        _finite(f"{where}.load", part.load)
        _finite(f"{where}.price_weight", part.price_weight)
        if part.load and spec.ledger is None:
            _refuse(f"{where}.load", "0 without a ledger section", part.load)
        if part.price_weight and utility.price is None:
            _refuse("utility.price", f"a node column, because {where}.price_weight has a weight", None)
    if utility.price is not None:
        _typed("utility.price", utility.price, spec.node, ("number",))


def _finite(where: str, weight: float | None) -> None:
    if weight is not None and not math.isfinite(weight):
        _refuse(where, "a finite weight", weight)
