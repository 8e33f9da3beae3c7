"""`fogline models promote`: a release, the way back, and a version on trial."""

import pytest

from tests.registries import new_registry, register
from tests.small_world import fogline
from training.cli.models_tables import comparison
from training.pipeline.promotion import champion
from training.tracking.listing import VersionInfo, one_version

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
    for alias in ("latest", "V2", "two words", ""):
        shown = fogline(capfd, "models", "promote", "tiny", "--alias", alias, "--registry", registry)
        assert shown.code == 2
        assert f"models:/tiny@{alias}: expected an alias of letters" in " ".join(shown.err.split())
    assert fogline(capfd, "models", "promote", "nobody", "--registry", registry).code == 1


def version(number, evaluated="on tiny", data="d" * 64, **metrics):
    figures = {name.replace("__", "."): value for name, value in metrics.items()}
    return VersionInfo("tiny", number, (), "", "", "", "", "", {}, figures, evaluated, data, "", "")


@pytest.mark.parametrize(
    ("name", "values", "better"),
    [
        ("evaluation__mean", (9.0, 8.0), "tiny/2"),
        ("evaluation__gap_closed", (0.9, 0.8), "tiny/1"),
        ("evaluation__best_baseline__mean", (9.0, 8.0), ""),
        ("evaluation__mean_cost__random", (9.0, 8.0), ""),
        ("latency__rmse", (9.0, 9.0), ""),
        ("evaluation__regret", (0.9, float("nan")), ""),
        ("latency__mean", (9.0, 8.0), ""),
        ("failure__log_loss", (0.2, 0.3), "tiny/1"),
        ("failure__auc", (0.7, 0.8), "tiny/2"),
    ],
)
def test_a_comparison_says_which_figure_is_better_where_both_were_judged_alike(name, values, better):
    one, other = values

    def shown(**changed):
        rows = comparison(version("1", **{name: one}), version("2", **{name: other} | changed)).rows
        return {row.name: row.cells[-1].text for row in rows}[name.replace("__", ".")]

    assert shown() == better
    assert shown(evaluated="on another", data="e" * 64) == ""
    if not name.startswith("evaluation"):
        assert shown(**{f"{name.partition('__')[0]}__n": 7.0}) == ""


@pytest.mark.parametrize("command", ["show", "promote"])
def test_a_text_that_names_no_version_was_a_wrong_call(registry, capfd, command):
    shown = fogline(capfd, "models", command, "tiny/latest", "--registry", registry)
    assert (shown.code, shown.out) == (2, "")
    assert "expected NAME, NAME/VERSION or NAME@ALIAS, found 'tiny/latest'" in shown.err
