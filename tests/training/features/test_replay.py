"""Replay knows at each row what its decision could have known, and serving computes the same."""

import dataclasses
import math
import tomllib

import msgspec
import numpy as np
import pytest

from scheduler import Model, Scheduler
from scheduler.features.kernels.operations import fill_row
from scheduler.features.program import compile_features
from scheduler.history.outcome_codec import OutcomeCodec
from scheduler.history.outcomes import outcome_names
from scheduler.history.store import new_history
from tests import models, twins
from tests.schedulers import flat
from training.features.replay import replay
from training.features.split import first_served
from training.features.trained_means import found_means, with_keys
from training.telemetry import Categories, Entities, Telemetry

SPEC = models.spec(models.TRAINED)
PLAIN = tomllib.loads(models.TRAINED)
FEATURES = compile_features(SPEC, models.VOCABULARY)
NAN = math.nan
N = 110


def categories(values):
    known = tuple(dict.fromkeys(v for v in values if v is not None))
    return Categories(np.array([-1 if v is None else known.index(v) for v in values], np.int32), known)


def world(n, seed, *, step=7.0):
    """Raw rows as dicts, in time order: some decided at the same moment, outcomes late and out of order."""
    random = np.random.default_rng(seed)

    def some(values):
        return values[random.integers(len(values))]

    def entity(id_, isps):
        place = {"lat": float(random.uniform(-90, 90)), "lon": float(random.uniform(-180, 180))}
        return {"id": id_, "isp": some(isps), "taste": random.normal(size=3).tolist(), **place}

    clients = [entity(id_, [7, 8, "mobile", "new"]) for id_ in [1, 2, 3, 40, 50]]
    nodes = [entity(id_, [7, 8, "mobile", None]) | {"uplink": some([1e3, 5e3])} for id_ in [1, 2, 30, 9, 10, 11]]
    rows = []
    now = 1_700_000_000.0
    for _ in range(n):
        now += some([0.0, 0.0, step, 3 * step])
        ok = bool(random.random() < 0.7)
        rtt = float(random.uniform(1, 40_000)) if ok or random.random() < 0.5 else NAN
        outcome = {"rtt_ms": rtt, "speed": float(random.uniform(-2, 50)) if random.random() < 0.6 else NAN}
        rows.append(
            {
                "time": now,
                "arrival": now if math.isnan(rtt) else now + rtt / 1000,
                "client": int(random.integers(len(clients))),
                "node": int(random.integers(len(nodes))),
                "request": {
                    "kind": some(["live", "bulk", "odd", None]),
                    "kbps": float(random.uniform(0, 9_000)),
                },
                "state": {"load": some([0.0, 0.25, NAN])},
                "ok": ok,
                "outcome": {name: float(np.float32(value)) for name, value in outcome.items()},
            }
        )
    return clients, nodes, rows


def measured(rows):
    columns = {name: np.array([row["outcome"][name] for row in rows]) for name in SPEC.outcomes}
    return OutcomeCodec(SPEC).rows({"ok": np.array([row["ok"] for row in rows], bool), **columns}, len(rows))


def telemetry(clients, nodes, rows):
    """The same rows as ingest hands them on."""

    def table(entities):
        names = [name for name in entities[0] if name != "id"]
        columns = {
            name: categories([e[name] for e in entities]) if name == "isp" else np.array([e[name] for e in entities])
            for name in names
        }
        return Entities(ids=np.array([e["id"] for e in entities]), columns=columns)

    return Telemetry(
        time=np.array([row["time"] for row in rows], float),
        arrival=np.array([row["arrival"] for row in rows], float),
        slice=np.zeros(len(rows), np.int32),
        client=np.array([row["client"] for row in rows], np.int32),
        node=np.array([row["node"] for row in rows], np.int32),
        ok=np.array([row["ok"] for row in rows], bool),
        outcomes=dict(zip(outcome_names(SPEC), measured(rows).T, strict=True)),
        request={
            "kind": categories([row["request"]["kind"] for row in rows]),
            "kbps": np.array([row["request"]["kbps"] for row in rows], float),
        },
        node_state={"load": np.array([row["state"]["load"] for row in rows], float)},
        clients=table(clients),
        nodes=table(nodes),
        rejected={},
        n_read=len(rows),
    )


def sides(clients, nodes, row):
    return {**clients[row["client"]], **row["request"]}, {**nodes[row["node"]], **row["state"]}


def tracked(row):
    """By hand: the values of the spec's history; the residual is known when history learns."""
    rtt, speed = row["outcome"]["rtt_ms"], row["outcome"]["speed"]
    logs = [NAN if not x > -1 else math.log1p(x) for x in (rtt, speed)]
    return [float(np.float32(x)) for x in (logs[0], 0.0 if row["ok"] else 1.0, logs[1], NAN)]


def from_scratch(clients, nodes, rows, *, revealed=None):
    """For each row anew: all outcomes that had arrived strictly before it, in order of arrival.

    Means of training know those too that history never sees.
    """
    codes = twins.codes_of(models.VOCABULARY)
    found = []
    for row in rows:
        known = [(other["arrival"], i) for i, other in enumerate(rows) if other["arrival"] < row["time"]]
        history = twins.History(PLAIN)
        for arrival, i in sorted(known):
            history.train(*sides(clients, nodes, rows[i]), tracked(rows[i]))
            if revealed is None or revealed[i]:
                history.learn(*sides(clients, nodes, rows[i]), tracked(rows[i]), arrival)
        found.append(twins.row(PLAIN, twins.Asked(*sides(clients, nodes, row), history, row["time"]), codes))
    return np.array(found).reshape(len(rows), len(PLAIN["features"]))


@pytest.mark.slow
def test_rows_are_those_recomputed_from_what_had_arrived_bit_for_bit():
    clients, nodes, rows = world(N, 1)
    data = telemetry(clients, nodes, rows)
    found = replay(data, SPEC, with_keys([data], SPEC, models.VOCABULARY), new_history(SPEC), means=True)
    expected = from_scratch(clients, nodes, rows)
    np.testing.assert_array_equal(found, expected)
    known = ~np.isnan(found[-20:]).all(axis=0)
    assert known.all(), [FEATURES.names[f] for f in np.flatnonzero(~known)]  # every feature was put to the test


@pytest.mark.slow
def test_what_is_not_revealed_teaches_history_nothing():
    clients, nodes, rows = world(N // 2, 2)
    revealed = np.random.default_rng(0).random(len(rows)) < 0.5
    data = telemetry(clients, nodes, rows)
    features = with_keys([data], SPEC, models.VOCABULARY)
    found = replay(data, SPEC, features, new_history(SPEC), revealed=revealed, means=True)
    np.testing.assert_array_equal(found, from_scratch(clients, nodes, rows, revealed=revealed))


def test_what_never_arrives_teaches_neither_history_nor_means_of_training():
    clients, nodes, rows = world(N // 2, 2)
    some = np.random.default_rng(1).random(len(rows)) < 0.6
    for row, arrives in zip(rows, some, strict=True):
        row["arrival"] = row["arrival"] if arrives else math.inf
    data = telemetry(clients, nodes, rows)
    features, others = (with_keys([part], SPEC, models.VOCABULARY) for part in (data, data.where(some)))
    found = replay(data, SPEC, features, new_history(SPEC), means=True)
    expected = replay(data.where(some), SPEC, others, new_history(SPEC), means=True)
    np.testing.assert_array_equal(found[some], expected)
    assert not np.isnan(found[~some]).all()
    assert features.program.trained.rows.sum() == pytest.approx(others.program.trained.rows.sum())


def test_an_outcome_never_reaches_its_own_row_nor_one_of_the_same_moment():
    clients, nodes, rows = world(50, 3, step=0.0)
    for row in rows:
        row["arrival"] = row["time"]
    data = telemetry(clients, nodes, rows)
    found = replay(data, SPEC, with_keys([data], SPEC, models.VOCABULARY), new_history(SPEC), means=True)
    learned = ("history", "shrunk", "latent_factors", "change_point", "trained_mean")
    statistics = [f for f, x in enumerate(PLAIN["features"].values()) if x["op"] in learned]
    assert np.isnan(found[:, statistics]).all()


def test_only_the_rows_kept_come_back():
    clients, nodes, rows = world(N, 4)
    data = telemetry(clients, nodes, rows)
    keep = np.random.default_rng(0).random(N) < 0.3
    every = replay(data, SPEC, FEATURES, new_history(SPEC))
    np.testing.assert_array_equal(replay(data, SPEC, FEATURES, new_history(SPEC), keep=keep), every[keep])
    assert replay(data, SPEC, FEATURES, new_history(SPEC), keep=np.zeros(N, bool)).shape == (
        0,
        every.shape[1],
    )


def test_a_replay_in_two_parts_is_one_replay():
    clients, nodes, rows = world(N, 5)
    for row in rows:
        row["arrival"] = row["time"] + 1.0  # so that no outcome crosses the cut twice
    cut = next(i for i in range(N // 2, N) if rows[i]["time"] > rows[i - 1]["arrival"])
    whole, parts = new_history(SPEC), new_history(SPEC)
    every = replay(telemetry(clients, nodes, rows), SPEC, FEATURES, whole)
    first = replay(telemetry(clients, nodes, rows[:cut]), SPEC, FEATURES, parts, end=rows[cut]["time"])
    second = replay(telemetry(clients, nodes, rows[cut:]), SPEC, FEATURES, parts)
    np.testing.assert_array_equal(np.concatenate([first, second]), every)
    for a, b in zip(flat(whole), flat(parts), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("end", [0.0, 1_700_000_000.0])
def test_nothing_is_learned_from_the_end_on(end):
    clients, nodes, rows = world(3, 6, step=0.0)
    history = new_history(SPEC)
    replay(telemetry(clients, nodes, rows), SPEC, FEATURES, history, end=end)
    assert history.counters.tolist() == [0, 0]


def test_no_rows_are_no_rows():
    clients, nodes, rows = world(1, 7)
    data = telemetry(clients, nodes, rows)
    empty = telemetry(clients, nodes, [])
    assert replay(empty, SPEC, FEATURES, new_history(SPEC)).shape == (0, len(FEATURES.names))
    assert replay(data, SPEC, FEATURES, new_history(SPEC)).shape == (1, len(FEATURES.names))


def trained_on(clients, nodes, rows):
    """A twin with the means of all rows."""
    known = twins.History(PLAIN)
    for row in rows:
        known.train(*sides(clients, nodes, row), tracked(row))
    return known


@pytest.mark.slow
def test_serving_fills_the_rows_that_replay_does_bit_for_bit(tmp_path):
    """The same decisions and outcomes, once through the scheduler as they come, once through replay.

    Means of training are those that the model took along, whatever is observed.
    """
    clients, nodes, rows = world(N, 8)
    known = trained_on(*world(N, 9))
    model = Model.load(models.write_small(tmp_path / "small", models.TRAINED, known=known))
    data = telemetry(clients, nodes, rows)
    replayed_history = new_history(SPEC)
    expected = replay(data, SPEC, FEATURES, replayed_history)
    for f, feature in enumerate(PLAIN["features"].values()):
        if feature["op"] == "trained_mean":
            expected[:, f] = [known.trained(feature, *sides(clients, nodes, row), NAN) for row in rows]
            assert np.isfinite(expected[:, f]).any()

    sched = Scheduler(model, remember=N, first_id=0, secret=0)  # tables placed as in a replay
    names = ("isp", "lat", "lon", "taste")
    sched.clients.upsert([c["id"] for c in clients], {name: [c[name] for c in clients] for name in names})
    names = (*names, "uplink")
    sched.fleet.upsert([n["id"] for n in nodes], {name: [n[name] for n in nodes] for name in names})
    found = np.empty_like(expected)
    waiting = []

    def hear_until(now):
        for arrival, _, decision, i in sorted(w for w in waiting if w[0] < now):
            outcome = {name: None if math.isnan(x) else x for name, x in rows[i]["outcome"].items()}
            sched.observe(decision, {"ok": rows[i]["ok"], **outcome}, now=arrival)
        waiting[:] = [w for w in waiting if not w[0] < now]

    for i, row in enumerate(rows):
        hear_until(row["time"])
        node, client = nodes[row["node"]]["id"], clients[row["client"]]["id"]
        sched.fleet.upsert([node], {"load": [row["state"]["load"]]})
        request = {"client_id": client, **row["request"]}
        check_scores(sched, model, request, node, row["time"], expected[i])
        decision = sched.decide(request, [node], now=row["time"])
        assert decision.nodes == (node,)
        waiting.append((row["arrival"], i, decision.id, i))
        found[i] = row_of(sched, decision.id, row["time"], request)
    hear_until(math.inf)
    np.testing.assert_array_equal(found, expected)
    learned = slice(None, -2)  # the last two say which node reads what, and a replay has no fleet
    for ours, theirs in zip(flat(sched.history[learned]), flat(replayed_history[learned]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def check_scores(sched, model, request, node, now, row):
    """What is scored from the rows the scheduler keeps is what the model says of the replayed row."""
    scores = sched.score({name: [value] for name, value in request.items()}, [[node]], now=now)
    for head, value in model.predict(row[None]).items():
        assert scores[head][0, 0] == pytest.approx(value[0], rel=2e-5)


def row_of(sched, decision, now, request):
    """The feature row of a decision, filled from the scheduler's own state."""
    (client,) = sched.clients.slots([request["client_id"]])
    asked = sched.clients.columns
    at = sched.clients.schema.offsets
    kept = asked.values[client].copy(), asked.keys[client].copy()
    asked.values[client, at["kbps"]] = request["kbps"]
    kind = sched.clients.schema.encode("kind", [request["kind"]], 1)
    asked.keys[client, sched.clients.schema.key_columns["kind"]] = kind[0]
    slot = sched.state.log.arrays.slot[decision, 0]
    out = np.empty(len(FEATURES.names), np.float32)
    fill_row(sched.model.features.program, asked, client, sched.fleet.arrays.columns, slot, sched.history, now, out)
    asked.values[client], asked.keys[client] = kept
    return out


def test_a_model_takes_along_the_means_of_all_rows_and_a_first_model_those_before_it_serves():
    clients, nodes, rows = world(N, 10)
    data = telemetry(clients, nodes, rows)
    data = dataclasses.replace(data, slice=(np.arange(N) // 10).astype(np.int32))
    spec = msgspec.structs.replace(SPEC, training=msgspec.structs.replace(SPEC.training, rehearse=0.5))
    features = with_keys([data], spec, models.VOCABULARY)
    replay(data, spec, features, new_history(spec), revealed=np.zeros(N, bool), means=True)
    starts = dict.fromkeys(np.unique(data.slice).tolist(), np.inf)
    found = found_means(features, [data], spec, models.VOCABULARY, starts)
    first = first_served(np.unique(data.slice), spec)
    for means, some in (
        (found.all, rows),
        (found.before, [r for r, s in zip(rows, data.slice, strict=True) if s < first]),
    ):
        expected = models.means(trained_on(clients, nodes, some))
        np.testing.assert_array_equal(means.keys, expected.keys)
        np.testing.assert_allclose(means.rows, expected.rows, rtol=1e-5)
    assert 0 < found.before.keys.size < found.all.keys.size
    parts = [data.where(data.slice < 4), data.where(data.slice >= 4)]
    in_parts = found_means(features, parts, spec, models.VOCABULARY, starts)
    np.testing.assert_array_equal(in_parts.before.rows, found.before.rows)
    late = dataclasses.replace(data, arrival=np.where(data.slice == 2, np.inf, data.arrival))
    arrived = found_means(features, [late], spec, models.VOCABULARY, starts)
    without = found_means(features, [data.where(data.slice != 2)], spec, models.VOCABULARY, starts)
    np.testing.assert_array_equal(arrived.before.rows, without.before.rows)
    assert arrived.before.rows.sum() < found.before.rows.sum()
    begin = float(np.median(data.arrival[data.slice < first]))
    known = found_means(features, [data], spec, models.VOCABULARY, starts | {first: begin})
    told = found_means(features, [data.where(data.arrival < begin)], spec, models.VOCABULARY, starts)
    np.testing.assert_array_equal(known.before.rows, told.before.rows)
    assert known.before.rows.sum() < found.before.rows.sum()


def test_a_spec_without_means_of_training_takes_none_along():
    clients, nodes, rows = world(20, 11)
    data, spec = telemetry(clients, nodes, rows), models.spec(models.EXTENDED)
    features = with_keys([data], spec, models.VOCABULARY)
    assert found_means(features, [data], spec, models.VOCABULARY, np.unique(data.slice)) is None
    assert features.program.trained.rows.shape == (1, 0)


def test_a_replay_by_a_models_features_leaves_its_means_as_they_are():
    clients, nodes, rows = world(N, 12)
    features = compile_features(SPEC, models.VOCABULARY, models.means(trained_on(clients, nodes, rows)))
    before = features.program.trained.rows.copy()
    assert before.any()
    replay(telemetry(clients, nodes, rows), SPEC, features, new_history(SPEC))
    np.testing.assert_array_equal(features.program.trained.rows, before)
