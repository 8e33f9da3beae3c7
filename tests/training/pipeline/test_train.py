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
