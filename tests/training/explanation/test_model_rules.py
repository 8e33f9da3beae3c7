"""A model as rules: dependence is a mean of predictions, and the tree recovers rules that are there."""

import numpy as np
import pytest

from scheduler import Model
from tests.models import feature_rows, write_small
from training.explanation.dependence import dependence, points_of
from training.explanation.model_rules import rules_of, strongest
from training.explanation.surrogate import surrogate
from training.explanation.utility import default_utility


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model.load(write_small(tmp_path_factory.mktemp("artifacts") / "small"))


@pytest.fixture(scope="module")
def rows():
    return feature_rows(400, 7)


def test_dependence_is_the_mean_of_predictions_with_the_value_in_place(model, rows):
    for name in ("load", "node_isp", "km"):
        f = model.features.names.index(name)
        found = dependence(model, rows, f)
        for i, point in enumerate(points_of(model, rows[:, f], f)):
            changed = rows.copy()
            changed[:, f] = point
            values = np.stack(list(model.predict(changed).values()), axis=1)
            assert found.utility[i] == pytest.approx(default_utility(model, values).mean(), rel=1e-4)
            assert found.heads["failure"][i] == pytest.approx(values[:, 0].mean(), rel=1e-4)
        assert found.extent == pytest.approx(max(found.utility) - min(found.utility))


def test_a_feature_of_one_value_has_no_dependence(model, rows):
    same = rows.copy()
    same[:, 3] = 1.0
    assert dependence(model, same, 3) is None


def test_the_tree_finds_rules_that_are_there(model, rows):
    load, isp = (model.features.names.index(name) for name in ("load", "node_isp"))
    utility = np.where(rows[:, load] > 0.5, -100.0, 0.0) + np.where(rows[:, isp] == 1, -10.0, 0.0)
    found = surrogate(model, rows, utility)
    assert found.r2 > 0.95
    assert found.order > 0.95
    assert sum(rule.share for rule in found.rules) == pytest.approx(1.0)
    assert any(text.startswith("load at most 0.") for text in found.rules[0].conditions)
    assert "node_isp is 7" in " ".join(found.rules[-1].conditions)


def test_rows_with_infinities_are_no_obstacle(model, rows):
    wild = rows.copy()
    wild[::7, 5], wild[::5, 13] = np.inf, -np.inf
    found = rules_of(model, wild, "rows")
    assert found.surrogate is not None
    assert all(np.isfinite(one.utility).all() for one in found.dependence)


def test_few_rows_have_no_rules(model, rows):
    assert surrogate(model, rows[:20], np.arange(20.0)) is None


def test_the_strongest_features_are_looked_at_and_all_is_plain(model, rows):
    found = rules_of(model, rows, "rows")
    assert len(found.dependence) == len(strongest(model))
    assert [one.extent for one in found.dependence] == sorted((one.extent for one in found.dependence), reverse=True)
    assert found.importance.keys() == {"failure", "latency"}
    assert found.to_json()["surrogate"]["rules"][0].keys() == {"conditions", "utility", "share"}
    assert rules_of(model, rows, "rows") == found
