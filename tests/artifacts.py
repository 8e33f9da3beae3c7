"""A small trained model of two heads and its artifact, for tests that need one."""

import hashlib
from functools import cache
from pathlib import Path

import lightgbm as lgb
import msgspec
import numpy as np

from scheduler.model.manifest import MANIFEST, Calibration, Manifest, encode_manifest
from scheduler.spec import Spec, parse_spec
from training.artifacts.write import write_artifact

SPEC = """
name = "tiny"

[telemetry]
client = "client_id"
node = "node_id"
slice = { column = "slice", seconds = 60 }
ok = "ok"

[outcomes]
rtt_ms = { unit = "ms", min = 0 }

[cost]
success = "rtt_ms"
failure = 1_000

[request]
isp = { type = "category" }
hour = {}

[node]
isp = { type = "category" }
uplink_kbps = {}

[history]
values = ["log1p(rtt_ms)", "failed"]
half_lives = ["1h"]
keys = { node = ["node"], pair = ["client", "node"] }

[features]
request_isp = { op = "request", column = "isp" }
hour = { op = "request", column = "hour" }
node_isp = { op = "node", column = "isp" }
uplink = { op = "node", column = "uplink_kbps" }
same_isp = { op = "equal", request = "isp", node = "isp" }
node_mean = { op = "history", key = "node", stat = "mean", value = "log1p(rtt_ms)", half_life = "1h" }
pair_failed = { op = "history", key = "pair", stat = "mean", value = "failed", half_life = "1h" }

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
"""

VOCABULARY = {"request.isp": ["red", "green", "blue"], "node.isp": [10, 20, "blue"]}
CALIBRATION = {
    "failure": Calibration(link="logistic", intercept=-0.5, slope=1.5),
    "latency": Calibration(link="log", intercept=0.25, slope=0.5),
}


def spec() -> Spec:
    return parse_spec(SPEC)


def rows(n: int = 64, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 7)).astype(np.float32)
    x[:, [0, 2]] = random.integers(0, 3, (n, 2))
    x[random.random(x.shape) < 0.1] = np.nan
    return x


@cache
def boosters(seed: int = 0) -> dict[str, lgb.Booster]:
    x = rows(2_000, seed)
    signal = np.nan_to_num(x) @ np.array([1.0, 0.5, -1.0, 0.5, 0.2, 1.0, 0.5])
    options = {"verbose": -1, "num_threads": 1, "num_leaves": 7, "min_data_per_group": 5, "cat_smooth": 1.0}
    targets = {"failure": (signal > 1).astype(float), "latency": signal}
    objectives = {"failure": "binary", "latency": "regression"}
    return {
        head: lgb.train(
            {**options, "objective": objectives[head]},
            lgb.Dataset(x, target, categorical_feature=[0, 2]),
            num_boost_round=10,
        )
        for head, target in targets.items()
    }


def write_tiny(folder: Path, *, seed: int = 0, **changes: object) -> Path:
    """Write the artifact; `changes` replace arguments of `write_artifact`."""
    parts = {
        "spec": spec(),
        "boosters": boosters(seed),
        "calibration": CALIBRATION,
        "vocabulary": VOCABULARY,
        "metrics": {"latency.mae": 1.5, "failure.auc": float("nan")},
        "window": {"rows": 2_000, "until_slice": 9},
        "golden_rows": rows(16, seed + 1),
    }
    return write_artifact(folder, **(parts | changes))


def edit_manifest(folder: Path, **changes: object) -> None:
    """Change fields of the manifest and give it the digest that fits."""
    path = folder / MANIFEST
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    path.write_bytes(encode_manifest(msgspec.structs.replace(manifest, **changes)))


def sign(folder: Path, **changes: object) -> Path:
    """Make the manifest agree with the files as they are now, and change other fields; return the folder."""
    others = [path for path in folder.iterdir() if path.name != MANIFEST]
    edit_manifest(
        folder, files={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in others}, **changes
    )
    return folder
