"""Trees walked node by node in plain Python, from LightGBM's text format; imports nothing that it judges."""

from __future__ import annotations

import math

ZERO = 1.0000000180025095e-35


def read_text(text):
    """Trees of a text model, each a dict of lists."""
    trees = []
    for block in text.split("\nTree=")[1:]:
        field = dict(line.partition("=")[::2] for line in block.split("\n\n")[0].splitlines() if "=" in line)
        tree = {"n": int(field["num_leaves"]), "value": [float(v) for v in field["leaf_value"].split()]}
        for key, name, kind in (
            ("feature", "split_feature", int),
            ("threshold", "threshold", float),
            ("decision", "decision_type", int),
            ("left", "left_child", int),
            ("right", "right_child", int),
            ("cat_start", "cat_boundaries", int),
            ("cat_bits", "cat_threshold", int),
        ):
            tree[key] = [kind(v) for v in field.get(name, "").split()]
        trees.append(tree)
    return trees


def goes_left(tree, split, value):
    """LightGBM's decision at one split, values up to its zero threshold read as 0 first."""
    if abs(value) <= ZERO:
        value = 0.0
    decision = tree["decision"][split]
    if decision & 1:
        if math.isnan(value) or not -1 < value < 2**31:
            return False
        category = int(value)
        number = int(tree["threshold"][split])
        bits = tree["cat_bits"][tree["cat_start"][number] : tree["cat_start"][number + 1]]
        return category // 32 < len(bits) and bool(bits[category // 32] >> category % 32 & 1)
    missing = decision >> 2
    if math.isnan(value) and missing != 2:
        value = 0.0
    if (missing == 1 and value == 0) or (missing == 2 and math.isnan(value)):
        return bool(decision & 2)
    return value <= tree["threshold"][split]


def leaf(tree, row):
    """Leaf number of one row."""
    if tree["n"] == 1:
        return 0
    node = 0
    while node >= 0:
        side = "left" if goes_left(tree, node, float(row[tree["feature"][node]])) else "right"
        node = tree[side][node]
    return ~node


def leaves(trees, rows):
    """Leaf numbers of rows, a list a row."""
    return [[leaf(tree, row) for tree in trees] for row in rows]


def scores(trees, rows):
    """Double sums in tree order, a number a row."""
    out = []
    for row in rows:
        total = 0.0
        for tree in trees:
            total += tree["value"][leaf(tree, row)]
        out.append(total)
    return out
