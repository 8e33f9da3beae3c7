"""What an artifact says never makes loading take more memory or time than its own bytes warrant."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from scheduler.features.trained_means import MeansByKey, encode_means
from scheduler.forest.trees import FORMAT, Trees, load_trees
from scheduler.model.manifest import GOLDEN, MEANS, SPEC, head_files
from tests import models
from tests.artifacts import rows, sign, write_tiny
from tests.scheduler.forest.models import single_splits, staircases

pytestmark = pytest.mark.slow

MOST_SECONDS, MOST_MEGABYTES = 10.0, 400
"""For each artifact, on top of what Python and the library themselves take."""

LOAD = """
import resource, sys, time
from pathlib import Path
from scheduler import FoglineError, Model

def most():  # megabytes that were in memory at once since the last reset
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

Model.load(sys.argv[1])  # what is made once: kernels, tables of numpy
limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 4 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for folder in sys.argv[2:]:
    Path("/proc/self/clear_refs").write_text("5")
    before, start = most(), time.perf_counter()
    try:
        Model.load(folder)
        answer = "loaded"
    except FoglineError as error:
        answer = f"{type(error).__name__}: {error}"
    print(most() - before, f"{time.perf_counter() - start:.1f}", answer[:300], sep="\t")
"""


def with_trees(folder: Path, heads: dict[str, Trees]) -> Path:
    """Put other trees into an artifact, with golden rows that fit their number."""
    n_trees = 0
    for head in ("failure", "latency"):
        path = folder / head_files(head)[0]
        trees = heads.get(head) or load_trees(path)
        n_trees += trees.n_trees
        np.savez(path, format=np.int32(FORMAT), **trees._asdict())
    zeros = np.zeros((1, 2))
    golden = {"rows": rows(1), "leaves": np.zeros((1, n_trees), np.int32), "raw": zeros, "values": zeros}
    np.savez(folder / GOLDEN, **golden, variance=zeros)
    return sign(folder)


def with_spec(folder: Path, **parts: object) -> Path:
    spec = msgspec.json.decode((folder / SPEC).read_bytes())
    for path, value in parts.items():
        *tables, key = path.split("__")
        table = spec
        for name in tables:
            table = table[name]
        table[key] = value
    (folder / SPEC).write_bytes(msgspec.json.encode(spec))
    return sign(folder)


def with_vocabulary(folder: Path, n: int) -> Path:
    return sign(folder, vocabulary={"request.isp": list(range(n)), "node.isp": [10, 20, "blue"]})


def with_golden_rows(folder: Path, n: int) -> Path:
    with np.load(folder / GOLDEN) as archive:
        golden = {name: np.repeat(archive[name][:1], n, axis=0) for name in archive.files}
    np.savez(folder / GOLDEN, **golden)
    return sign(folder)


def with_means(folder: Path, keys: np.ndarray) -> Path:
    """Write an artifact beside the folder whose means of training are of these keys."""
    folder = models.write_small(folder.with_name(f"{folder.name}-means"), models.TRAINED)
    means = MeansByKey(keys.astype(np.uint64), np.ones((keys.size, 4), np.float32))
    (folder / MEANS).write_bytes(encode_means(means))
    return sign(folder)


SEVEN = {"n_features": 7, "feature": 1}
ARTIFACTS = {
    "8,000 trees of a split": lambda a: with_trees(a, {"failure": single_splits(8_000, **SEVEN)}),
    "16,000 trees of a split": lambda a: with_trees(a, {"failure": single_splits(16_000, **SEVEN)}),
    "5,000 trees of a split": lambda a: with_trees(a, {"latency": single_splits(5_000, **SEVEN)}),
    "33,000 trees of a split": lambda a: with_trees(a, {"latency": single_splits(33_000, n_values=1, **SEVEN)}),
    "a set of categories that many splits share": lambda a: with_trees(
        a, {"failure": single_splits(5_000, n_words=30_000, n_features=7)}
    ),
    "600 deep trees of many thresholds": lambda a: with_trees(a, {"failure": staircases(600, 64, 7, 10**9)}),
    "features without end": lambda a: with_trees(a, {"failure": single_splits(9, n_features=2**31 - 1, feature=2**30)}),
    "400,000 categories": lambda a: with_vocabulary(a, 400_000),
    "2,000,000 categories": lambda a: with_vocabulary(a, 2_000_000),
    "100,000 golden rows": lambda a: with_golden_rows(a, 100_000),
    "a vector of 10**9": lambda a: with_spec(a, node__uplink_kbps={"type": "vector", "size": 10**9, "source": "nodes"}),
    "candidates without end": lambda a: with_spec(a, candidates={"limit": 2**62}),
    "300,000 tiers": lambda a: with_spec(a, candidates={"tiers": [{"name": "x"}] * 300_000}),
    "a spec of 2 MB": lambda a: with_spec(a, about="x" * 2**21),
    "2,000,000 means": lambda a: with_means(a, np.sort(np.random.default_rng(0).integers(1, 2**62, 2_000_000))),
    "2,000,000 means that crowd": lambda a: with_means(a, (np.arange(1, 2_000_001) << 32) + 5),
    "a slate of 10**12": lambda a: with_spec(a, policy={"max_nodes": 10**12, "alternatives": 10**12}),
}


def random_trees(folder: Path, seed: int) -> Path:
    """Put trees of any shape into an artifact, half a megabyte at most."""
    rng = np.random.default_rng(seed)
    n_leaves, n_values = int(rng.integers(2, 65)), int(10 ** rng.uniform(0, 6))
    n_trees = int(rng.integers(1, 500_000 // (40 * n_leaves)))
    trees = staircases(n_trees, n_leaves, 5, n_values, seed=seed)
    numbers = np.array([1, 3, 4, 5, 6], np.int32)[trees.feature]
    return with_trees(folder, {"failure": trees._replace(n_features=np.array(7, np.int32), feature=numbers)})


ARTIFACTS |= {f"random trees {seed}": partial(random_trees, seed=seed) for seed in range(12)}


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[float, float, str]]:
    """Load every artifact in another process, one after the other: megabytes so far, seconds, and the answer."""
    root = tmp_path_factory.mktemp("artifacts")
    sound = write_tiny(root / "sound")
    folders = [make(write_tiny(root / f"a{i}")) for i, make in enumerate(ARTIFACTS.values())]
    command = [sys.executable, "-c", LOAD, *map(str, (sound, *folders))]
    run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    lines = [line.split("\t") for line in run.stdout.splitlines()]
    return {
        name: (float(size), float(time), answer) for name, (size, time, answer) in zip(ARTIFACTS, lines, strict=True)
    }


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_artifact_is_loaded_or_refused_within_bounds(answers, name):
    size, time, answer = answers[name]
    assert size < MOST_MEGABYTES, answer
    assert time < MOST_SECONDS, answer
    # Trees that fit the bounds are refused by golden rows that were made up.
    assert answer == "loaded" or answer.startswith("ArtifactError: ")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("8,000 trees of a split", "expected trees whose tables take at most"),
        ("16,000 trees of a split", "expected trees whose tables take at most"),
        ("33,000 trees of a split", "latency.forest.npz: expected at most 32768 trees, found 33000"),
        ("a set of categories that many splits share", "expected trees whose tables take at most"),
        ("features without end", "expected 7 features, found 2147483647"),
        ("2,000,000 categories", "manifest.json: expected at most 8,388,608 bytes"),
        ("a vector of 10**9", "spec.json: node: numbers of all columns: expected at most 16,384"),
        ("candidates without end", "spec.json: candidates.limit"),
        ("2,000,000 means", "loaded"),
        ("2,000,000 means that crowd", "means.npz: means of training: expected hashes as keys"),
        ("a spec of 2 MB", "spec.json: spec: expected at most 1,048,576 bytes"),
    ],
)
def test_what_would_take_too_much_is_named(answers, name, words):
    assert words in answers[name][2]
