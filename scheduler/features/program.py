"""Compile a spec's features into the arrays that kernels read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.ids import id_keys
from scheduler.columns.schema import Schema, Vocabulary
from scheduler.features import definitions
from scheduler.features.arrays import (
    NODE,
    OP_AGE,
    OP_CHANGE_POINT,
    OP_CLOCK,
    OP_COUNT,
    OP_DIFFERENCE,
    OP_DISTANCE,
    OP_DOT,
    OP_EQUAL,
    OP_LAST,
    OP_LATENT_FACTORS,
    OP_MEAN,
    OP_NODE,
    OP_NODE_CATEGORY,
    OP_REQUEST,
    OP_REQUEST_CATEGORY,
    OP_SHRUNK_MEAN,
    OP_TRAINED_MEAN,
    OP_VARIANCE,
    PAIR,
    REQUEST,
    FeatureProgram,
)
from scheduler.features.trained_means import MeansByKey, new_trained_means, no_means, trained_keys, trained_values
from scheduler.history.arrays import PARTS
from scheduler.history.change_point_arrays import CHANGE_POINT_PARTS
from scheduler.history.row_layout import last_value_place, slowest_weight_place, statistics_place
from scheduler.spec import (
    CLIENT,
    ChangePoint,
    Clock,
    Difference,
    Distance,
    Dot,
    Equal,
    Feature,
    LatentFactor,
    NodeColumn,
    RequestColumn,
    ShrunkMean,
    Spec,
    Statistic,
    TrainedMean,
    seconds,
)
from scheduler.spec import NODE as NODE_ID

_STAT_OPS = {"mean": OP_MEAN, "variance": OP_VARIANCE, "count": OP_COUNT, "last": OP_LAST, "age": OP_AGE}
_FADING = ("count", "age")


class Features(NamedTuple):
    """Compiled features of a spec.

    Attributes
    ----------
    names
        Feature names in the order of a row's columns.
    owners
        (n_features,) `REQUEST`, `NODE` or `PAIR`.
    categorical
        Indices of the features whose value is a category code.
    program
        The arrays that kernels read.
    request, node
        Places of request and node columns.
    """

    names: tuple[str, ...]
    owners: NDArray[np.int32]
    categorical: tuple[int, ...]
    program: FeatureProgram
    request: Schema
    node: Schema


def compile_features(spec: Spec, vocabulary: Vocabulary, means: MeansByKey | None = None) -> Features:
    """Compile a spec's features.

    The request owns a feature that changes only with the request. The node owns a feature that changes only when the
    node reports or has an outcome. The pair owns all others. A feature that decays with time belongs to the request or
    the pair.

    Parameters
    ----------
    spec
        A checked spec.
    vocabulary
        The model's categories, by ``request.COLUMN`` and ``node.COLUMN``.
    means
        The model's means of training; by default of no key.
    """
    request, node = Schema(spec.request), Schema(spec.node)
    n = len(spec.features)
    op, args, scale = np.zeros(n, np.int32), np.zeros((n, 4), np.int32), np.zeros(n)
    for f, feature in enumerate(spec.features.values()):
        op[f], row, scale[f] = _encode(feature, spec, request, node)
        args[f, : len(row)] = row
    owners = np.array([_owner(feature, spec) for feature in spec.features.values()], np.int32)
    parts, n_parts, part_side = _history_keys(spec, request, node)
    start, keys, codes = _categories(spec, vocabulary)
    program = FeatureProgram(
        op=op,
        args=args,
        scale=scale,
        request=np.flatnonzero(owners == REQUEST).astype(np.int32),
        node=np.flatnonzero(owners == NODE).astype(np.int32),
        pair=np.flatnonzero(owners == PAIR).astype(np.int32),
        every=np.arange(n, dtype=np.int32),
        parts=parts,
        n_parts=n_parts,
        part_side=part_side,
        chains=_chains(spec),
        models=_latent_factors(spec),
        change_points=_change_points(spec),
        key_seeds=definitions.seeds(definitions.history_keys(spec)),
        model_seeds=definitions.seeds(definitions.latent_factors(spec)),
        kind_seeds=definitions.seeds(definitions.change_points(spec)),
        node_keys=np.unique(args[(owners == NODE) & ~np.isin(op, (OP_NODE, OP_NODE_CATEGORY)), 0]).astype(np.int32),
        trained=new_trained_means(no_means(spec) if means is None else means),
        trained_keys=_places(spec.history.keys, trained_keys(spec)),
        trained_values=_places(spec.history.values, trained_values(spec)),
        category_start=start,
        category_keys=keys,
        category_codes=codes,
    )
    categorical = tuple(f for f, x in enumerate(spec.features.values()) if _is_category(x, spec))
    return Features(tuple(spec.features), owners, categorical, program, request, node)


def _places(known: Iterable[str], names: list[str]) -> NDArray[np.int32]:
    """Return the places of some names among all."""
    order = list(known)
    return np.array([order.index(name) for name in names], np.int32)


def _categories(
    spec: Spec, vocabulary: Vocabulary
) -> tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.float64]]:
    """Return the categories that the model knows of each feature; see `FeatureProgram`."""
    sizes, sorted_keys, codes = [0], [np.empty(0, np.uint64)], [np.empty(0)]
    for feature in spec.features.values():
        match feature:
            case RequestColumn(column=column):
                keys = id_keys(list(vocabulary.get(f"request.{column}", ())))
            case NodeColumn(column=column):
                keys = id_keys(list(vocabulary.get(f"node.{column}", ())))
            case _:
                keys = np.empty(0, np.uint64)
        order = np.argsort(keys)
        sizes.append(keys.size)
        sorted_keys.append(keys[order])
        codes.append(order.astype(np.float64))
    return np.cumsum(sizes).astype(np.int32), np.concatenate(sorted_keys), np.concatenate(codes)


def kept_columns(spec: Spec) -> set[str]:
    """Return the node columns that a node's forest row, history keys and posting lists depend on.

    The forest row reads columns of the node's own features; history keys and posting lists read categories.
    """
    read = {feature.column for feature in spec.features.values() if isinstance(feature, NodeColumn)}
    return read | {name for name, column in spec.node.items() if column.type == "category"}


def _encode(  # noqa: C901, PLR0911, PLR0912 - one case an operation
    feature: Feature, spec: Spec, request: Schema, node: Schema
) -> tuple[int, tuple[int, ...], float]:
    """Return a feature's operation, arguments and scale."""
    r, n = request.offsets, node.offsets
    match feature:
        case RequestColumn(column=column) if column in request.key_columns:
            return OP_REQUEST_CATEGORY, (request.key_columns[column],), 0.0
        case NodeColumn(column=column) if column in node.key_columns:
            return OP_NODE_CATEGORY, (0, node.key_columns[column]), 0.0
        case RequestColumn(column=column):
            return OP_REQUEST, (r[column],), 0.0
        case NodeColumn(column=column):
            return OP_NODE, (0, n[column]), 0.0
        case Clock(period=period):
            return OP_CLOCK, (), 1.0 / seconds(period)
        case Equal(request=left, node=right):
            return OP_EQUAL, (request.key_columns[left], node.key_columns[right]), 0.0
        case Difference(request=left, node=right):
            return OP_DIFFERENCE, (r[left], n[right]), 0.0
        case Distance(request=(lat, lon), node=(lat_n, lon_n)):
            return OP_DISTANCE, (r[lat], n[lat_n], r[lon], n[lon_n]), 0.0
        case Dot(request=left, node=right):
            return OP_DOT, (r[left], n[right], spec.request[left].size), 0.0
        case Statistic():
            return _STAT_OPS[feature.stat], _statistic_args(feature, spec), 0.0
        case ShrunkMean(strength=strength):
            return OP_SHRUNK_MEAN, _shrunk_args(feature, spec), strength
        case TrainedMean(keys=keys, value=value, strength=strength):
            return OP_TRAINED_MEAN, (_chain_keys(spec).index(keys), 2 * trained_values(spec).index(value)), strength
        case LatentFactor(of=of, part=part):
            return OP_LATENT_FACTORS, (list(spec.latent_factors).index(of), PARTS.index(part)), 0.0
        case ChangePoint(of=of, part=part):
            return OP_CHANGE_POINT, (list(spec.change_points).index(of), CHANGE_POINT_PARTS.index(part)), 0.0


def _statistic_args(feature: Statistic, spec: Spec) -> tuple[int, int, int]:
    """Return the history key's number, the place of the statistic in its row, and a third argument.

    The third is the half-life's number; for the last value, the place of a weight that is above 0 if there was one.
    """
    history = spec.history
    key = list(history.keys).index(feature.key)
    if feature.value is None:
        return key, 0, 0
    value = history.values.index(feature.value)
    if feature.half_life is None:
        return key, last_value_place(value), slowest_weight_place(spec, value)
    half_life = history.half_lives.index(feature.half_life)
    return key, statistics_place(spec, value, half_life), half_life


def _shrunk_args(feature: ShrunkMean, spec: Spec) -> tuple[int, int, int]:
    """Return the number of the feature's chain of keys, the place of its statistics, its half-life's number."""
    chain = _chain_keys(spec).index(feature.keys)
    half_life = spec.history.half_lives.index(feature.half_life)
    return chain, statistics_place(spec, spec.history.values.index(feature.value), half_life), half_life


def _chain_keys(spec: Spec) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(f.keys for f in spec.features.values() if isinstance(f, ShrunkMean | TrainedMean)))


def _chains(spec: Spec) -> NDArray[np.int32]:
    """Return the numbers of each chain's history keys; see `FeatureProgram`."""
    keys, chains = list(spec.history.keys), _chain_keys(spec)
    out = np.full((len(chains), max(map(len, chains), default=0)), -1, np.int32)
    for row, chain in zip(out, chains, strict=True):
        row[: len(chain)] = [keys.index(key) for key in chain]
    return out


def _owner(feature: Feature, spec: Spec) -> int:  # noqa: PLR0911 - one case an operation
    """Return the owner of a feature; see `compile_features`."""
    match feature:
        case RequestColumn() | Clock() | LatentFactor(part="client"):
            return REQUEST
        case NodeColumn():
            return NODE
        case ChangePoint(of=of, part="age" | "ended"):
            return REQUEST if all(map(_is_request, spec.history.keys[spec.change_points[of].group])) else PAIR
        case ShrunkMean(keys=keys) | TrainedMean(keys=keys) if all(
            _is_request(part) for key in keys for part in spec.history.keys[key]
        ):
            return REQUEST
        case Statistic(key=key, stat=stat):
            parts = spec.history.keys[key]
            if all(_is_request(part) for part in parts):
                return REQUEST
            # A key of the node's id alone changes only with that node's outcomes. A key of its carrier changes with the
            # outcomes of other nodes.
            return NODE if parts == (NODE_ID,) and stat not in _FADING else PAIR
        case _:
            return PAIR


def _is_request(part: str) -> bool:
    return part == CLIENT or part.startswith("request.")


def _is_category(feature: Feature, spec: Spec) -> bool:
    match feature:
        case RequestColumn(column=column):
            return spec.request[column].type == "category"
        case NodeColumn(column=column):
            return spec.node[column].type == "category"
        case _:
            return False


def _latent_factors(spec: Spec) -> NDArray[np.int32]:
    """Return what each model of latent factors reads and writes; see `FeatureProgram`."""
    keys, values = list(spec.history.keys), spec.history.values
    rows = [
        (
            values.index(model.value),
            keys.index(model.client),
            keys.index(model.node),
            values.index(f"residual({name})") if f"residual({name})" in values else -1,
        )
        for name, model in spec.latent_factors.items()
    ]
    return np.array(rows, np.int32).reshape(-1, 4)


def _change_points(spec: Spec) -> NDArray[np.int32]:
    """Return what each kind of group reads; see `FeatureProgram`."""
    keys, values = list(spec.history.keys), spec.history.values
    rows = []
    for kind in spec.change_points.values():
        value = values.index(kind.value)
        rows.append((value, keys.index(kind.group), keys.index(kind.member), slowest_weight_place(spec, value)))
    return np.array(rows, np.int32).reshape(-1, 4)


def _history_keys(
    spec: Spec, request: Schema, node: Schema
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return the parts of each history key, their number, and their side; see `FeatureProgram`."""
    keys = list(spec.history.keys.values())
    width = max(len(parts) for parts in keys)
    columns, side = np.zeros((len(keys), width), np.int32), np.zeros((len(keys), width), np.int32)
    for k, parts in enumerate(keys):
        for p, part in enumerate(parts):
            side[k, p] = not _is_request(part)
            schema = node if side[k, p] else request
            columns[k, p] = schema.key_columns[part.partition(".")[2]] if "." in part else 0
    return columns, np.array([len(parts) for parts in keys], np.int32), side
