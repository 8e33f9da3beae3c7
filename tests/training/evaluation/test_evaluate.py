"""Evaluation: the figures against a count by hand, the same requests for all, and what is learned when."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from scheduler.errors import DataError, InputError
from tests import evaluation_world as world
from training.evaluation import logged as under_test
from training.evaluation.evaluate import evaluate, run_evaluation
from training.evaluation.metrics import FIGURES
from training.evaluation.model_card import ModelCard
from training.evaluation.runner import PolicyRun
from training.evaluation.seeds import pooled
from training.policies import BASELINES, Random, baselines
from training.policies.protocol import seen_before


class Recorder:
    """Picks a fixed column and notes all that it is told."""

    def __init__(self, column=0):
        self.column = column
        self.log = []

    def warm(self, telemetry):
        self.log.append(("warm", telemetry))

    def pick(self, question):
        self.log.append(("pick", question))
        return np.full(len(question.client), self.column)

    def learn(self, seen):
        self.log.append(("learn", seen))

    def of(self, kind):
        return [what for name, what in self.log if name == kind]


def one_batch(time, cost, *, failed=(), candidates=None):
    """A batch of given costs, (n, k) with NaN as padding; a failure's cost is given like any other."""
    cost = np.array(cost, np.float32)
    real = ~np.isnan(cost)
    ok = real.copy()
    for at in failed:
        ok[at] = False
    n, k = cost.shape
    nodes = np.tile(np.arange(k, dtype=np.int32), (n, 1)) if candidates is None else candidates
    base = world.batches(1)[0]
    return replace(
        base,
        time=time,
        slice=int(time // 60),
        client=np.arange(n, dtype=np.int32),
        request={"kind": base.request["kind"].take(np.arange(n))},
        candidates=np.where(real, nodes, -1),
        ok=ok,
        outcomes={"rtt_ms": np.where(ok, cost, np.nan).astype(np.float32)},
        cost=cost,
        arrival=time + cost / 1000.0,
    )


NAN = float("nan")
BY_HAND = [
    one_batch(3600.0, [[40.0, 10.0], [0.5, 20.0]]),
    one_batch(3630.0, [[1000.0, 30.0], [80.0, NAN]], failed=[(0, 0)]),
    one_batch(3660.0, [[2.0, 4.0], [6.0, 6.0]]),
]


def compare(batches, **policies):
    """Evaluate with a column for each policy; random is one too, so that its figures are known."""
    policies = {name: Recorder(p) if isinstance(p, int) else p for name, p in policies.items()}
    return evaluate(batches, policies, world.SPEC, world.telemetry(), clock=lambda: 0.0)


def test_every_figure_is_as_counted_by_hand():
    comparison = compare(BY_HAND, random=0)
    score, best = comparison.policies["random"], comparison.policies["oracle"]
    costs, least = [40, 0.5, 1000, 80, 2, 6], [10, 0.5, 30, 80, 2, 6]
    assert comparison.n == 6
    assert score.mean == pytest.approx(1128.5 / 6)
    assert score.median == pytest.approx(23.0)
    assert score.p95 == pytest.approx(80 + 0.75 * 920)  # 4.75 steps up the sorted six
    assert score.mean_log == pytest.approx(sum(np.log(max(c, 1)) for c in costs) / 6)
    assert score.fail == pytest.approx(1 / 6)
    assert (score.gap_closed, score.gap_closed_log) == (0.0, 0.0)
    assert best.mean == pytest.approx(128.5 / 6)
    assert best.mean_log == pytest.approx(sum(np.log(max(c, 1)) for c in least) / 6)
    assert best.fail == 0.0
    assert (best.gap_closed, best.gap_closed_log) == (1.0, 1.0)


def test_gap_closed_is_the_share_of_the_way_from_random_to_the_oracle():
    batches = [one_batch(3600.0, [[100.0, 50.0, 20.0]])]
    score = compare(batches, random=0, other=1).policies["other"]
    assert score.gap_closed == pytest.approx(50 / 80)
    assert score.gap_closed_log == pytest.approx(np.log(2) / np.log(5))


def test_regret_is_what_is_left_above_the_oracle_as_a_multiple_of_the_best_baselines():
    batches = [one_batch(3600.0, [[100.0, 50.0, 20.0, 30.0]])]
    scores = compare(batches, random=0, other=1, learned=3).policies
    assert [scores[name].regret for name in ("random", "other", "learned", "oracle")] == [80 / 30, 1.0, 10 / 30, 0.0]
    assert scores["learned"].regret_log == pytest.approx(np.log(30 / 20) / np.log(50 / 20))


def test_the_best_baseline_of_each_figure_counts():
    batches = [one_batch(3600.0, [[90.0, 10.0, 10.0], [10.0, 800.0, 10.0]])]
    scores = compare(batches, random=0, other=1, learned=2).policies
    assert scores["random"].regret == 1.0
    assert scores["random"].regret_log == 1.0
    assert scores["other"].regret == pytest.approx(790 / 80)


def test_regret_where_a_baseline_is_perfect_does_not_exist():
    scores = compare([one_batch(3600.0, [[5.0, 9.0]])], random=0, learned=1).policies
    assert np.isnan(scores["learned"].regret)


def test_a_gap_that_does_not_exist_is_null_in_json():
    comparison = compare([one_batch(3600.0, [[5.0]])], random=0)
    assert np.isnan(comparison.policies["random"].gap_closed)
    assert comparison.to_json()["policies"]["random"]["gap_closed"] is None


def test_json_has_exactly_these_keys():
    printed = json.loads(json.dumps(compare(BY_HAND, random=0).to_json()))
    assert list(printed) == ["data", "spec", "model", "n", "policies", "agreeing", "saturated", "warnings"]
    assert list(printed["policies"]) == ["random", "oracle"]
    assert all(tuple(figures) == FIGURES for figures in printed["policies"].values())


def test_nothing_to_win_is_said():
    close, far = ([one_batch(3600.0, [[1000.0, cost, 10.0]])] for cost in (19.0, 21.0))
    won, open_ = (compare(batches, random=0, other=1) for batches in (close, far))
    assert (won.to_json()["saturated"], open_.to_json()["saturated"]) == (True, False)
    (line,) = won.warnings()
    assert line.startswith("saturated: other closes 0.991 of the gap, so there is nothing left to win; ")
    assert open_.warnings() == []


@pytest.mark.parametrize("cost", [0.0, 20.0])
@pytest.mark.parametrize("failed", [[], [(0, 0), (0, 1), (0, 2)]])
def test_that_all_candidates_cost_the_same_is_said(cost, failed):
    runs = [compare([one_batch(3600.0, [[cost] * 3], failed=failed)], random=0, other=1) for _ in range(2)]
    for found in (runs[0], pooled(runs)):
        (line,) = found.warnings()
        assert line.startswith("saturated: random picks cost what the oracle's do, because all candidates cost")
        assert found.to_json()["saturated"]
        assert found.to_json()["warnings"] == [line]


def test_what_the_model_closes_is_no_baseline():
    assert compare([one_batch(3600.0, [[1000.0, 10.0]])], random=0, learned=1).warnings() == []


def test_the_best_baseline_that_is_logged_is_no_model_trained_anew(monkeypatch):
    kept = {}
    monkeypatch.setattr(under_test, "log_evaluation", lambda _, metrics, **__: kept.update(metrics))
    batches = [one_batch(3600.0, [[100.0, 50.0, 20.0, 10.0]])]
    under_test.log_comparison(compare(batches, random=0, other=1, learned=2, retrained=3), "models:/tiny@champion")
    assert kept["evaluation.best_baseline.mean"] == 50.0
    assert kept["evaluation.mean_cost.retrained"] == 10.0


def test_costs_by_slice_add_up_to_all():
    comparison = compare(BY_HAND, random=0)
    series = comparison.series
    assert series.start.tolist() == [3600.0, 3660.0]
    assert series.n_requests.tolist() == [4, 2]
    assert series.cost["random"].tolist() == [1120.5, 8.0]
    assert series.cost["oracle"].tolist() == [120.5, 8.0]


def test_slices_are_those_of_the_data_whatever_the_spec_says_of_their_length():
    shorter = [replace(one, slice=int(one.time // 30)) for one in BY_HAND]
    series = compare(shorter, random=0).series
    assert series.start.tolist() == [3600.0, 3630.0, 3660.0]
    assert series.n_requests.tolist() == [2, 2, 2]


def test_picks_are_kept_for_every_request():
    comparison = compare(BY_HAND, random=0)
    picks = comparison.picks["oracle"]
    assert picks.node.tolist() == [1, 0, 1, 0, 0, 0]
    assert picks.cost.tolist() == [10.0, 0.5, 30.0, 80.0, 2.0, 6.0]
    assert comparison.client.tolist() == [0, 1, 0, 1, 0, 1]
    assert len(comparison.request["kind"].codes) == 6


def test_no_policy_does_better_than_the_oracle_on_any_request():
    comparison = evaluate(world.batches(40), baselines(world.setting()), world.SPEC, world.telemetry())
    for picks in comparison.picks.values():
        assert (picks.cost >= comparison.picks["oracle"].cost).all()


def test_all_policies_are_asked_the_same():
    runs = {name: Recorder() for name in ("random", "a", "b")}
    evaluate(world.batches(5), runs, world.SPEC, world.telemetry())
    for asked in zip(*(seat.of("pick") for seat in runs.values()), strict=True):
        assert all(question is asked[0] for question in asked)


def test_a_question_says_nothing_of_outcomes():
    seat = Recorder()
    evaluate(world.batches(2), {"random": seat}, world.SPEC, world.telemetry())
    assert seat.of("pick")[0]._fields == ("time", "number", "client", "candidates", "request", "node_state")


def test_only_the_picked_outcome_is_shown_under_its_request_number():
    batches = [one_batch(3600.0, [[40.0, 10.0], [0.5, 20.0]]), one_batch(3700.0, [[1.0, 2.0]])]
    compare(batches, random=0, seat=(seat := Recorder(1)))
    (seen,) = seat.of("learn")
    assert sorted(zip(seen.number, seen.client, seen.node, seen.cost, strict=True)) == [
        (0, 0, 1, 10.0),
        (1, 1, 1, 20.0),
    ]
    assert seen.outcomes["rtt_ms"].tolist() == [10.0, 20.0]
    assert seen.time.tolist() == [3600.0, 3600.0]


def test_outcomes_are_learned_once_they_have_arrived_and_in_that_order():
    batches = [
        one_batch(0.0 + 3600, [[2500.0], [300.0]]),
        one_batch(1.0 + 3600, [[1000.0], [200.0]]),
        one_batch(2.0 + 3600, [[100.0]]),
        one_batch(3.0 + 3600, [[100.0]]),
        one_batch(9.0 + 3600, [[100.0]]),
    ]
    seat = Recorder()
    compare(batches, random=0, seat=seat)
    story = [what.number.tolist() for name, what in seat.log if name != "warm"]
    # An outcome that arrives as a batch begins (number 2, at second 2) is learned only after it.
    assert story == [[0, 1], [1], [2, 3], [3], [4], [2, 4, 0], [5], [5], [6]]


def test_outcomes_that_never_arrive_are_never_learned_nor_kept(monkeypatch):
    batches = [one_batch(3600.0 + t, [[100.0], [200.0]]) for t in range(3)]
    batches[0].arrival[0, 0] = np.inf
    runs, play = [], PolicyRun.play
    monkeypatch.setattr(PolicyRun, "play", lambda run, *asked: (runs.append(run), play(run, *asked)))
    compare(batches, random=0, seat=(seat := Recorder()))
    assert [seen.number.tolist() for seen in seat.of("learn")] == [[1], [2, 3]]
    assert [len(part) for part in runs[-1]._pending] == [2]  # noqa: SLF001 - memory that would grow


def test_outcomes_that_never_arrived_are_not_among_those_of_telemetry():
    telemetry = world.telemetry()
    never = np.arange(len(telemetry)) % 5 == 0
    seen = seen_before(replace(telemetry, arrival=np.where(never, np.inf, telemetry.arrival)))
    assert sorted(seen.number) == np.flatnonzero(~never).tolist()
    assert (np.diff(seen.arrival) >= 0).all()


def test_telemetry_still_under_way_when_the_first_round_begins_is_left_out_for_all():
    telemetry = world.telemetry()
    seat, begin = Recorder(), float(np.sort(telemetry.arrival)[-10])
    evaluate(world.batches(2, start=begin), {"random": seat}, world.SPEC, telemetry)
    (warm,) = seat.of("warm")
    assert len(warm) == len(telemetry) - 10
    assert (warm.arrival < begin).all()
    assert len(warm.request["kind"].codes) == len(warm.node_state["load"]) == len(warm)


@pytest.mark.parametrize("column", [-1, 2, 1])
def test_a_pick_that_is_no_candidate_is_refused_by_the_policys_name(column):
    batches = [one_batch(3600.0, [[4.0, NAN]])]
    with pytest.raises(InputError, match="seat: expected columns of candidates"):
        compare(batches, random=0, seat=column)


def test_picks_of_a_wrong_shape_or_type_are_refused():
    class Wrong(Recorder):
        def pick(self, question):
            return np.zeros(len(question.client))

    with pytest.raises(InputError, match="wrong: expected"):
        compare(BY_HAND, random=0, wrong=Wrong())


def test_random_is_needed_and_the_oracle_is_not_a_policy():
    with pytest.raises(InputError, match="expected random"):
        compare(BY_HAND, other=0)
    with pytest.raises(InputError, match="no oracle"):
        compare(BY_HAND, random=0, oracle=0)


def test_no_batches_are_refused():
    with pytest.raises(DataError, match="expected a client with outcomes of two nodes in a slice"):
        compare([], random=0)


# From files.


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A telemetry directory of 70 slices and a model trained on the first 60."""
    folder = tmp_path_factory.mktemp("world")
    data = folder / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    rows = [
        {
            "slice": s,
            "client_id": int(c),
            "node_id": n,
            "ok": bool(rng.random() > 0.1),
            "rtt_ms": 10.0 * (i + 1) * float(rng.uniform(0.5, 1.5)),
            "kind": "live",
            "load": float(rng.random()),
        }
        for s in range(70)
        for c in world.CLIENTS.ids
        for i, n in enumerate(world.NODES.ids)
    ]
    frame = pl.DataFrame(rows).with_columns(rtt_ms=pl.when("ok").then("rtt_ms"))
    frame.write_parquet(data / "telemetry.parquet")
    for name, table in (("clients", world.CLIENTS), ("nodes", world.NODES)):
        columns = {n: c.raw() if hasattr(c, "raw") else c for n, c in table.columns.items()}
        frame = pl.DataFrame({"id": table.ids.tolist(), **columns}).with_columns(pl.col("lat").fill_nan(None))
        frame.write_parquet(data / f"{name}.parquet")
    return data, world.write_model(folder / "tiny-1")


@pytest.mark.slow
def test_a_whole_evaluation_from_files(files):
    told = []
    comparison = run_evaluation(
        files[0],
        world.SPEC,
        files[1],
        start=60,
        candidates=3,
        requests=2,
        progress=lambda *step: told.append(step),
    )
    assert comparison.n == 10 * 2 * world.N_CLIENTS
    assert list(comparison.policies) == [*BASELINES, "learned", "greedy_lightgbm", "oracle"]
    printed = comparison.to_json()
    assert printed["spec"] == "tiny"
    assert printed["model"].startswith("tiny-")
    assert printed["data"].startswith("data@")
    assert told[-1] == ("evaluate", 20, 20)
    assert set(comparison.card.importance["latency"]) == set(world.SPEC.features)
    assert sum(comparison.card.importance["latency"].values()) == pytest.approx(1.0)


@pytest.mark.slow
def test_what_was_predicted_of_picks_is_kept_beside_what_came(files):
    comparison = run_evaluation(files[0], world.SPEC, files[1], start=60, requests=2)
    failed = ~comparison.picks["learned"].ok
    np.testing.assert_array_equal(comparison.observed["failure"], failed)
    np.testing.assert_array_equal(np.isnan(comparison.observed["latency"]), failed)
    assert ((comparison.predicted["failure"] > 0) & (comparison.predicted["failure"] < 1)).all()
    assert len(comparison.predicted["latency"]) == comparison.n


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures(files):
    first, second = (run_evaluation(files[0], world.SPEC, files[1], start=65).to_json() for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_several_seeds_give_the_mean_and_standard_deviation_of_what_each_gives_alone(files):
    alone = [run_evaluation(files[0], world.SPEC, files[1], start=65, seed=s) for s in (3, 4)]
    both = run_evaluation(files[0], world.SPEC, files[1], start=65, seed=3, seeds=2)
    assert both.n == sum(run.n for run in alone)
    for name, score in both.policies.items():
        for figure in FIGURES:
            values = [getattr(run.policies[name], figure) for run in alone]
            assert getattr(score, figure) == pytest.approx(np.mean(values), nan_ok=True)
            assert getattr(both.standard_deviation[name], figure) == pytest.approx(np.std(values, ddof=1), nan_ok=True)
    printed = both.to_json()
    assert list(printed) == [
        "data",
        "spec",
        "model",
        "n",
        "candidates",
        "requests",
        "seed",
        "versions",
        "command",
        "policies",
        "seeds",
        "standard_deviation",
        "tables",
        "chosen",
        "agreeing",
        "saturated",
        "warnings",
    ]
    assert printed["seeds"] == 2
    assert printed["standard_deviation"]["random"].keys() == printed["policies"]["random"].keys()


@pytest.mark.slow
def test_the_conditions_stand_beside_the_figures(files):
    found = run_evaluation(files[0], world.SPEC, files[1], start=65, seed=3, requests=2).by_command(
        "fogline evaluate X"
    )
    printed = found.to_json()
    assert [printed[name] for name in ("candidates", "requests", "seed", "command")] == [20, 2, 3, "fogline evaluate X"]
    assert {"fogline", "lightgbm", "numpy"} <= printed["versions"].keys()
    assert found.conditions.in_words().startswith("20 candidates, requests = 2, seed 3; fogline ")
    assert found.conditions.in_words().endswith("; fogline evaluate X")


def test_what_settings_were_chosen_on_stands_beside_the_figures():
    found = compare(BY_HAND, random=0)
    card = ModelCard("tiny", "1", {}, {}, {}, "slices 0 to 31")
    assert "tuned" not in replace(found, card=card._replace(tuned="")).to_json()
    assert replace(found, card=card).to_json()["tuned"] == "slices 0 to 31"


@pytest.mark.slow
def test_several_seeds_keep_the_picks_of_all(files):
    both = run_evaluation(files[0], world.SPEC, files[1], start=65, seeds=2)
    assert len(both.client) == len(both.request["kind"].codes) == len(both.predicted["latency"]) == both.n
    assert {len(picks.cost) for picks in both.picks.values()} == {both.n}
    assert both.series.n_requests.sum() == both.n
    assert both.series.cost["learned"].sum() == pytest.approx(both.policies["learned"].mean * both.n, rel=1e-6)


def test_no_seed_at_all_is_refused(files):
    with pytest.raises(InputError, match="seeds: expected at least one"):
        run_evaluation(files[0], world.SPEC, files[1], start=65, seeds=0)


@pytest.mark.slow
def test_further_policies_face_the_same_requests(files):
    extra = lambda setting: {"again": Random(setting)}  # noqa: E731
    comparison = run_evaluation(files[0], world.SPEC, files[1], start=65, policies=extra)
    assert comparison.policies["again"].mean == comparison.policies["random"].mean


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"start": None}, "expected a slice, as the spec tiny names none"),
        ({"start": 59}, "after 59, the last that the model was trained on"),
        ({"start": 70}, "up to the last \\(69\\), found 70"),
    ],
)
def test_a_start_that_makes_no_sense_is_refused(files, changed, message):
    with pytest.raises(InputError, match=message):
        run_evaluation(files[0], world.SPEC, files[1], **changed)
