"""What a head's raw score starts from, as nodes of ONNX; `scheduler.model.offsets.offset_values` does the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scheduler.model.manifest import Offset

if TYPE_CHECKING:
    import onnx

TRANSFORMS: dict[str, list[tuple[str, list[str], str]]] = {
    "none": [],
    "log1p": [("Add", ["offset_x", "offset_one"], "offset_1p"), ("Log", ["offset_1p"], "offset_z")],
    "logit": [
        ("Sub", ["offset_one", "offset_x"], "offset_rest"),
        ("Div", ["offset_x", "offset_rest"], "offset_odds"),
        ("Log", ["offset_odds"], "offset_z"),
    ],
}
"""Operator, inputs and output of each step of a transform."""


def offset_nodes(offset: Offset, total: str) -> list[onnx.NodeProto]:
    """Return nodes that add an offset, a function of a column of `features`, to `total` and give `raw_score`."""
    from onnx import TensorProto, helper

    z = "offset_z" if TRANSFORMS[offset.transform] else "offset_x"
    steps = [
        ("Min", ["offset_known", "offset_most"], "offset_below"),
        ("Max", ["offset_below", "offset_least"], "offset_x"),
        *TRANSFORMS[offset.transform],
        ("Mul", [z, "offset_slope"], "offset_scaled"),
        ("Add", ["offset_scaled", "offset_intercept"], "offset_line"),
        ("Where", ["offset_is_missing", "offset_missing", "offset_line"], "offset_double"),
    ]
    return [
        helper.make_node("Gather", ["features", "offset_column"], ["offset_feature"], axis=1),
        helper.make_node("IsNaN", ["offset_feature"], ["offset_is_missing"]),
        helper.make_node("Cast", ["offset_feature"], ["offset_wide"], to=TensorProto.DOUBLE),
        helper.make_node("Where", ["offset_is_missing", "offset_least", "offset_wide"], ["offset_known"]),
        *(helper.make_node(operator, inputs, [output]) for operator, inputs, output in steps),
        helper.make_node("Cast", ["offset_double"], ["offset_added"], to=TensorProto.FLOAT),
        helper.make_node("Add", [total, "offset_added"], ["raw_score"]),
    ]


def offset_constants(column: int, offset: Offset) -> list[onnx.TensorProto]:
    """Return the numbers that the nodes read."""
    from onnx import numpy_helper

    numbers = {
        "least": offset.least,
        "most": offset.most,
        "slope": offset.slope,
        "intercept": offset.intercept,
        "missing": offset.missing,
        **({"one": 1.0} if TRANSFORMS[offset.transform] else {}),
    }
    constants = [numpy_helper.from_array(np.array(value, np.float64), f"offset_{k}") for k, value in numbers.items()]
    return [numpy_helper.from_array(np.array([column], np.int64), "offset_column"), *constants]
