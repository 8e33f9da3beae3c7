"""`fogline models promote`: a release, the way back, and a version on trial."""

import pytest

from tests.registries import new_registry, register
from tests.small_world import fogline
from training.pipeline.promotion import champion
from training.tracking.listing import one_version

pytestmark = pytest.mark.slow


@pytest.fixture
def registry(tmp_path, tmp_path_factory) -> str:
    registry = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
    for seed in range(2):
        register(registry, tmp_path / f"artifact-{seed}", seed=seed)
    return registry


def test_a_version_is_put_in_charge_and_an_earlier_one_brought_back(registry, capfd):
    for version in ("2", "1"):
        shown = fogline(capfd, "models", "promote", f"tiny/{version}", "--registry", registry, "--json")
        assert (shown.code, shown.json["model"], shown.json["promoted"]) == (0, f"models:/tiny/{version}", True)
        assert champion("tiny", registry) == version
    assert shown.json["reason"].startswith("promotion was asked for; version 2 was champion")
    again = fogline(capfd, "models", "promote", "tiny@champion", "--registry", registry)
    assert again.out.strip() == "tiny@champion is version 1: version 1 is the champion already."


def test_another_alias_leaves_the_champion_as_it_is(registry, capfd):
    fogline(capfd, "models", "promote", "tiny/1", "--registry", registry)
    shown = fogline(capfd, "models", "promote", "tiny", "--alias", "challenger", "--registry", registry, "--json")
    assert shown.json == {"model": "models:/tiny/2", "alias": "challenger", "promoted": True, "reason": "asked for"}
    assert one_version("tiny@challenger", registry).version == "2"
    assert champion("tiny", registry) == "1"


def test_an_alias_that_the_registry_does_not_allow_is_named(registry, capfd):
    shown = fogline(capfd, "models", "promote", "tiny", "--alias", "latest", "--registry", registry)
    assert shown.code == 1
    assert "models:/tiny@latest" in shown.err
    assert fogline(capfd, "models", "promote", "nobody", "--registry", registry).code == 1


@pytest.mark.parametrize("command", ["show", "promote"])
def test_a_text_that_names_no_version_was_a_wrong_call(registry, capfd, command):
    shown = fogline(capfd, "models", command, "tiny/latest", "--registry", registry)
    assert (shown.code, shown.out) == (2, "")
    assert "expected NAME, NAME/VERSION or NAME@ALIAS, found 'tiny/latest'" in shown.err
