"""Metrics say what happened: each is compared with counts kept by hand over real decisions."""

import subprocess
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from scheduler import InputError, Model
from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import id_key
from scheduler.decisions.arrays import DROPS, REASONS
from scheduler.decisions.record.read import read_segments
from scheduler.decisions.record.watch_totals import Groups, WatchTotals
from scheduler.errors import MetricsError
from scheduler.metrics import FAMILIES, FoglineCollector, register
from scheduler.spec import Policy, WatchRules
from tests import models
from tests.schedulers import IDS, LEDGER, OK, new

SOFTMAX = Policy(explore="softmax", temperature=1e6)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Model.load(models.write_small(tmp_path_factory.mktemp("other") / "small", seed=9))


def scraped(sched, recorder=None, **options):
    """What a scrape says, parsed: values by name and labels."""
    registry = CollectorRegistry()
    sched.recorder = recorder or sched.recorder
    register(sched, registry, **options)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(found, name, **labels):
    return found[name, frozenset(labels.items())]


def check_decisions(found, version, decisions):
    reasons = Counter(d.reason for d in decisions)
    dropped = sum((Counter(d.dropped) for d in decisions), Counter())
    for name in REASONS:
        assert value(found, "fogline_decisions_total", version=version, reason=name) == reasons[name]
    for name in DROPS:
        assert value(found, "fogline_candidates_dropped_total", version=version, reason=name) == dropped[name]
    assert value(found, "fogline_decision_seconds_count", version=version) == len(decisions)
    assert value(found, "fogline_decision_seconds_bucket", version=version, le="+Inf") == len(decisions)


def test_counts_are_those_kept_by_hand_over_a_swap(model, other):
    sched = new(model, ledger=LEDGER, policy=SOFTMAX)
    sched.fleet.quarantine([2], until=1e6)
    made, n_observed = {model.version: [], other.version: []}, 0
    before = time.time()
    for i in range(60):
        if i == 35:
            sched.release(sched.swap(models.changed(other, ledger=LEDGER, policy=SOFTMAX)))
        candidates = [2] if i % 7 == 0 else IDS
        d = sched.decide({"client_id": 17, "kbps": 400.0}, candidates, now=float(i))
        made[d.model_version].append(d)
        if d.nodes and i % 3 == 0:
            sched.observe(d.id, OK, now=i + 0.5)
            n_observed += 1
    sched.learn({"client_id": 17}, 1, OK, now=60.0)
    sched.learn({"client_id": 17}, 1, OK, now=60.0)
    found = scraped(sched)
    for version, decisions in made.items():
        assert len({d.reason for d in decisions}) > 1
        check_decisions(found, version, decisions)
    assert value(found, "fogline_outcomes_total", source="observed") == n_observed
    assert value(found, "fogline_outcomes_total", source="learned") == 2
    info = {"model": other.name, "version": other.version, "fingerprint": other.spec.fingerprint()}
    assert value(found, "fogline_model_info", **info) == 1
    assert before <= value(found, "fogline_model_in_charge_timestamp_seconds") <= time.time()
    assert value(found, "fogline_arms") == 1


def test_reservations_that_expire_and_decisions_that_are_forgotten_are_counted(model):
    sched = new(model, ledger=LEDGER)
    for i in range(5):
        sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=float(i))
    sched.decide({"client_id": 17, "kbps": 100.0}, [1], now=1_000.0)
    found = scraped(sched)
    assert value(found, "fogline_reservations_expired_total") == 5
    assert value(found, "fogline_decisions_forgotten_total") == sched.counters()["forgotten"]


def test_nodes_are_counted_by_what_they_are(model):
    sched = new(model)
    sched.fleet.quarantine(["box"], until=50.0)
    sched.fleet.quarantine([2], until=float("inf"))
    sched.fleet.upsert([1], alive_until=5.0)
    sched.decide({"client_id": 17}, now=10.0)
    found = scraped(sched)
    states = {name: value(found, "fogline_nodes", state=name) for name in ("live", "quarantined", "silent")}
    assert states == {"live": 2, "quarantined": 1, "silent": 2}


def test_history_tells_its_fill_and_evictions(model):
    sched = new(model)
    sched.learn_batch({"client_id": list(range(500))}, [1] * 500, {"ok": True, "rtt_ms": 20.0}, now=1.0)
    found, counters = scraped(sched), sched.counters()
    for table in ("history", "latent_factors", "change_points"):
        assert value(found, "fogline_evictions_total", table=table) == counters[f"{table}_evicted"]
    assert value(found, "fogline_history_entries") == counters["history_entries"] > 500
    assert value(found, "fogline_history_capacity") == counters["history_capacity"]


def test_buckets_of_latencies_only_grow_and_their_sum_is_the_time_taken(model):
    sched = new(model)
    begun = time.perf_counter()
    for i in range(30):
        sched.decide({"client_id": 17}, now=float(i))
    took, found = time.perf_counter() - begun, scraped(sched)
    buckets = sorted(
        (float(dict(labels)["le"]), n)
        for (name, labels), n in found.items()
        if name == "fogline_decision_seconds_bucket"
    )
    counts = [n for _, n in buckets]
    assert counts == sorted(counts)
    assert counts[-1] == 30
    assert 0 < value(found, "fogline_decision_seconds_sum", version=model.version) < took


def test_threads_that_decide_while_metrics_are_read_lose_no_count(model):
    sched, made, seen = new(model, policy=SOFTMAX, ledger=LEDGER), [], []
    done = threading.Event()

    def decide(t):
        made.extend([sched.decide({"client_id": 17, "kbps": 300.0 * t}, now=0.0) for _ in range(100)])

    def read():
        while not done.is_set():
            found = scraped(sched)
            seen.append(sum(n for (name, _), n in found.items() if name == "fogline_decisions_total"))

    threads = [threading.Thread(target=decide, args=(t,)) for t in range(4)]
    reader = threading.Thread(target=read)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    reader.join()
    assert seen == sorted(seen)
    assert len(made) == 400
    check_decisions(scraped(sched), model.version, made)


def totals():
    """Of two versions: two classes, and carriers of which one has two keys."""
    found = WatchTotals(("failure", "latency"))
    a, b = found.version("a")[0], found.version("b")[0]
    default, bulk = found.workload("default"), found.workload("kind=bulk")
    keys = np.array([id_key(7), id_key("7"), MISSING_KEY, id_key("mobile"), 12345], np.uint64)
    seven, text, missing, mobile, unheard = found.carriers(keys).tolist()

    def groups(*rows):
        return Groups(*np.array(rows, np.int16).reshape(-1, 3).T)

    three = groups((a, default, seven), (a, default, seven), (b, bulk, mobile))
    predicted, actual = (
        np.array([[0.25, 30.0], [0.5, 10.0], [0.125, 20.0]]),
        np.array([[0.0, 32.0], [1.0, np.nan], [0, 8]]),
    )
    found.add_heads(three, predicted, actual, ~np.isnan(actual))
    due = groups((a, default, seven), (a, default, text), (a, default, missing), (b, bulk, mobile), (b, bulk, unheard))
    found.add_carriers(due, groups((a, default, text), (b, bulk, mobile)), groups((b, bulk, mobile)))
    return found


def recorder(found, **changes):
    status = {
        "is_on": True,
        "written": {"decisions": 50, "outcomes": 40},
        "dropped": {"decisions": 3, "outcomes": 0},
        "lost": {"decisions": 2, "outcomes": 1},
        "bytes": 9_000,
        "failures": 4,
        "lag": 0.75,
    }
    return SimpleNamespace(status=SimpleNamespace(**status | changes), totals=found)


def test_what_was_predicted_and_what_came_is_told_by_version_class_and_head(sched):
    found = scraped(sched, recorder=recorder(totals()))
    labels = {"version": "a", "workload": "default", "head": "failure"}
    assert value(found, "fogline_head_predicted_sum", **labels) == 0.75
    assert value(found, "fogline_head_actual_sum", **labels) == 1.0
    assert value(found, "fogline_head_actual_count", **labels) == 2
    labels["head"] = "latency"
    assert value(found, "fogline_head_predicted_count", **labels) == 1
    assert value(found, "fogline_head_predicted_sum", version="b", workload="kind=bulk", head="latency") == 20.0


def test_missing_outcomes_are_told_by_version_and_name_of_the_carrier(sched):
    sched.fleet.upsert(["seven"], {"isp": ["7"]})
    found = scraped(sched, recorder=recorder(totals()))
    due = {tuple(sorted(dict(labels).values())): n for (name, labels), n in found.items() if "outcomes_due" in name}
    key = f"key:{12345:016x}"
    assert due == {("7", "a"): 2, ("a", "unknown"): 1, ("b", "mobile"): 1, tuple(sorted(("b", key))): 1}
    assert value(found, "fogline_outcomes_missing_total", version="a", carrier="7") == 1
    assert value(found, "fogline_outcomes_late_total", version="b", carrier="mobile") == 1


def test_a_recording_tells_what_it_wrote_dropped_and_lost(sched):
    found = scraped(sched, recorder=recorder(totals()))
    rows = [value(found, f"fogline_record_rows{name}_total", table="decisions") for name in ("", "_dropped", "_lost")]
    assert rows == [50, 3, 2]
    assert value(found, "fogline_recording") == 1
    assert value(found, "fogline_record_lag_seconds") == 0.75
    assert value(found, "fogline_record_bytes_total") == 9_000
    assert value(found, "fogline_record_failures_total") == 4


def test_a_real_recording_compares_predictions_with_outcomes_and_counts_who_did_not_answer(model, tmp_path):
    watch = WatchRules(window="10s", carrier="isp")
    sched = new(model, ledger=LEDGER, watch=watch, policy=Policy(max_nodes=2, alternatives=1))
    writer = sched.record(tmp_path / "records", full=0.0, every=1_000.0)
    predicted, actual, due, missing, silent = Counter(), Counter(), Counter(), Counter(), set()
    for i in range(40):
        kind = "bulk" if i % 2 else "live"
        d = sched.decide({"client_id": 17, "kind": kind, "kbps": 900.0}, now=float(i))
        for node, values in zip(d.nodes, d.scores, strict=True):
            carrier = sched.fleet.get(node).columns["isp"]
            carrier = "unknown" if carrier is None else str(carrier)
            due[carrier] += 1
            if i % 5 == 0:
                missing[carrier] += 1
                silent.add((d.id, d.nodes.index(node), i + 10.0))
                continue
            ok = i % 3 > 0
            sched.observe(d.id, OK if ok else {"ok": False}, now=i + 0.5, node=node)
            workload = "kind=bulk" if kind == "bulk" else "kind=live,isp=7"
            predicted[workload, "failure"] += float(np.float32(values["failure"]))
            actual[workload, "failure"] += not ok
            if ok:
                predicted[workload, "latency"] += float(np.float32(values["latency"]))
                actual[workload, "latency"] += OK["rtt_ms"]
        if i == 20:
            writer.flush()
    sched.decide({"client_id": 99}, [2], now=100.0)  # time passes
    writer.flush()
    found = scraped(sched)
    sched.close()
    for (workload, head), total in predicted.items():
        labels = {"version": model.version, "workload": workload, "head": head}
        assert value(found, "fogline_head_predicted_sum", **labels) == pytest.approx(total)
        assert value(found, "fogline_head_actual_sum", **labels) == pytest.approx(actual[workload, head])
    for carrier, n in due.items():
        labels = {"version": model.version, "carrier": carrier}
        assert value(found, "fogline_outcomes_due_total", **labels) == n
        assert value(found, "fogline_outcomes_missing_total", **labels) == missing[carrier]
    assert value(found, "fogline_record_rows_total", table="decisions") == 41
    assert set(told(tmp_path / "records")) == silent
    assert value(found, "fogline_recording") == 1


def told(folder):
    """Timeouts on disk."""
    for segment in read_segments(folder):
        for columns in segment.batches("timeouts"):
            yield from zip(*(columns[name].tolist() for name in ("decision", "place", "time")), strict=True)


def names(found):
    return {name for name, _ in found}


def test_what_only_a_recording_knows_is_unknown_without_one(sched):
    found = scraped(sched)
    assert value(found, "fogline_recording") == 0
    unknown = ("fogline_record_", "fogline_head_", "fogline_outcomes_due", "fogline_outcomes_missing")
    assert not [name for name in names(found) if name.startswith(unknown)]


def test_the_lag_of_a_recording_that_ended_is_unknown(sched):
    found = scraped(sched, recorder=recorder(totals(), is_on=False))
    assert value(found, "fogline_recording") == 0
    assert "fogline_record_lag_seconds" not in names(found)


def test_following_and_saving_are_told_once_there_are_any(sched, tmp_path):
    assert not [name for name in names(scraped(sched)) if name.startswith(("fogline_registry", "fogline_snapshot"))]
    saving = sched.autosave(tmp_path / "state", every=1_000.0)
    before = time.time()
    saving.stop()  # saves a last time
    sched.follow("models:/small@champion", every=1_000.0, registry=f"sqlite:///{tmp_path}/none.db")
    while not sched.status().following.failures:
        time.sleep(0.01)
    found = scraped(sched)
    sched.close()
    assert value(found, "fogline_snapshots_total") == sched.status().saving.saves - 1 == 1
    assert value(found, "fogline_snapshot_failures_total") == 0
    assert value(found, "fogline_snapshot_last_timestamp_seconds") >= before
    assert value(found, "fogline_registry_checks_total") == value(found, "fogline_registry_failures_total") == 1
    assert value(found, "fogline_registry_swaps_total") == value(found, "fogline_registry_refused") == 0
    assert value(found, "fogline_registry_last_check_timestamp_seconds") >= before


def test_labels_of_one_s_own_come_with_every_sample(sched):
    found = scraped(sched, labels={"region": "east"}, recorder=recorder(totals()))
    assert {dict(labels)["region"] for _, labels in found} == {"east"}


@pytest.mark.parametrize("labels", [{"version": "1"}, {"le": "1"}, {"a-b": "1"}, {"__a": "1"}, {1: "1"}, {"region": 1}])
def test_labels_that_prometheus_does_not_take_are_refused(sched, labels):
    with pytest.raises(InputError, match=r"^label"):
        FoglineCollector(sched, labels)


def test_a_registry_takes_one_scheduler(sched):
    registry = CollectorRegistry()
    register(sched, registry)
    with pytest.raises(InputError, match="registry: expected one without metrics of a scheduler"):
        register(sched, registry)


def test_the_exposition_parses_as_openmetrics_too(sched):
    registry = CollectorRegistry()
    register(sched, registry)
    sched.recorder = recorder(totals())
    sched.decide({"client_id": 17}, now=0.0)
    families = list(parse_openmetrics(generate_openmetrics(registry).decode()))
    assert {family.name for family in families} == {of.name for of in FAMILIES}


def test_a_registry_learns_the_names_without_reading_anything(sched, monkeypatch):
    monkeypatch.setattr(FoglineCollector, "collect", lambda _: pytest.fail("read"))
    registry = CollectorRegistry()
    collector = register(sched, registry)
    assert [family.name for family in collector.describe()] == [of.name for of in FAMILIES]


@pytest.mark.slow
def test_without_prometheus_client_the_error_names_the_extra():
    code = "import sys; sys.modules['prometheus_client'] = None\nimport scheduler.metrics"
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert run.returncode == 1
    assert f"{MetricsError.__name__}: metrics: expected prometheus-client" in run.stderr
    assert "fogline[metrics]" in run.stderr
