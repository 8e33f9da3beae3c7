"""With the JIT off kernels are plain Python: open to a debugger, silent, and with the same answers."""

import json
import math
import os
import subprocess
import sys
import tomllib
import warnings
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from scheduler import Forest, Model
from scheduler.forest import mask_tables
from scheduler.runtime.great_circle import distance_km
from scheduler.runtime.random import uniform
from scheduler.spec import Tier
from tests import models, schedulers, twins
from tests.index_world import World
from tests.scheduler.forest.models import booster_of, random_model, scores_and_variances
from training.heads.lightgbm_trees import trees_from_lightgbm

ROOT = Path(__file__).resolve().parents[2]
PLAIN = (
    "import json, sys; from tests.scheduler.test_without_jit import answers; print(json.dumps(answers(*sys.argv[1:])))"
)


def answers(folder):
    """What a model's kernels say, in plain values: a model with every operation, learning between decisions."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sched = schedulers.new(Model.load(folder), ledger=schedulers.LEDGER)
        said = []
        for now in range(3):
            decision = sched.decide({"client_id": 17, "kind": "live", "kbps": 500.0}, now=float(now))
            sched.observe(decision.id, schedulers.OK, now=now + 0.5)
            said.append([list(decision.nodes), decision.propensity, list(decision.scores), decision.dropped])
        scores = sched.score({"client_id": ["tv", "unknown"]}, [[1, 2], ["box", 3]], now=4.0)
        said.append({head: of.tolist() for head, of in scores.items()})
        nowhere = [distance_km(0.0, 0.0, x, 0.0) for x in (math.nan, math.inf)]
        return [
            *said,
            holders(),
            *scores_either_way(),
            [str(km) for km in nowhere],
            distance_km(1.0, 2.0, -3.0, 179.0),
            uniform(2**63 - 1, 5, 7),
        ]


def scores_either_way():
    """Scores and variances of pair features looked up by masks, and by splits."""
    scores = []
    for max_leaves in (20, 40):
        rng = np.random.default_rng(max_leaves)
        trees = trees_from_lightgbm(booster_of(random_model(rng, 20, max_leaves, 6)))
        trees = trees._replace(leaf_variance=rng.random(len(trees.leaf_value)))
        x = rng.normal(size=(70, 6))
        for cost in (0.0, 1e9):
            with mock.patch.object(mask_tables, "MASK_CYCLES", cost):
                forest = Forest.build([trees, trees], node=[0], pair=range(1, 6))
            call = forest.request_row([]), forest.node_rows(x[:, :1]), np.arange(70), x[:, 1:]
            scores += [part.tolist() for part in scores_and_variances(forest, *call)]
    return scores


def holders():
    """What tiers find among nodes whose sets grow, shrink, move and go."""
    world = World(Tier(name="near", match={"content": "content", "isp": "isp"}, limit=3), Tier(name="any"))
    world.put({slot: (slot % 3, "n") for slot in range(60)})
    world.add([(slot, (slot * k) % 23) for slot in range(60) for k in range(12)])
    world.discard([(slot, content) for slot in range(0, 60, 2) for content in range(4, 23)])
    world.replace({3: ["a", 7], 5: []})
    world.put(dict.fromkeys(range(0, 60, 5), (1, "s")))
    world.drop([6, 9])
    return [world.one((isp, "n", content), seed=isp) for isp in range(3) for content in (0, 1, 7, "a")]


def close(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == pytest.approx(b, rel=1e-12) if isinstance(a, float) else a == b


@pytest.mark.slow
def test_without_the_jit_kernels_say_the_same_and_warn_of_nothing(tmp_path):
    known = twins.History(tomllib.loads(models.TRAINED))
    for i, (client, node) in enumerate(product((17, "tv"), (1, 2, "box", 3))):
        known.train({"id": client, "kind": "live"}, {"id": node}, [i / 10, float(i % 2), 0.0, 0.0])
    folder = models.write_small(tmp_path / "small", models.TRAINED, known=known)
    env = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", PLAIN, folder]
    ran = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    assert close(json.loads(ran.stdout), answers(folder))
