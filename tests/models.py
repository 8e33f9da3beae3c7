"""A small model with every feature operation, two heads and a ledger, for tests of what surrounds a model."""

import dataclasses
from functools import cache
from pathlib import Path

import lightgbm as lgb
import msgspec
import numpy as np

from scheduler import Model, Spec
from scheduler.features.trained_means import MeansByKey
from scheduler.forest.trees import Trees
from scheduler.model.manifest import Calibration
from scheduler.spec import Policy, parse_spec
from tests.twins import History
from training.artifacts.write import write_artifact
from training.heads.lightgbm_trees import trees_from_lightgbm

SPEC = """
name = "small"

[telemetry]
client = "client_id"
node = "node_id"
time = "t"
slice = { column = "slice", seconds = 60 }
ok = "ok"
arrival = ["rtt_ms"]

[outcomes]
rtt_ms = { unit = "ms", min = 0, max = 60_000 }
speed = {}

[cost]
success = "rtt_ms"
failure = 1_000

[request]
kind = { type = "category" }
kbps = { min = 0 }
isp = { type = "category", source = "clients" }
lat = { min = -90, max = 90, source = "clients" }
lon = { min = -180, max = 180, source = "clients" }
taste = { type = "vector", size = 3, source = "clients" }

[node]
isp = { type = "category", source = "nodes" }
lat = { min = -90, max = 90, source = "nodes" }
lon = { min = -180, max = 180, source = "nodes" }
taste = { type = "vector", size = 3, source = "nodes" }
uplink = { min = 0, source = "nodes" }
price = { min = 0, source = "nodes" }
load = { min = 0, max = 1 }

[history]
values = ["log1p(rtt_ms)", "failed", "log1p(speed)"]
half_lives = ["1m", "1h"]
capacity = 4_096

[history.keys]
node = ["node"]
client = ["client"]
pair = ["client", "node"]
carriers = ["request.isp", "node.isp"]
kind_node = ["request.kind", "node"]

[features]
kind = { op = "request", column = "kind" }
kbps = { op = "request", column = "kbps" }
minute = { op = "clock", period = "10m" }
client_mean = { op = "history", key = "client", stat = "mean", value = "log1p(rtt_ms)", half_life = "1h" }
node_isp = { op = "node", column = "isp" }
load = { op = "node", column = "load" }
node_mean = { op = "history", key = "node", stat = "mean", value = "log1p(rtt_ms)", half_life = "1m" }
node_spread = { op = "history", key = "node", stat = "variance", value = "log1p(rtt_ms)", half_life = "1h" }
node_last = { op = "history", key = "node", stat = "last", value = "log1p(speed)" }
node_count = { op = "history", key = "node", stat = "count", value = "failed", half_life = "1m" }
node_age = { op = "history", key = "node", stat = "age" }
same_isp = { op = "equal", request = "isp", node = "isp" }
spare = { op = "difference", request = "kbps", node = "uplink" }
km = { op = "distance", request = ["lat", "lon"], node = ["lat", "lon"] }
match = { op = "dot", request = "taste", node = "taste" }
pair_failed = { op = "history", key = "pair", stat = "mean", value = "failed", half_life = "1h" }
carriers_speed = { op = "history", key = "carriers", stat = "mean", value = "log1p(speed)", half_life = "1m" }
kind_age = { op = "history", key = "kind_node", stat = "age" }

[heads.failure]
target = "failed"
link = "logistic"

[heads.latency]
target = "log1p(rtt_ms)"
link = "log"
given_ok = true
unit = "ms"

[utility]
heads = { latency = -1.0, failure = -1_000.0 }
price = "price"

[[utility.profiles]]
when = { kind = "live", isp = 7 }
heads = { failure = -9_000.0 }
price_weight = -5.0

[[utility.profiles]]
when = { kind = "bulk" }
price_weight = -50.0

[candidates]
limit = 24

[[candidates.tiers]]
name = "same carrier"
match = { isp = "isp" }
limit = 8

[[candidates.tiers]]
name = "any"
limit = 16
"""

FACTORS = """
[latent_factors.rtt]
value = "log1p(rtt_ms)"
rank = 3
half_life = "1m"
memory = "1h"
capacity = 1_024

[latent_factors.carriers_speed]
value = "log1p(speed)"
client = "isp"
node = "node_isp"
rank = 2

[change_points.calm]
value = "log1p(rtt_ms)"
tolerance = 0.5
length = "2m"
shape = 3
same = 0.25
capacity = 64

[change_points.carrier]
value = "failed"
group = "node_isp"
member = "node"

"""
MORE_FEATURES = """
fresh = { op = "change_point", of = "calm", part = "fresh" }
regime_age = { op = "change_point", of = "calm", part = "age" }
regime_ended = { op = "change_point", of = "calm", part = "ended" }
carrier_fresh = { op = "change_point", of = "carrier", part = "fresh" }
carrier_age = { op = "change_point", of = "carrier", part = "age" }
expected = { op = "latent_factors", of = "rtt" }
expected_speed = { op = "latent_factors", of = "carriers_speed" }
client_bias = { op = "latent_factors", of = "rtt", part = "client" }
node_bias = { op = "latent_factors", of = "rtt", part = "node" }
fit = { op = "latent_factors", of = "rtt", part = "pair" }
shrunk = { op = "shrunk", keys = ["pair", "kind_node", "node"], value = "log1p(rtt_ms)", half_life = "1h" }
shrunk_fast = { op = "shrunk", keys = ["pair", "node"], value = "failed", half_life = "1m", strength = 2 }
shrunk_client = { op = "shrunk", keys = ["client", "isp"], value = "failed", half_life = "1m" }
node_excess = { op = "history", key = "node", stat = "mean", value = "residual(rtt)", half_life = "1m" }

[heads.failure]
"""
EXTENDED = (
    SPEC.replace('"log1p(speed)"]', '"log1p(speed)", "residual(rtt)"]')
    .replace("[history.keys]\n", '[history.keys]\nisp = ["request.isp"]\nnode_isp = ["node.isp"]\n')
    .replace("[features]\n", FACTORS + "[features]\n")
    .replace("\n[heads.failure]\n", MORE_FEATURES)
)
"""The same with two factor models, one of them of carriers, with change_points, and with shrunk means."""

TRAINED = EXTENDED.replace(
    "\n[heads.failure]\n",
    """trained = { op = "trained_mean", keys = ["pair", "kind_node", "node"], value = "log1p(rtt_ms)" }
trained_client = { op = "trained_mean", keys = ["client"], value = "failed", strength = 2 }

[heads.failure]
""",
)
"""The same with means of training."""

WITH_SETS = """
[[candidates.tiers]]
name = "holders"
match = { kind = "content" }
limit = HOLDERS
[[candidates.tiers]]
name = "any"

[ledger]
capacity = "uplink"
demand = "kbps"
hold = "60s"

[policy]
explore = "epsilon"
epsilon = 0.5
max_nodes = 2
"""
"""Tiers that ask for a set of categories, a ledger, and slates of two."""

VOCABULARY = {
    "request.kind": ["live", "bulk"],
    "request.isp": [7, 8, "mobile"],
    "node.isp": ["mobile", 7, 8],
}
CALIBRATION = {
    "failure": Calibration(link="logistic", intercept=-0.5, slope=1.2, uncertainty=0.1, power=0.5),
    "latency": Calibration(link="log", intercept=3.0, slope=0.5, uncertainty=0.02, power=1.5),
}
CATEGORICAL = [0, 4]


def with_sets(text: str, *, holders: int = 8) -> str:
    """The same spec with a set of categories of each node, of whose holders a tier finds so many."""
    text = text.replace("[node]\n", '[node]\ncontent = { type = "categories", source = "nodes" }\n')
    return text[: text.index("[[candidates.tiers]]")] + WITH_SETS.replace("HOLDERS", str(holders))


def spec(text: str = SPEC) -> Spec:
    return parse_spec(text)


def feature_rows(n: int, seed: int, text: str = SPEC) -> np.ndarray:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, len(spec(text).features))).astype(np.float32)
    x[:, CATEGORICAL] = random.integers(0, 2, (n, len(CATEGORICAL)))
    x[:, [6, 7, 8, 15, 16]] = random.uniform(0, 6, (n, 5))
    x[:, 5] = random.uniform(0, 1, n)
    x[:, [1, 12]] = random.uniform(0, 8_000, (n, 2))
    x[:, 13] = random.uniform(0, 15_000, n)
    x[random.random(x.shape) < 0.15] = np.nan
    return x


@cache
def boosters(text: str = SPEC, seed: int = 1) -> dict[str, lgb.Booster]:
    x = feature_rows(2_000, seed, text)
    signal = np.nan_to_num((x - np.nanmean(x, axis=0)) / np.nanstd(x, axis=0)).sum(axis=1)
    options = {"verbose": -1, "num_threads": 1, "num_leaves": 9, "min_data_per_group": 5, "cat_smooth": 1.0}
    targets = {"failure": ((signal > 2).astype(float), "binary"), "latency": (signal / 4, "regression")}
    return {
        head: lgb.train(
            {**options, "objective": objective},
            lgb.Dataset(x, target, categorical_feature=CATEGORICAL),
            num_boost_round=20,
        )
        for head, (target, objective) in targets.items()
    }


def trees(text: str = SPEC, seed: int = 1) -> dict[str, Trees]:
    """The heads' trees with a variance for each leaf, as training would find one."""
    random = np.random.default_rng(5)
    heads = {head: trees_from_lightgbm(booster) for head, booster in boosters(text, seed).items()}
    return {
        head: one._replace(leaf_variance=random.exponential(size=len(one.leaf_value))) for head, one in heads.items()
    }


def means(known: History) -> MeansByKey:
    """The means of training that a twin of history knows, as an artifact has them."""
    values = [value for value in known.values if value in {one["value"] for one in known.trained_features}]
    keys = sorted({key for key, _ in known.means})
    rows = [[number for value in values for number in known.means.get((key, value), (0, 0))] for key in keys]
    return MeansByKey(np.array(keys, np.uint64), np.array(rows, np.float32).reshape(len(keys), 2 * len(values)))


def write_small(
    folder: Path,
    text: str = SPEC,
    *,
    seed: int = 1,
    vocabulary: dict | None = None,
    known: History | None = None,
    window: dict | None = None,
) -> Path:
    """Write the artifact; its means of training are those that a twin of history knows, by default none."""
    return write_artifact(
        folder,
        spec=spec(text),
        boosters=boosters(text, seed),
        calibration=CALIBRATION,
        vocabulary=VOCABULARY if vocabulary is None else vocabulary,
        metrics={},
        window=window or {},
        golden_rows=feature_rows(16, 2, text),
        trees=trees(text, seed),
        means=None if known is None else means(known),
    )


def changed(model: Model, **parts: object) -> Model:
    """The model with parts of its spec replaced that training does not depend on."""
    return dataclasses.replace(model, spec=msgspec.structs.replace(model.spec, **parts))


def exploring(model: Model, **policy: object) -> Model:
    return changed(model, policy=Policy(**policy))


def load_small(tmp_path_factory, text: str = SPEC) -> Model:
    return Model.load(write_small(tmp_path_factory.mktemp("artifacts") / "small", text))
