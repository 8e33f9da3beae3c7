"""Heads that start from an offset: the same score in LightGBM, in decisions, in ONNX Runtime, and checked at load."""

import dataclasses
import hashlib

import lightgbm as lgb
import msgspec
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import ArtifactError, SpecError
from scheduler.model.arrays import MISSING, OWNER
from scheduler.model.kernels.offsets import add_offsets, offset_of
from scheduler.model.manifest import MANIFEST, Calibration, Offset
from scheduler.model.model import Model
from scheduler.model.offsets import offset_table, offset_values, row_offsets
from scheduler.spec import offset_features, parse_spec
from tests import models
from tests.artifacts import edit_manifest
from tests.schedulers import IDS, OK, new
from training.artifacts.write import content_version, write_artifact

LATENCY = Offset(feature="shrunk", transform="none", least=0.5, most=5.0, intercept=0.3, slope=0.8, missing=2.5)
FAILURE = Offset(
    feature="shrunk_fast", transform="logit", least=0.01, most=0.99, intercept=-0.2, slope=1.1, missing=-2.0
)
CLIENT = Offset(feature="client_mean", transform="none", least=0.0, most=9.0, intercept=0.0, slope=1.0, missing=0.25)


def calibration(failure=FAILURE, latency=LATENCY):
    found = {"failure": failure, "latency": latency}
    return {h: msgspec.structs.replace(c, offset=found[h]) for h, c in models.CALIBRATION.items()}


def write(folder, heads=None):
    return write_artifact(
        folder,
        spec=models.spec(models.EXTENDED),
        boosters=models.boosters(models.EXTENDED),
        calibration=heads or calibration(),
        vocabulary=models.VOCABULARY,
        metrics={},
        window={},
        golden_rows=models.feature_rows(16, 2, models.EXTENDED),
        trees=models.trees(models.EXTENDED),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("offsets") / "model")


@pytest.fixture(scope="module")
def model(folder):
    return Model.load(folder)


def by_hand(offset, x):
    """What a score starts from, a plain number at a time."""
    if np.isnan(x):
        return offset.missing
    z = min(max(float(x), offset.least), offset.most)
    z = {"none": lambda: z, "log1p": lambda: np.log1p(z), "logit": lambda: np.log(z / (1 - z))}[offset.transform]()
    return offset.intercept + offset.slope * z


def rows(n=200):
    """Feature rows of which some have extremes of the means."""
    x = models.feature_rows(n, 7, models.EXTENDED)
    names = list(models.spec(models.EXTENDED).features)
    random = np.random.default_rng(1)
    for feature in ("shrunk", "shrunk_fast", "client_mean"):
        x[:, names.index(feature)] = random.choice([np.nan, -np.inf, np.inf, -3e38, 0.0, 0.3, 0.7, 1.0, 4.0, 1e9], n)
    return x


def test_predict_is_the_texts_score_plus_the_offset_through_the_calibration(folder, model):
    """As the docs say to use ``HEAD.txt``: its raw score, the offset, the line, the link."""
    x = rows()
    names = model.features.names
    for name, link in (("failure", lambda z: 1 / (1 + np.exp(-z))), ("latency", np.exp)):
        head = model.manifest.heads[name]
        trees = lgb.Booster(model_file=str(folder / f"{name}.txt")).predict(x, raw_score=True)
        start = [by_hand(head.offset, value) for value in x[:, names.index(head.offset.feature)]]
        expected = link(head.intercept + head.slope * (trees + np.array(start)))
        np.testing.assert_allclose(model.predict(x)[name], expected, rtol=1e-9)


def test_onnx_runtime_gives_the_score_with_its_offset(folder, model):
    x = rows()
    for name, head in model.manifest.heads.items():
        session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"])
        found = session.run(["raw_score"], {"features": x})[0][:, 0]
        trees = lgb.Booster(model_file=str(folder / f"{name}.txt")).predict(x, raw_score=True)
        start = row_offsets([head], model.features.names, x)[:, 0]
        np.testing.assert_allclose(found, trees + start, rtol=1e-5, atol=1e-5)
        assert np.abs(start).max() > 0.5


def test_decisions_score_as_the_model_predicts_offsets_included(model):
    sched = new(model)
    offsets = np.full_like(model.offsets, -1.0)
    offsets.flags.writeable = False  # kernels would be compiled anew for the other type
    nothing = dataclasses.replace(model, offsets=offsets)
    without = new(nothing)
    random = np.random.default_rng(3)
    for now in range(60):
        request = {"client_id": [17, "tv"][now % 2], "kind": ["live", "bulk"][random.integers(2)]}
        outcome = OK if random.random() < 0.7 else {"ok": False}
        for one in (sched, without):
            one.learn(request, IDS[now % 5], outcome, now=float(now))
    x = sched.features({"client_id": [17]}, [IDS], now=61.0)[0]
    found, bare = (one.score({"client_id": [17]}, [IDS], now=61.0) for one in (sched, without))
    for head, expected in model.predict(x).items():
        np.testing.assert_allclose(found[head][0], expected, rtol=2e-5)
        assert (np.abs(found[head][0] - bare[head][0]) > 1e-3).any()


def test_an_offset_of_the_request_is_added_to_all_candidates(tmp_path):
    model = Model.load(write(tmp_path / "model", calibration(None, CLIENT)))
    assert model.offsets[0, OWNER] == -1.0
    sched = new(model)
    for now in range(5):
        sched.learn({"client_id": 17}, 1, {"ok": True, "rtt_ms": 200.0}, now=float(now))
    x = sched.features({"client_id": [17]}, [IDS], now=6.0)[0]
    assert (x[:, model.features.names.index("client_mean")] > 5).all()
    found = sched.score({"client_id": [17]}, [IDS], now=6.0)
    for head, expected in model.predict(x).items():
        np.testing.assert_allclose(found[head][0], expected, rtol=2e-5)


OFFSETS = st.builds(
    lambda transform, ends, intercept, slope, missing: Offset(
        feature="client_mean",
        transform=transform,
        least=min(ends) if transform != "logit" else 0.01 + 0.4 * min(ends) / 50,
        most=max(ends) if transform != "logit" else 0.5 + 0.4 * max(ends) / 50,
        intercept=intercept,
        slope=slope,
        missing=missing,
    ),
    st.sampled_from(["none", "log1p", "logit"]),
    st.tuples(st.floats(0, 50), st.floats(0, 50)),
    st.floats(-5, 5),
    st.floats(0, 3),
    st.floats(-9, 9),
)


@pytest.mark.slow
@given(OFFSETS, st.lists(st.floats(width=32), min_size=1, max_size=8))
def test_kernel_frame_and_plain_numbers_agree(offset, values):
    x = np.array(values, np.float32)
    expected = [by_hand(offset, value) for value in x]
    np.testing.assert_allclose(offset_values(offset, x), expected, rtol=1e-12)
    number = ["none", "log1p", "logit"].index(offset.transform)
    row = np.array(
        [0, 0, number, offset.least, offset.most, offset.intercept, offset.slope, offset.missing], np.float64
    )
    raw = np.zeros((len(x), 2), np.float32)
    table = np.stack([np.full(MISSING + 1, -1.0), row])
    table[1, OWNER] = 2.0  # of the pair
    add_offsets(table, np.zeros(1, np.float32), x[:, None], raw)
    np.testing.assert_allclose(raw[:, 1], expected, rtol=1e-6, atol=1e-6)
    assert not raw[:, 0].any()
    np.testing.assert_allclose([offset_of(row, np.float64(value)) for value in x], expected, rtol=1e-12)


def test_a_table_names_owner_and_place(model):
    program = model.features.program
    table = offset_table(calibration(None, CLIENT).values(), model.features)
    assert table[:, OWNER].tolist() == [-1.0, 0.0]
    at = model.features.names.index("client_mean")
    assert program.request[int(table[1, 1])] == at
    assert not table.flags.writeable


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        ({"feature": "no_such"}, "one of the head's means"),
        ({"feature": "node_mean"}, "one of the head's means"),  # of the node's masks
        ({"feature": "shrunk_fast"}, "one of the head's means"),  # a mean of failures
        ({"transform": "log1p"}, "one of the head's means"),
        ({"least": 5.0, "most": 0.5}, "least and most in order"),
        ({"missing": 1e400}, "manifest|finite numbers"),
    ],
)
def test_an_offset_that_no_decision_could_use_is_refused(tmp_path, offset, words):
    folder = write(tmp_path / "model")
    heads = calibration(latency=msgspec.structs.replace(LATENCY, **offset))
    edit_manifest(folder, heads=heads)
    with pytest.raises(ArtifactError, match=words):
        Model.load(folder)


def test_shares_at_0_and_1_have_no_log_odds(tmp_path):
    folder = write(tmp_path / "model")
    for ends in ({"least": 0.0}, {"most": 1.0}):
        edit_manifest(folder, heads=calibration(failure=msgspec.structs.replace(FAILURE, **ends)))
        with pytest.raises(ArtifactError, match="least and most in order between 0 and 1"):
            Model.load(folder)


def test_golden_rows_find_an_offset_that_training_did_not_mean(tmp_path):
    folder = write(tmp_path / "model")
    edit_manifest(folder, heads=calibration(latency=msgspec.structs.replace(LATENCY, slope=0.9)))
    with pytest.raises(ArtifactError, match="raw of row"):
        Model.load(folder)


def test_an_artifact_of_format_4_is_read_as_having_no_offsets(tmp_path):
    folder = write(tmp_path / "model", models.CALIBRATION)
    data = msgspec.json.decode((folder / MANIFEST).read_bytes())
    for head in data["heads"].values():
        assert head.pop("offset") is None
    data |= {"format": 4, "digest": "0" * 64}
    data["digest"] = hashlib.sha256(msgspec.json.encode(data)).hexdigest()
    (folder / MANIFEST).write_bytes(msgspec.json.encode(data))
    assert (Model.load(folder).offsets[:, OWNER] == -1.0).all()


def test_models_that_start_elsewhere_have_other_versions():
    spec, trees = models.spec(models.EXTENDED), models.trees(models.EXTENDED)
    versions = {
        content_version(spec, trees, heads, models.VOCABULARY)
        for heads in (models.CALIBRATION, calibration(), calibration(failure=None))
    }
    assert len(versions) == 3


def test_means_of_a_heads_target_are_what_it_may_start_from():
    spec = models.spec(models.EXTENDED)
    found = {name: offset_features(spec, head) for name, head in spec.heads.items()}
    assert found == {
        "failure": {"pair_failed": "logit", "shrunk_fast": "logit", "shrunk_client": "logit"},
        "latency": {"client_mean": "none", "shrunk": "none"},
    }


def test_means_of_training_are_among_them():
    spec = models.spec(models.TRAINED)
    assert offset_features(spec, spec.heads["latency"]).keys() == {"client_mean", "shrunk", "trained"}
    assert offset_features(spec, spec.heads["failure"])["trained_client"] == "logit"


def test_a_mean_of_the_outcome_itself_is_transformed():
    text = models.SPEC.replace('"failed", "log1p', '"failed", "rtt_ms", "log1p').replace(
        "[heads.failure]",
        'plain = { op = "history", key = "pair", stat = "mean", value = "rtt_ms", half_life = "1h" }\n[heads.failure]',
        1,
    )
    spec = parse_spec(text)
    assert offset_features(spec, spec.heads["latency"])["plain"] == "log1p"


def test_a_spec_that_starts_from_something_else_is_refused():
    for name in ("node_mean", "load", "no_such"):
        text = models.SPEC.replace('link = "log"', f'link = "log"\noffset = "{name}"')
        with pytest.raises(SpecError, match=r"heads.latency.offset: expected one of auto, none, client_mean"):
            parse_spec(text)
    for name in ("none", "client_mean"):
        assert parse_spec(models.SPEC.replace('link = "log"', f'link = "log"\noffset = "{name}"'))


def test_the_offset_is_no_part_of_the_fingerprint():
    text = models.SPEC.replace('link = "log"', 'link = "log"\noffset = "client_mean"')
    assert parse_spec(text).fingerprint() == models.spec().fingerprint()


def test_calibrations_without_offset_have_none():
    assert Calibration(link="log").offset is None
