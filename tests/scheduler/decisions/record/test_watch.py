"""Decisions and outcomes are joined as a dictionary of open decisions would join them."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import InputError
from scheduler.decisions.counts import MOST_VERSIONS, OLDER
from scheduler.decisions.record import watch as watching
from scheduler.decisions.record.watch import ArmRules, Watch, WatchedDecisions, WatchedOutcomes
from scheduler.decisions.record.watch_table import AGAIN, IN_TIME, LATE, UNWATCHED
from scheduler.decisions.record.watch_totals import MOST_CARRIERS, MOST_CLASSES, OTHER, WatchTotals
from scheduler.spec import parse_spec
from tests.models import SPEC

QUANTILE = """
[heads.slow]
target = "log1p(rtt_ms)"
link = "log"
given_ok = true
quantile = 0.75
"""
TEXT = (
    SPEC.replace("\n[utility]\n", QUANTILE + '\n[watch]\nwindow = "10s"\n\n[utility]\n')
    .replace("price_weight = -50.0", 'price_weight = -50.0\nwindow = "30s"')
    .replace("price_weight = -5.0", 'price_weight = -5.0\nwindow = "2s"')
)
WINDOWS, CLASSES = (2.0, 30.0, 10.0), ("kind=live,isp=7", "kind=bulk", "default")
PLACES, N_HEADS = 2, 3
VERSIONS = ("a", "b", "a")


@pytest.fixture(scope="module")
def spec():
    return parse_spec(TEXT)


def new(spec, limit=1_000):
    watch = Watch(spec, limit)
    for arm, version in enumerate(VERSIONS):
        watch.know_arm(arm, version, spec)
    return watch


def decision_rows(some):
    """Rows of dicts; places past a slate hold what must not be read."""
    n = len(some)
    carrier, predicted = np.full((n, PLACES), 2**63, np.uint64), np.full((n, PLACES, N_HEADS), 1e30)
    for i, d in enumerate(some):
        for place in range(d["n"]):
            carrier[i, place], predicted[i, place] = d["carrier"][place], d["predicted"][place]
    return WatchedDecisions(
        id=np.array([d["id"] for d in some], np.int64),
        time=np.array([d["time"] for d in some], np.float64),
        arm=np.array([d["arm"] for d in some], np.int32),
        profile=np.array([d["profile"] for d in some], np.int32),
        n_slate=np.array([d["n"] for d in some], np.uint8),
        carrier=carrier,
        predicted=predicted,
    )


def outcome_rows(some):
    rows = [[math.nan if o["rtt"] is None else o["rtt"], math.nan, float(not o["ok"]), 0.0] for o in some]
    return WatchedOutcomes(
        decision=np.array([o["id"] for o in some], np.int64),
        place=np.array([o["place"] for o in some], np.int32),
        time=np.array([o["time"] for o in some], np.float64),
        outcomes=np.array(rows, np.float32).reshape(len(some), 4),
    )


class Plain:
    """The same in dictionaries, one row at a time."""

    def __init__(self, limit):
        self.limit, self.open, self.early, self.forgotten, self.now = limit, {}, [], 0, -math.inf
        self.heads, self.carriers = defaultdict(lambda: [0, 0.0, 0.0]), defaultdict(Counter)

    def add(self, decisions, outcomes, now):
        for d in decisions:
            for place in range(d["n"]):
                window = WINDOWS[d["profile"]]
                self.open[d["id"], place] = d | {
                    "deadline": d["time"] + window,
                    "until": d["time"] + 2 * window,
                    "state": "open",
                    "predicted": [float(np.float32(x)) for x in d["predicted"][place]],
                    "key": (VERSIONS[d["arm"]], d["carrier"][place]),
                }
        told, timeouts = self.early + outcomes, []
        verdicts = [self.one(o, timeouts) for o in told]
        self.early, n_early = [o for o in outcomes if not any(id_ == o["id"] for id_, _ in self.open)], len(self.early)
        for key, row in self.open.items():
            if row["state"] == "open" and row["deadline"] < now:
                row["state"] = "timed out"
                timeouts.append((*key, row["deadline"]))
        for id_, place, _ in timeouts:
            self.carriers[self.open[id_, place]["key"]].update(due=1, missing=1)
        self.open = {key: row for key, row in self.open.items() if row["until"] >= now}
        self.now = now
        while len(self.open) > self.limit:
            oldest = min(self.open)[0]
            gone = [key for key in self.open if key[0] == oldest]
            self.forgotten += sum(self.open.pop(key)["state"] == "open" for key in gone)
        return sorted(timeouts), verdicts[n_early:]

    def one(self, o, timeouts):
        row = self.open.get((o["id"], o["place"]))
        if row is None or row["until"] < self.now:
            return UNWATCHED
        if row["state"] == "answered":
            return AGAIN
        if row["state"] == "open" and o["time"] <= row["deadline"]:
            verdict = IN_TIME
            self.carriers[row["key"]].update(due=1)
        else:
            verdict = LATE
            if row["state"] == "open":
                timeouts.append((o["id"], o["place"], row["deadline"]))
            self.carriers[row["key"]].update(late=1)
        row["state"] = "answered"
        self.count(row, o)
        return verdict

    def count(self, row, o):
        failure, latency, slow = row["predicted"]
        rtt = o["rtt"] if o["ok"] else None
        pairs = {"failure": (failure, float(not o["ok"]))}
        if rtt is not None:
            pairs |= {"latency": (latency, rtt), "slow": (math.nan if math.isnan(slow) else 0.75, float(rtt <= slow))}
        for head, (predicted, actual) in pairs.items():
            if not math.isnan(predicted):
                total = self.heads[VERSIONS[row["arm"]], CLASSES[row["profile"]], head]
                total[0] += 1
                total[1] += predicted
                total[2] += actual


def check(watch, plain):
    found = {(t.version, t.workload, t.head): [t.n, t.predicted, t.actual] for t in watch.totals.by_head()}
    assert found.keys() == plain.heads.keys()
    for key, total in plain.heads.items():
        assert found[key] == pytest.approx(total, rel=1e-12)
    by_carrier = {(t.version, t.carrier): (t.due, t.missing, t.late) for t in watch.totals.by_carrier()}
    assert by_carrier == {key: (of["due"], of["missing"], of["late"]) for key, of in plain.carriers.items()}
    assert watch.n_forgotten == plain.forgotten


numbers = st.sampled_from([0.0, 0.5, 3.0, 20.0, 31.25, math.nan])
decisions_drawn = st.builds(
    lambda time, arm, profile, n, carrier, predicted: {
        "time": time, "arm": arm, "profile": profile, "n": n, "carrier": carrier, "predicted": predicted
    },
    st.integers(0, 60).map(float),
    st.integers(0, len(VERSIONS) - 1),
    st.integers(0, len(WINDOWS) - 1),
    st.integers(0, PLACES),
    st.lists(st.sampled_from([5, 7, 2**64 - 1]), min_size=PLACES, max_size=PLACES),
    st.lists(st.lists(numbers, min_size=N_HEADS, max_size=N_HEADS), min_size=PLACES, max_size=PLACES),
)  # fmt: skip
outcomes_drawn = st.builds(
    lambda which, place, time, ok, rtt: {"which": which, "place": place, "time": time, "ok": ok, "rtt": rtt},
    st.integers(-1, 12),
    st.integers(0, PLACES),
    st.integers(0, 120).map(float),
    st.booleans(),
    st.none() | st.sampled_from([1.0, 20.0, 400.0]),
)
batches_drawn = st.lists(
    st.tuples(
        st.lists(decisions_drawn, max_size=5), st.lists(outcomes_drawn, max_size=8), st.integers(0, 40), st.randoms()
    ),
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(batches_drawn, st.sampled_from([3, 1_000]))
def test_every_row_is_judged_and_counted_as_by_a_dictionary(spec, batches, limit):
    """Outcomes come in time, late, twice, before their decision, for nobody, or never; decisions in any order."""
    watch, plain, now = new(spec, limit), Plain(limit), 0.0
    ids = itertools.count(100, 3)
    for decisions, outcomes, later, random in batches:
        now += later
        drawn = [d | {"id": id_} for d, id_ in zip(decisions, ids, strict=False)]
        random.shuffle(drawn)
        told = [o | {"id": 100 + 3 * o["which"]} for o in outcomes]
        timeouts, verdict = watch.add(decision_rows(drawn), outcome_rows(told), now)
        expected, verdicts = plain.add(drawn, told, now)
        found = sorted(zip(*(array.tolist() for array in timeouts), strict=True))
        assert (found, verdict.tolist()) == (expected, verdicts)
        check(watch, plain)
        assert len(watch) <= max(limit, 2 * len(plain.open))


def decided(id_, time=0.0, arm=0, profile=2, n=1, carrier=5):
    predicted = [[0.25, 30.0, 40.0]] * PLACES
    return {
        "id": id_,
        "time": time,
        "arm": arm,
        "profile": profile,
        "n": n,
        "carrier": [carrier] * PLACES,
        "predicted": predicted,
    }


def came(id_, time, place=0, rtt=20.0):
    return {"id": id_, "place": place, "time": time, "ok": rtt is not None, "rtt": rtt}


def test_windows_and_classes_are_those_of_the_profiles(spec):
    rules = ArmRules.of(spec)
    assert (rules.windows.tolist(), rules.classes) == (list(WINDOWS), CLASSES)


def test_an_outcome_after_its_timeout_is_late_and_its_decision_missing_once(spec):
    watch = new(spec)
    first = watch.add(decision_rows([decided(1), decided(2)]), outcome_rows([came(2, 9.0)]), 10.5)
    assert first.timeouts.decision.tolist() == [1]
    assert first.timeouts.time.tolist() == [10.0]
    second = watch.add(decision_rows([]), outcome_rows([came(1, 11.0), came(1, 12.0)]), 12.0)
    assert second.verdict.tolist() == [LATE, AGAIN]
    assert not second.timeouts.decision.size
    (total,) = watch.totals.by_carrier()
    assert total == ("a", 5, 2, 1, 1)
    assert {t.head: t.n for t in watch.totals.by_head()} == {"failure": 2, "latency": 2, "slow": 2}


def test_an_outcome_told_one_call_before_its_decision_counts_and_two_calls_before_does_not(spec):
    watch, none = new(spec), decision_rows([])
    assert watch.add(none, outcome_rows([came(1, 1.0)]), 1.0).verdict.tolist() == [UNWATCHED]
    watch.add(decision_rows([decided(1)]), outcome_rows([came(2, 1.0)]), 1.0)
    watch.add(none, outcome_rows([]), 1.0)
    watch.add(decision_rows([decided(2)]), outcome_rows([]), 1.0)
    assert [t.n for t in watch.totals.by_head() if t.head == "failure"] == [1]


def test_memory_stays_bounded_and_what_was_waited_for_is_counted_as_forgotten(spec):
    watch = new(spec, limit=10)
    for i in range(20):
        watch.add(decision_rows([decided(10 * i + j, n=2) for j in range(3)]), outcome_rows([]), 0.0)
        assert len(watch) <= 10
    assert watch.n_forgotten == 20 * 6 - 10
    watch.add(decision_rows([]), outcome_rows([]), 21.0)
    assert len(watch) == 0


def test_early_outcomes_of_nobody_are_kept_for_one_call_and_no_more_than_a_bound(spec, monkeypatch):
    monkeypatch.setattr(watching, "MOST_EARLY", 4)
    watch = new(spec)
    watch.add(decision_rows([]), outcome_rows([came(i, 1.0) for i in range(10)]), 1.0)
    watch.add(decision_rows([decided(i) for i in range(10)]), outcome_rows([]), 1.0)
    assert [t.n for t in watch.totals.by_head() if t.head == "failure"] == [4]


def test_rows_of_an_arm_that_nobody_told_of_are_refused_and_nothing_changes(spec):
    watch = new(spec)
    with pytest.raises(InputError, match=r"arm: expected one of those told of by know_arm, found \[9\]"):
        watch.add(decision_rows([decided(1), decided(2, arm=9)]), outcome_rows([]), 99.0)
    assert len(watch) == 0
    assert not watch.totals.by_carrier()


def test_versions_beyond_the_last_ones_are_counted_together_and_none_is_lost(spec):
    watch = Watch(spec)
    n = MOST_VERSIONS + 4
    for arm in range(n):
        watch.know_arm(arm, f"v{arm}", spec)
        watch.add(decision_rows([decided(arm, arm=arm)]), outcome_rows([]), 0.0)
    answers = watch.add(decision_rows([]), outcome_rows([came(i, 1.0) for i in range(n)]), 1.0)
    assert (answers.verdict == IN_TIME).all()
    due = {t.version: t.due for t in watch.totals.by_carrier()}
    assert due == {OLDER: 4} | {f"v{arm}": 1 for arm in range(4, n)}


def test_classes_and_carriers_beyond_a_bound_are_counted_together():
    totals = WatchTotals(("failure",))
    assert [totals.workload(str(i)) for i in range(MOST_CLASSES + 2)] == [*range(1, MOST_CLASSES + 1), 0, 0]
    assert totals.workload("0") == 1
    assert totals.workload(OTHER) == 0
    places = totals.carriers(np.arange(MOST_CARRIERS + 2, dtype=np.uint64))
    assert places.tolist() == [*range(1, MOST_CARRIERS + 1), 0, 0]


def test_one_carrier_may_stand_for_all(spec):
    watch = new(spec)
    rows = decision_rows([decided(1), decided(2)])._replace(carrier=np.array(3, np.uint64))
    watch.add(rows, outcome_rows([came(1, 1.0), came(2, 1.0)]), 1.0)
    assert watch.totals.by_carrier() == [("a", 3, 2, 0, 0)]
