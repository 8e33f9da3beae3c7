"""The trees of one head and its offset as an ONNX model of raw scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import ForestError
from scheduler.forest.trees import CATEGORICAL, DEFAULT_LEFT, MISSING_NAN, MISSING_SHIFT, MISSING_ZERO, Trees
from scheduler.model.manifest import Offset
from training.artifacts.onnx_offset import offset_constants, offset_nodes

if TYPE_CHECKING:
    import onnx

ZERO = np.float32(1e-35)
"""LightGBM reads every value up to this size as 0."""

BRANCH_LEQ, BRANCH_MEMBER = 0, 6
"""Modes of the operator TreeEnsemble."""

OPSET, ML_OPSET, IR_VERSION = 21, 5, 10
"""The first operator set that has TreeEnsemble, and the versions that go with it."""


def to_onnx(trees: Trees, offset: tuple[int, Offset] | None = None) -> bytes:
    """Write trees as ONNX: input `features`, float32 (n, n_features), and output `raw_score`, float32 (n, 1).

    Thresholds are rounded down to float32, so that every float32 row reaches the same leaf as in LightGBM. Values are
    prepared for what the operator cannot express: values that LightGBM reads as 0 become NaN if zero is missing, and
    categories lose their fraction.

    Parameters
    ----------
    trees
        Checked trees of one head.
    offset
        What the raw score starts from, and the column of its feature. It is computed in double precision, rounded, and
        added to the sum of the trees.

    Returns
    -------
    bytes
        A serialized model of the operator TreeEnsemble (ONNX Runtime 1.20 or later). Every float32 row reaches
        LightGBM's leaf; sums are float32.

    Raises
    ------
    ForestError
        There is no tree, or a feature has splits that need different preparation.

    Notes
    -----
    The common converter treats zeros differently if zero is missing, and rounds thresholds to the nearest float32,
    which moves rows that lie on a threshold.
    """
    from onnx import TensorProto, checker, helper

    if not trees.n_trees:
        message = "ONNX: expected at least one tree, found none"
        raise ForestError(message)
    kind = _feature_kinds(trees)
    nodes = _prepare(kind)
    attributes = _ensemble(trees)
    total = "raw_score" if offset is None else "sum_of_trees"
    nodes.append(helper.make_node("TreeEnsemble", ["prepared"], [total], None, None, "ai.onnx.ml", **attributes))
    constants = _constants(kind)
    if offset is not None:
        nodes += offset_nodes(offset[1], total)
        constants += offset_constants(*offset)
    graph = helper.make_graph(
        nodes,
        "fogline",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(kind)])],
        [helper.make_tensor_value_info("raw_score", TensorProto.FLOAT, [None, 1])],
        initializer=constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fogline")
    checker.check_model(model)
    return model.SerializeToString()


PLAIN, ZERO_IS_MISSING, CATEGORY = range(3)


def _feature_kinds(trees: Trees) -> NDArray[np.int64]:
    """Return the preparation that each column needs; LightGBM gives a column one missing type, other tools may not."""
    missing = trees.decision >> MISSING_SHIFT
    needs = np.where(
        trees.decision & CATEGORICAL,
        CATEGORY,
        np.where(missing == MISSING_ZERO, ZERO_IS_MISSING, PLAIN),
    )
    kind = np.zeros(int(trees.n_features), np.int64)
    for column in np.unique(trees.feature):
        found = np.unique(needs[trees.feature == column])
        if len(found) > 1:
            message = f"ONNX: expected splits of one kind on feature {column}, found zero-as-missing or categorical "
            message += "ones beside others"
            raise ForestError(message)
        kind[column] = found[0]
    return kind


def _prepare(kind: NDArray[np.int64]) -> list[onnx.NodeProto]:
    """Nodes from `features` to `prepared`."""
    from onnx import helper

    nodes, last = [], "features"
    if np.any(kind == ZERO_IS_MISSING):
        nodes += [
            helper.make_node("Abs", [last], ["size"]),
            helper.make_node("LessOrEqual", ["size", "zero_size"], ["is_zero"]),
            helper.make_node("And", ["is_zero", "is_zero_missing"], ["is_missing"]),
            helper.make_node("Where", ["is_missing", "nan", last], ["with_missing"]),
        ]
        last = "with_missing"
    if np.any(kind == CATEGORY):
        # ONNX has no truncation; below zero no category is known, but values above -1 are category 0.
        nodes += [
            helper.make_node("Floor", [last], ["floor"]),
            helper.make_node("Ceil", [last], ["ceil"]),
            helper.make_node("Less", [last, "nought"], ["is_negative"]),
            helper.make_node("Where", ["is_negative", "ceil", "floor"], ["whole"]),
            helper.make_node("Where", ["is_category", "whole", last], ["with_categories"]),
        ]
        last = "with_categories"
    nodes.append(helper.make_node("Identity", [last], ["prepared"]))
    return nodes


def _constants(kind: NDArray[np.int64]) -> list[onnx.TensorProto]:
    from onnx import numpy_helper

    constants: dict[str, Any] = {}
    if np.any(kind == ZERO_IS_MISSING):
        constants |= {
            "zero_size": ZERO,
            "nan": np.float32(np.nan),
            "is_zero_missing": kind == ZERO_IS_MISSING,
        }
    if np.any(kind == CATEGORY):
        constants |= {"nought": np.float32(0), "is_category": kind == CATEGORY}
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]


def _ensemble(trees: Trees) -> dict[str, Any]:
    """Attributes of the operator; a tree of one leaf becomes a split with that leaf on both sides."""
    from onnx import TensorProto, helper, numpy_helper

    columns: dict[str, list[int]] = {
        key: []
        for key in (
            "featureids",
            "truenodeids",
            "trueleafs",
            "falsenodeids",
            "falseleafs",
            "modes",
            "missing",
        )
    }
    splits: list[np.float32] = []
    members: list[float] = []
    roots: list[int] = []
    for tree in range(trees.n_trees):
        first, last = int(trees.node_start[tree]), int(trees.node_start[tree + 1])
        base, leaf_base = len(splits), int(trees.leaf_start[tree])
        roots.append(base)
        if first == last:
            row = {"truenodeids": leaf_base, "trueleafs": 1, "falsenodeids": leaf_base, "falseleafs": 1}
            _append(columns, row | {"featureids": 0, "modes": BRANCH_LEQ, "missing": 0})
            splits.append(np.float32(0))
        for split in range(first, last):
            _append(columns, _split_row(trees, split, base, leaf_base))
            is_set = bool(trees.decision[split] & CATEGORICAL)
            splits.append(np.float32(0) if is_set else _threshold(float(trees.threshold[split])))
            if is_set:
                members += [*_members(trees, int(trees.threshold[split])), np.nan]
    attributes = {f"nodes_{key}": columns[key] for key in columns if key not in ("modes", "missing")}
    if members:
        attributes["membership_values"] = numpy_helper.from_array(np.array(members, np.float32))
    return attributes | {
        "nodes_modes": helper.make_tensor("modes", TensorProto.UINT8, [len(splits)], columns["modes"]),
        "nodes_missing_value_tracks_true": columns["missing"],
        "nodes_splits": numpy_helper.from_array(np.array(splits, np.float32)),
        "tree_roots": roots,
        "leaf_targetids": [0] * len(trees.leaf_value),
        "leaf_weights": numpy_helper.from_array(trees.leaf_value.astype(np.float32)),
        "n_targets": 1,
        "aggregate_function": 1,
        "post_transform": 0,
    }


def _split_row(trees: Trees, split: int, base: int, leaf_base: int) -> dict[str, int]:
    """Return what the operator's columns say of one split of a tree whose splits and leaves begin at two numbers."""
    is_set = bool(trees.decision[split] & CATEGORICAL)
    row = {
        "featureids": int(trees.feature[split]),
        "modes": BRANCH_MEMBER if is_set else BRANCH_LEQ,
        "missing": 0 if is_set else _missing_left(trees, split),
    }
    for side, child in (("true", int(trees.left[split])), ("false", int(trees.right[split]))):
        row[f"{side}leafs"] = int(child < 0)
        row[f"{side}nodeids"] = leaf_base + ~child if child < 0 else base + child
    return row


def _append(columns: dict[str, list[int]], row: dict[str, int]) -> None:
    for key, value in row.items():
        columns[key].append(value)


def _threshold(threshold: float) -> np.float32:
    """Return the greatest float32 that goes left; all values that LightGBM reads as 0 go where 0 goes."""
    if -float(ZERO) <= threshold < float(ZERO):
        return ZERO if threshold >= 0 else np.nextafter(-ZERO, np.float32(-np.inf))
    with np.errstate(over="ignore"):
        rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded


def _missing_left(trees: Trees, split: int) -> int:
    """Return whether NaN goes left: by default direction, or as 0 if nothing counts as missing."""
    decision = int(trees.decision[split])
    if decision >> MISSING_SHIFT in (MISSING_ZERO, MISSING_NAN):
        return int(bool(decision & DEFAULT_LEFT))
    return int(trees.threshold[split] >= 0)


def _members(trees: Trees, number: int) -> list[int]:
    bits = trees.cat_bits[trees.cat_start[number] : trees.cat_start[number + 1]]
    members = np.flatnonzero(np.unpackbits(bits.astype("<u4").view(np.uint8), bitorder="little"))
    return [int(member) for member in members]
