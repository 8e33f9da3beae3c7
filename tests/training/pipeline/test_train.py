"""What a training does once only."""

from collections import Counter

import msgspec
import pytest

from tests.evaluation_world import SPEC, telemetry
from training.heads import lightgbm_trees
from training.pipeline.train import train_model


@pytest.fixture
def parsed(monkeypatch):
    """Count how often each text of a booster is parsed."""
    texts = Counter()
    parse = lightgbm_trees.trees_from_text

    def counted(text):
        texts[text] += 1
        return parse(text)

    monkeypatch.setattr(lightgbm_trees, "trees_from_text", counted)
    return texts


def test_the_text_of_each_head_is_parsed_once(tmp_path, parsed):
    training = msgspec.structs.replace(
        SPEC.training, rounds=5, lightgbm={"num_leaves": 7, "min_data_in_leaf": 20}, rehearse=0.0
    )
    summary = train_model(telemetry(2_000), msgspec.structs.replace(SPEC, training=training), tmp_path, threads=1)
    assert sorted(parsed.values()) == [1] * len(summary.heads)


def test_the_artifact_says_until_when_its_rows_were_fitted_or_calibrated(tmp_path):
    training = msgspec.structs.replace(
        SPEC.training, rounds=5, lightgbm={"num_leaves": 7, "min_data_in_leaf": 20}, rehearse=0.0
    )
    timed = msgspec.structs.replace(SPEC.telemetry, time="ts")
    spec, rows = msgspec.structs.replace(SPEC, training=training, telemetry=timed), telemetry(2_000)
    window = train_model(rows, spec, tmp_path, threads=1).model.manifest.window
    assert window["seen_until"] == rows.time[rows.slice < window["first_judged_slice"]].max()
