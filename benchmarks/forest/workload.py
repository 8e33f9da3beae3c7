"""Models and rows for timing a forest: seeded, with no network and no clock."""

from __future__ import annotations

from pathlib import Path

import lightgbm as lgb
import numpy as np

SHAPES = {"100x31": (100, 31), "100x63": (100, 63), "300x31": (300, 31)}
"""Trees and leaves."""
N_FEATURES, BATCH, N_BATCHES = 24, 256, 128
REQUEST, NODE, PAIR = list(range(6)), list(range(6, 21)), [21, 22, 23]
"""Six features of the request, fifteen of the node, three of both."""


def train(shape: str, path: Path) -> None:
    """Write a regression model of 24 normal features with products, steps and waves between them."""
    trees, leaves = SHAPES[shape]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60_000, N_FEATURES))
    params = {"objective": "regression", "num_leaves": leaves, "verbose": -1, "seed": 0, "min_data_in_leaf": 5}
    lgb.train(params, lgb.Dataset(x, target(x, rng)), trees).save_model(path)


def target(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All features matter, some only together."""
    return (
        x @ rng.normal(size=N_FEATURES)
        + x[:, 0] * x[:, 1]
        + 2 * np.sin(3 * x[:, 2])
        + np.abs(x[:, 23]) * x[:, 22]
        + np.sign(x[:, 21]) * x[:, 5]
        + rng.normal(size=len(x))
    )


def rows() -> np.ndarray:
    """32,768 distinct float32 rows in 128 batches of 256 candidates; a batch shares its request's features."""
    x = np.random.default_rng(3).normal(size=(N_BATCHES, BATCH, N_FEATURES)).astype(np.float32)
    x[:, :, REQUEST] = x[:, :1, REQUEST]
    return x


def slots() -> np.ndarray:
    """Where each candidate's node lies among 32,768: scattered, as retrieval leaves them."""
    return np.random.default_rng(4).permutation(N_BATCHES * BATCH).reshape(N_BATCHES, BATCH)
