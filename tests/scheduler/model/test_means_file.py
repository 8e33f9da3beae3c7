"""Means of training in an artifact: they come back as they were written, and a damaged file is refused by name."""

import tomllib

import numpy as np
import pytest

from scheduler.errors import ArtifactError
from scheduler.features.trained_means import MeansByKey, encode_means, means_by_key
from scheduler.model.manifest import MEANS
from scheduler.model.model import Model
from tests import models, twins
from tests.artifacts import sign
from training.artifacts.write import content_version


def known(n: int = 5) -> twins.History:
    found = twins.History(tomllib.loads(models.TRAINED))
    for i in range(n):
        found.train({"id": i, "kind": "live"}, {"id": "box"}, [float(i), 1.0, 0.0, 0.0])
    return found


@pytest.fixture
def folder(tmp_path):
    return models.write_small(tmp_path / "small", models.TRAINED, known=known())


def refused(folder, *words):
    with pytest.raises(ArtifactError) as error:
        Model.load(folder)
    for word in (MEANS, *words):
        assert word in str(error.value)


def test_a_model_has_the_means_that_were_written(folder):
    found, expected = means_by_key(Model.load(folder).features.program.trained), models.means(known())
    assert expected.keys.size > 5
    np.testing.assert_array_equal(found.keys, expected.keys)
    np.testing.assert_array_equal(found.rows, expected.rows)


def test_without_means_there_are_none(tmp_path):
    folder = models.write_small(tmp_path / "small", models.TRAINED)
    assert means_by_key(Model.load(folder).features.program.trained).keys.size == 0


def test_models_of_other_means_have_other_versions():
    trees = models.trees(models.TRAINED)

    def version(text, means):
        return content_version(models.spec(text), models.trees(text), models.CALIBRATION, models.VOCABULARY, means)

    assert trees.keys() == models.CALIBRATION.keys()
    one, other = models.means(known()), models.means(known(6))
    assert len({version(models.TRAINED, means) for means in (None, one, other)}) == 3
    assert version(models.EXTENDED, None) == version(models.EXTENDED, one)  # the spec has no such feature


def test_a_missing_file_is_named(folder):
    (folder / MEANS).unlink()
    refused(sign(folder), "expected a file", "found none")


def test_a_file_that_the_spec_has_no_features_for_is_named(tmp_path):
    folder = models.write_small(tmp_path / "small", models.EXTENDED)
    (folder / MEANS).write_bytes(encode_means(models.means(known())))
    refused(sign(folder), "expected no file", "found one")


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("keys", lambda keys: keys[::-1], ("keys", "above the one before")),
        ("keys", lambda keys: np.append(keys[:-1], keys[-2]), ("keys", "above the one before")),
        ("keys", lambda keys: np.append(np.uint64(0), keys[1:]), ("keys", "above 0")),
        ("keys", lambda keys: keys.astype(np.int64), ("keys", "uint64", "int64")),
        ("keys", lambda keys: keys[:, None], ("keys", "shape")),
        ("rows", lambda rows: rows.astype(np.float64), ("rows", "float32", "float64")),
        ("rows", lambda rows: rows[:-1], ("rows", "shape")),
        ("rows", lambda rows: rows[:, :2], ("rows", "shape")),
        ("rows", lambda rows: np.where(rows == 1.0, np.float32(np.nan), rows), ("rows", "finite")),
        ("rows", lambda rows: -rows, ("rows", "0 or more")),
    ],
)
def test_means_that_training_would_not_write_are_refused(folder, part, change, words):
    means = models.means(known())
    (folder / MEANS).write_bytes(
        encode_means(means._replace(**{part: np.ascontiguousarray(change(getattr(means, part)))}))
    )
    refused(sign(folder), *words)


def test_keys_that_were_made_to_crowd_are_refused_at_once(folder):
    keys = (np.arange(1, 1_000_001, dtype=np.uint64) << np.uint64(32)) | np.uint64(5)
    means = MeansByKey(keys, np.ones((keys.size, 4), np.float32))
    (folder / MEANS).write_bytes(encode_means(means))
    refused(sign(folder), "hashes", "1,000 crowd")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"not an archive"])
def test_what_is_no_archive_is_refused(folder, data):
    (folder / MEANS).write_bytes(data)
    refused(sign(folder), "npz archive")


def test_another_array_is_refused(folder):
    np.savez(folder / MEANS, **models.means(known())._asdict(), more=np.zeros(3))
    refused(sign(folder), "keys, rows", "more")
