"""What a full record says in the terms of the model that made it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.values import Plain
from scheduler.columns.ids import Id, id_key
from scheduler.decisions.record.arrays import ADMITTED, PADDING
from scheduler.decisions.record.values import FullRecord
from scheduler.errors import InputError
from scheduler.features.arrays import FeatureT
from scheduler.model.model import Model
from scheduler.spec import Equal, NodeColumn, RequestColumn

RAW_TOLERANCE = 1e-4
"""Of a raw score, relative to 1 + its size: sums of 300 and more float32 leaves are within 2e-5 of the exact sum."""


def whole_row(record: FullRecord, model: Model, c: int) -> NDArray[np.float32]:
    """Return the feature row of candidate ``c``, columns as in ``model.features.names``."""
    program = model.features.program
    row = np.full(len(model.features.names), np.nan, FeatureT)
    row[program.request], row[program.node], row[program.pair] = record.x_request, record.x_node[c], record.x_pair[c]
    return row


def candidates_left(record: FullRecord) -> NDArray[np.intp]:
    """Return the candidates that no filter dropped, in their order."""
    return np.flatnonzero(record.verdict == ADMITTED)


def n_candidates(record: FullRecord) -> int:
    """Return how many candidates there were."""
    return int(np.sum(record.verdict != PADDING))


def slate_of(record: FullRecord, model: Model) -> list[int]:
    """Return the candidates of the slate."""
    return [int(c) for c in record.position[: model.spec.policy.max_nodes] if c >= 0]


def alternatives_of(record: FullRecord, model: Model) -> list[int]:
    """Return the candidates that are alternatives, best first."""
    return [int(c) for c in record.position[model.spec.policy.max_nodes :] if c >= 0]


def find_candidate(record: FullRecord, node: Id) -> int | None:
    """Return the place of a node among the candidates, None if it is not among them."""
    found = np.flatnonzero(record.node_keys[:, 0] == np.uint64(id_key(node)))
    return int(found[0]) if found.size else None


def node_of(record: FullRecord, c: int) -> Id:
    """Return the id of candidate ``c``; one that had left before its id was looked up goes by its key."""
    id_ = record.nodes[c]
    return f"key {int(record.node_keys[c, 0]):016x}" if id_ is None else id_


def plain_value(model: Model, f: int, value: float) -> Plain:
    """Return a feature's value as an operator knows it; a category by its name, None for one that is not known."""
    if np.isnan(value):
        return None
    feature = model.spec.features[model.features.names[f]]
    if isinstance(feature, Equal):
        return bool(value)
    if f in model.features.categorical and isinstance(feature, RequestColumn | NodeColumn):
        side = "request" if isinstance(feature, RequestColumn) else "node"
        known = model.vocabulary[f"{side}.{feature.column}"]
        return known[int(value)] if 0 <= value < len(known) else None
    return float(value)


def fits(record: FullRecord, model: Model) -> bool:
    """Return whether a model scored the record: its exact raw scores are near the recorded ones."""
    n_features, n_heads = model.features.program, len(model.heads)
    widths = (record.x_request.size, record.x_node.shape[1], record.x_pair.shape[1])
    if widths != (n_features.request.size, n_features.node.size, n_features.pair.size):
        return False
    if record.raw.shape[1] not in (n_heads, 2 * n_heads) or record.values.shape[1] != n_heads:
        return False
    left = candidates_left(record)[:1]
    if left.size == 0:
        return True
    expected = model.raw(whole_row(record, model, int(left[0]))[None])[0]
    found = record.raw[left[0], :n_heads]
    return bool(np.all(np.abs(found - expected) <= RAW_TOLERANCE * (1.0 + np.abs(expected))))


def check_fits(record: FullRecord, model: Model) -> None:
    """Raise `InputError` unless a model scored the record."""
    if not fits(record, model):
        message = (
            f"model: expected the one that made decision {record.id}, found {model.name}-{model.version}, "
            "whose raw scores differ from the recorded ones"
        )
        raise InputError(message)
