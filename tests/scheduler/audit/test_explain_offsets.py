"""Explanations of a model whose heads start from an offset: as exact, and the offset's feature gets its part."""

import numpy as np
import pytest

from scheduler import Model
from scheduler.audit.contributions import contributions, head_parts
from scheduler.audit.flips import flips
from scheduler.audit.recorded import fits, whole_row
from scheduler.audit.what_if import what_if
from scheduler.model.calibration import head_values
from scheduler.policy.compile import compile_policy
from scheduler.spec import Utility
from tests.scheduler.audit.test_explain import HEADS, after_outcomes, pairs_of, recorded
from tests.scheduler.model import test_offsets as offsets
from tests.schedulers import LEDGER, new
from training.explanation.dependence import dependence


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    model = Model.load(offsets.write(tmp_path_factory.mktemp("audit") / "model"))
    return after_outcomes(new(model, utility=Utility(heads=HEADS), ledger=LEDGER))


def test_a_record_fits_the_model_that_made_it_and_parts_sum_to_the_difference(known):
    n = 0
    for record, model, a, b in pairs_of(known):
        assert fits(record, model)
        found = contributions(record, model, compile_policy(model), a, b)
        expected = record.utility[a] - record.utility[b]
        assert found.features.sum() == pytest.approx(expected, abs=1e-6)
        x, z = (whole_row(record, model, c) for c in (a, b))
        equal = (x == z) | (np.isnan(x) & np.isnan(z))
        assert np.all(found.features[equal] == 0.0)
        n += 1
    assert n > 10


def test_what_the_offsets_feature_alone_changes_is_its_part_alone(known):
    model = known.model
    x = offsets.rows(1)[0]
    z, at = x.copy(), model.features.names.index("shrunk")
    x[at], z[at] = 1.0, 4.0
    values = head_values(model.raw(np.array([x, z])), model.calibration)
    parts = head_parts(model, x, z, values)
    latency = model.heads.index("latency")
    assert parts[latency, at] == pytest.approx(values[0, latency] - values[1, latency])
    assert np.delete(parts[latency], at).tolist() == [0.0] * (len(x) - 1)


def test_the_same_model_scores_a_record_again_as_it_was_scored(known):
    record, model = recorded(known, {"client_id": 17, "kind": "live", "kbps": 900}, now=4.0)
    found = what_if(record, model, other=model)
    assert found.before == found.after


def test_no_change_of_a_feature_is_named_from_which_every_value_differs(known):
    for record, model, a, b in pairs_of(known):
        named = {flip.feature for flip in flips(record, model, compile_policy(model), a, b)}
        assert named.isdisjoint({"shrunk", "shrunk_fast"})


def test_partial_dependence_is_the_mean_of_predictions(known):
    model, rows = known.model, offsets.rows(40)
    at = model.features.names.index("shrunk")
    rows[:, at] = np.random.default_rng(0).uniform(0, 6, len(rows))
    found = dependence(model, rows, at)
    for place in (0, -1):
        changed = rows.copy()
        changed[:, at] = found.values[place]
        expected = model.predict(changed)["latency"].mean()
        assert found.heads["latency"][place] == pytest.approx(expected, rel=1e-6)
