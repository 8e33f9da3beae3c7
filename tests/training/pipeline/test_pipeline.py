"""From telemetry to the champion: what is registered, and who may take over."""

import re
import shutil
from pathlib import Path

import mlflow
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow import MlflowClient

from scheduler.model.model import Model
from scheduler.model.pyfunc import category_codes
from scheduler.spec import parse_spec
from tests.registries import new_registry
from tests.small_world import FIT, POOR, UNTIL, fogline, spec_text
from training.pipeline import champion as champion_contest
from training.pipeline import pipeline
from training.pipeline.options import TrainingOptions
from training.pipeline.pipeline import train_and_register
from training.pipeline.promotion import CHAMPION, champion, promote
from training.simulator import World, write_telemetry

pytestmark = pytest.mark.slow

CONTEST = ("requests = 1\n", "requests = 20\n")
"""A failure costs as much as a hundred successes: over 20 requests a client and slice the better model costs less."""


def quick(fit=FIT):
    """Return a spec whose models are fitted, and told apart, quickly."""
    return parse_spec(spec_text(fit, compared="").replace(*CONTEST))


GOOD_SPEC, POOR_SPEC = quick(), quick(POOR)
LEAFY_SPEC = quick(FIT.replace("num_leaves = 8", "num_leaves = 7"))
WORSE_SPEC = quick(POOR.replace("num_leaves = 2", "num_leaves = 3"))
OTHER_SPEC = parse_spec(spec_text().replace('hour = { op = "clock", period = "24h" }\n', ""))


@pytest.fixture
def train(small_world, tmp_path, tmp_path_factory):
    """Train with a spec into a registry of the test's own."""
    registry = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")

    def run(spec, data=None, **options):
        given = TrainingOptions(registry=registry, until=UNTIL, out=tmp_path / "artifacts", threads=1, **options)
        return train_and_register(data or small_world.data, spec, given)

    run.registry = registry
    return run


def tags(registry, version):
    return MlflowClient(tracking_uri=registry, registry_uri=registry).get_model_version("demo", version).tags


def test_the_run_tells_how_the_model_was_made(trained):
    client = MlflowClient(tracking_uri=trained.registry, registry_uri=trained.registry)
    run = client.get_run(trained.result["run_id"])
    params = run.data.params
    assert (params["spec"], params["until"], params["seed"]) == ("demo", str(UNTIL), "0")
    assert (params["lightgbm.num_leaves"], params["lightgbm.learning_rate"]) == ("8", "0.2")
    heads = Model.load(trained.artifact).manifest.heads
    starts = {name: "none" if head.offset is None else head.offset.feature for name, head in heads.items()}
    assert {name: params[f"{name}.offset"] for name in heads} == trained.result["offsets"] == starts
    assert set(trained.result["losses"]["latency"]) > {"none"}
    nothing, mean = sorted(trained.result["losses"]["latency"].items(), key=lambda tried: tried[0] != "none")
    better = all(a < b for a, b in zip(mean[1], nothing[1], strict=True))
    assert starts["latency"] == (mean if better else nothing)[0]
    assert (params["lightgbm.deterministic"], params["lightgbm.force_row_wise"]) == ("True", "True")
    assert params["failure.lightgbm.objective"] == "binary"
    assert int(params["latency.rows"]) < int(params["failure.rows"])
    assert 0 < int(params["failure.trees"]) <= 15
    metrics = {name: run.data.metrics[name] for name in trained.result["metrics"]}  # evaluations add their own
    assert metrics == pytest.approx(trained.result["metrics"])
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.name == trained.world.data.name
    plots = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, "plots")]
    assert plots == [
        f"{head}-{what}.png"
        for head in ("failure", "latency", "throughput", "typical")
        for what in ("calibration", "importance")
    ]


def test_the_run_tells_what_lightgbm_used_whatever_the_spec_calls_it(train):
    text = spec_text().replace("num_leaves = 8", "max_leaves = 6").replace("learning_rate = 0.2", "eta = 0.3")
    result = train(parse_spec(text.replace("[heads.latency]", "[heads.latency]\nlightgbm = { max_leaf = 5 }")))
    run = MlflowClient(tracking_uri=train.registry).get_run(result.registered.run_id)
    shown = {name: value for name, value in run.data.params.items() if "leaves" in name or "learning_rate" in name}
    assert shown == {
        "lightgbm.learning_rate": "0.3",
        "failure.lightgbm.num_leaves": "6",
        "latency.lightgbm.num_leaves": "5",
        "throughput.lightgbm.num_leaves": "6",
        "typical.lightgbm.num_leaves": "6",
    }
    for head, leaves in (("failure", 6), ("latency", 5)):
        assert f"[num_leaves: {leaves}]" in (result.summary.folder / f"{head}.txt").read_text()


def test_mlflow_serves_the_champion_as_the_model_predicts(trained, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", trained.registry)
    model = Model.load(trained.artifact)
    names = list(model.features.names)
    x = np.random.default_rng(0).normal(size=(500, len(names)))
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    frame = pd.DataFrame(x, columns=names)
    for name, codes in category_codes(model.spec, model.vocabulary).items():
        place = np.random.default_rng(2).integers(0, len(codes), 500)
        x[:, names.index(name)], frame[name] = place, np.array(list(codes), object)[place]
    out = mlflow.pyfunc.load_model("models:/demo@champion").predict(frame)
    assert list(out.columns) == list(model.heads)
    for head, values in model.predict(x).items():
        np.testing.assert_array_equal(out[head], values)


def test_the_registered_model_is_the_artifact(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where the cache goes
    assert Model.load(f"models:/demo@{CHAMPION}", trained.registry).manifest == Model.load(trained.artifact).manifest


def test_the_same_training_again_is_the_same_model_and_registers_nothing(train):
    one, two = train(GOOD_SPEC), train(GOOD_SPEC)
    assert (one.uri, two.uri) == ("models:/demo/1", "models:/demo/1")
    assert (one.to_json()["registered"], two.to_json()["registered"]) == (True, False)
    assert one.summary.folder == two.summary.folder
    assert one.summary.metrics() == two.summary.metrics()
    assert one.promotion == ("moved", "there was no champion")
    assert two.promotion == ("kept", "version 1 is this very model and the champion already")
    client = MlflowClient(tracking_uri=train.registry, registry_uri=train.registry)
    assert len(client.search_runs([client.get_experiment_by_name("demo").experiment_id])) == 1


@pytest.fixture
def easily_beaten(monkeypatch):
    """Compare with chance in place of averages: in this small world they beat every model."""
    monkeypatch.setattr("training.pipeline.champion.SIMPLE", ("random",))


def test_a_model_that_loses_to_an_average_says_so_first_and_takes_over_from_nobody(train):
    first, second = train(POOR_SPEC), train(GOOD_SPEC)
    said = re.fullmatch(r"pair_average is better by \d+(\.\d)? to \d+ %", second.warnings()[0])
    assert said is not None
    assert tags(train.registry, "2")["better_baseline"] == second.to_json()["warnings"][0] == said[0]
    assert first.promotion == ("moved", "there was no champion")
    assert "better_baseline" in tags(train.registry, "1")
    assert second.promotion.outcome == "kept"
    assert second.promotion.reason.startswith("not better than version 1: mean cost -")
    assert re.search(r"; \+\S+ % \(\+\S+ to \+\S+ %\) against pair_average$", second.promotion.reason)


@pytest.mark.usefixtures("easily_beaten")
def test_slices_that_tuning_has_seen_decide_nothing(train):
    train(POOR_SPEC)
    tuned = msgspec.structs.replace(GOOD_SPEC.training, tuned_until=UNTIL)
    seen = train(msgspec.structs.replace(GOOD_SPEC, training=tuned))
    assert seen.promotion.outcome == "cannot be told"
    assert seen.promotion.reason.startswith(
        f"no slice is left that neither training nor tuning of both has seen: expected slice {UNTIL} or later, "
        f"found slices up to {UNTIL - 1}"
    )


def test_versions_are_compared_without_what_their_means_of_training_know_of_the_judged_slices(train, monkeypatch):
    asked = []

    def as_of(model, _, start):
        asked.append((model.version, start))
        return model

    monkeypatch.setattr(champion_contest, "as_of", as_of)
    versions = [train(spec).summary.model for spec in (POOR_SPEC, GOOD_SPEC)]
    judged = max(model.manifest.window["first_judged_slice"] for model in versions)
    assert asked[-2:] == [(model.version, judged) for model in reversed(versions)]


def test_each_version_decides_by_its_own_spec(train, monkeypatch):
    train(GOOD_SPEC)
    other = msgspec.structs.replace(
        GOOD_SPEC, utility=msgspec.structs.replace(GOOD_SPEC.utility, heads={"latency": 1.0})
    )
    used = []
    real = champion_contest.Learned
    monkeypatch.setattr(champion_contest, "Learned", lambda s, m: used.append(s.spec.utility.heads) or real(s, m))
    train(other)
    assert used == [{"latency": 1.0}, GOOD_SPEC.utility.heads]


@pytest.mark.usefixtures("easily_beaten")
def test_a_better_model_takes_over_a_worse_one_does_not_unless_asked(train):
    assert train(POOR_SPEC).promotion.moved
    better = train(GOOD_SPEC)
    assert better.promotion.moved
    assert better.promotion.reason.startswith("better than version 1: mean cost -")
    assert champion("demo", train.registry) == "2"
    worse = train(POOR_SPEC)
    assert not worse.promotion.moved
    assert worse.promotion.reason.startswith("version 1 is this very model already; not better than version 2: ")
    assert champion("demo", train.registry) == "2"
    asked = train(POOR_SPEC, promote=True)
    assert asked.promotion.moved
    assert asked.promotion.reason.startswith("promotion was asked for; version 2 was champion; mean cost +")
    assert champion("demo", train.registry) == "1"
    assert tags(train.registry, "1")["promotion_reason"] == asked.promotion.reason


def test_a_champion_of_other_features_stays_and_the_reason_says_so(train):
    train(GOOD_SPEC)
    other = train(OTHER_SPEC)
    theirs, ours = GOOD_SPEC.fingerprint(), OTHER_SPEC.fingerprint()
    obstacle = (
        f"the champion was trained for other features (fingerprint {theirs}, now {ours}), so they cannot be compared"
    )
    assert other.promotion == ("cannot be told", f"{obstacle}; use --promote")
    assert tags(train.registry, "2")["promotion_reason"] == other.promotion.reason
    forced = train(OTHER_SPEC, promote=True)
    assert forced.promotion == ("moved", f"promotion was asked for; version 1 was champion; {obstacle}")
    assert champion("demo", train.registry) == "2"


def test_a_model_of_other_features_than_the_champion_is_compared_with_averages_all_the_same(train):
    train(GOOD_SPEC)
    poor = msgspec.structs.replace(OTHER_SPEC, heads=POOR_SPEC.heads, training=POOR_SPEC.training)
    forced = train(msgspec.structs.replace(poor, evaluation=POOR_SPEC.evaluation), promote=True)
    assert forced.promotion.moved
    assert re.fullmatch(r"pair_average is better by .* %", forced.warnings()[0])
    assert tags(train.registry, "2")["better_baseline"] == forced.warnings()[0]


def test_a_champion_whose_files_are_lost_stays_and_the_reason_says_so(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(GOOD_SPEC)
    shutil.rmtree(tmp_path / "registry" / "artifacts")
    again = train(GOOD_SPEC)
    assert not again.promotion.moved
    assert again.promotion.reason.startswith("the champion cannot be loaded (registry ")
    assert again.promotion.reason.endswith("), so they cannot be compared; use --promote")
    assert train(GOOD_SPEC, promote=True).promotion.moved


@pytest.fixture(scope="module")
def logged(small_world, tmp_path_factory):
    """What a scheduler logs: one node for each client and slice."""
    folder = tmp_path_factory.mktemp("logged") / "data"
    shutil.copytree(small_world.data, folder)
    for file in sorted(folder.rglob("telemetry*.parquet")):
        rows = pl.read_parquet(file)
        first = rows.group_by("slice", "client_id", maintain_order=True).agg(pl.col("node_id").first().alias("only"))
        kept = rows.join(first, on=["slice", "client_id"], maintain_order="left").filter(
            pl.col("node_id") == pl.col("only")
        )
        kept.drop("only").write_parquet(file)
    return folder


LOG = "on a log of mostly one node for each client and slice"


def test_on_a_log_of_one_node_models_are_compared_by_their_losses_and_the_reason_says_so(train, logged):
    first, second = train(POOR_SPEC, data=logged), train(GOOD_SPEC, data=logged)
    assert first.promotion == ("moved", "there was no champion")
    assert second.promotion.moved
    assert re.match(r"better than version 1: loss of the heads on later slices -\S+ % ", second.promotion.reason)
    assert second.promotion.reason.endswith(f"; {LOG}, without propensities, so compared with no simple average")
    worse = train(WORSE_SPEC, data=logged)
    assert worse.promotion.outcome == "kept"
    assert "worse by more than chance" in worse.promotion.reason
    assert champion("demo", train.registry) == "2"
    asked = train(LEAFY_SPEC, data=logged, promote=True)
    assert asked.promotion.moved
    assert asked.promotion.reason.startswith("promotion was asked for; version 2 was champion; loss of the heads")


@pytest.mark.parametrize(("least", "said"), [(10.0, "; off-policy by "), (1e9, ", support is too thin: ")])
def test_a_log_is_estimated_off_policy_where_its_propensities_support_it(train, least, said, tmp_path, monkeypatch):
    """The first of the nodes that each client of a world was sent to in a slice, which were drawn evenly from 20."""
    data, world = tmp_path / "data", World(1, n_nodes=20, n_clients=200)
    write_telemetry(world, data, hours=12.0, requests=40_000, explore=1.0, propensities=True)
    rows = pl.read_parquet(data / "telemetry.parquet")
    first = rows.unique(["slice", "client_id"], keep="first", maintain_order=True)
    first.rename({"propensity": "drawn"}).write_parquet(data / "telemetry.parquet")
    monkeypatch.setattr(champion_contest, "LEAST_SUPPORT", least)
    poor, good = (
        msgspec.structs.replace(s, telemetry=msgspec.structs.replace(s.telemetry, propensity="drawn"))
        for s in (POOR_SPEC, GOOD_SPEC)
    )
    assert good.fingerprint() == GOOD_SPEC.fingerprint()
    train(poor, data=data)
    assert LOG + said in train(good, data=data).promotion.reason


def test_the_command_line_says_how_versions_were_compared(logged, small_world, tmp_path, tmp_path_factory, capfd):
    registry = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
    (tmp_path / "poor.toml").write_text(spec_text(POOR))
    words = ["--until", UNTIL, "--threads", 1, "--registry", registry, "--out", tmp_path / "artifacts"]
    first = fogline(capfd, "train", logged, "--spec", small_world.spec_file, *words, "--json")
    shown = fogline(capfd, "train", logged, "--spec", tmp_path / "poor.toml", *words)
    assert (first.code, shown.code, first.json["promotion"]) == (0, 0, "moved")
    out = " ".join(shown.out.split())
    assert re.search(r"Champion: \w+.* loss of the heads on later slices [+-]", out)
    assert f"{LOG}, without propensities, so compared with no simple average." in out


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 133. GiB"), ValueError("no such column"), OSError("gone")]
)
def test_whatever_keeps_two_models_from_a_comparison_the_training_stands(train, error, monkeypatch):
    train(GOOD_SPEC)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr("training.pipeline.champion.evaluate", fail)
    kept, asked = train(POOR_SPEC), train(LEAFY_SPEC, promote=True)
    reason = f"{type(error).__name__}: {error}, so they cannot be compared"
    assert kept.promotion == ("cannot be told", f"{reason}; use --promote")
    assert asked.promotion == ("moved", f"promotion was asked for; version 1 was champion; {reason}")


def test_a_champion_that_changes_during_the_comparison_is_not_taken_for_the_one_compared(train, monkeypatch):
    train(POOR_SPEC)
    train(LEAFY_SPEC)
    promote("demo", "1", force=True, registry=train.registry)
    real = pipeline.contest

    def meanwhile(*args):
        found = real(*args)
        promote("demo", "2", force=True, registry=train.registry)
        return found

    monkeypatch.setattr(pipeline, "contest", meanwhile)
    third = train(GOOD_SPEC)
    reason = "version 1 was champion when they were compared, now it is version 2; use --promote"
    assert third.promotion == ("cannot be told", reason)
    assert champion("demo", train.registry) == "2"


def test_a_registry_that_does_not_answer_for_a_moment_keeps_the_champion(train, monkeypatch):
    train(POOR_SPEC)
    with monkeypatch.context() as patch:
        patch.setattr("training.pipeline.champion.champion_if_any", lambda *_: 1 / 0)
        second = train(GOOD_SPEC)
    reason = "ZeroDivisionError: division by zero, so they cannot be compared; use --promote"
    assert second.promotion == ("cannot be told", reason)
    assert champion("demo", train.registry) == "1"


@pytest.mark.parametrize("step", ["save_pictures", "data_id", "used_params"])
def test_what_fails_before_a_version_is_registered_leaves_none(train, step, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(pipeline, step, fail)
    with pytest.raises(OSError, match="disk full"):
        train(GOOD_SPEC)
    client = MlflowClient(tracking_uri=train.registry, registry_uri=train.registry)
    assert client.search_registered_models() == []


def test_nothing_that_can_fail_stands_after_registration(train, monkeypatch):
    """All work of a training is done when its version is made: the calls that follow are those of the alias."""
    train(POOR_SPEC)
    order = []
    for name in ("contest", "save_pictures", "data_id"):
        real = getattr(pipeline, name)
        monkeypatch.setattr(pipeline, name, lambda *a, name=name, real=real: (order.append(name), real(*a))[1])
    for name in ("create_model_version", "set_registered_model_alias", "set_model_version_tag", "log_inputs"):
        real = getattr(MlflowClient, name)

        def noted(*args, name=name, real=real, **kwargs):
            order.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(MlflowClient, name, noted)
    assert train(GOOD_SPEC, promote=True).promotion.moved
    assert order[-5:] == ["create_model_version", "set_registered_model_alias"] + ["set_model_version_tag"] * 3
    assert order[:3] == ["contest", "data_id", "save_pictures"]


def test_progress_is_told_of_every_stage(small_world, tmp_path, tmp_path_factory):
    told = {}
    registry = new_registry(tmp_path_factory.getbasetemp(), tmp_path / "registry")
    options = TrainingOptions(registry=registry, until=UNTIL, out=tmp_path / "artifacts", threads=1)
    train_and_register(small_world.data, GOOD_SPEC, options, lambda what, done, of: told.update({what: (done, of)}))
    assert told.keys() == {
        "read",
        "replay",
        "warm up",
        "evaluate",
        *(f"fit {head}" for head in ("failure", "latency", "throughput", "typical")),
    }
    assert all(done == of for done, of in told.values())
