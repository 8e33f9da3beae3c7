"""Every argument of every public call, given what it is not: a named error that says so, and nothing changes."""

import datetime as dt
import decimal
import fractions
import inspect
import math

import numpy as np
import pytest

from scheduler import FoglineError, Forest, Model, Scheduler, Spec, load_spec
from scheduler.spec import parse_spec, spec_from_json
from tests import schedulers
from tests.schedulers import IDS, OK, same, state


class NoText:
    """Cannot be shown."""

    def __repr__(self):
        raise ValueError


WRONG = {
    "none": None,
    "true": True,
    "text": "text",
    "no text": "",
    "a text of one letter": "1",
    "zero byte": "\0",
    "half a letter": "\ud800",
    "long text": "x" * 10_000,
    "bytes": b"bytes",
    "minus one": -1,
    "zero": 0,
    "one": 1,
    "65 bits": 2**64,
    "64 bits": 2**63,
    "digits without end": 10**5_000,
    "beyond a float": -(10**400),
    "half": 1.5,
    "nan": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "largest float": 1.7e308,
    "complex": 1j,
    "decimal": decimal.Decimal("sNaN"),
    "fraction": fractions.Fraction(1, 3),
    "date": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "empty list": [],
    "list of none": [None],
    "list of lists": [[1]],
    "ragged lists": [[1], [1, 2]],
    "deep lists": [[[[[1]]]]],
    "list of all": [1, "a", None, 2.5, {}],
    "list of huge": [10**5_000],
    "list of nan": [math.nan],
    "list of true": [True],
    "list of unhashable": [[], {}],
    "tuple": (1, 2),
    "set": {1, 2},
    "range": range(3),
    "mapping": {"x": 1},
    "empty mapping": {},
    "mapping of numbers": {1: 2},
    "mapping of none": {None: None},
    "mapping of lists": {"x": [1, 2]},
    "mapping of huge": {10**5_000: [10**5_000]},
    "object": object(),
    "class": int,
    "function": math.sqrt,
    "module": math,
    "number array": np.array(3),
    "float array": np.array([1.5, math.nan]),
    "integer array": np.array([1, 2]),
    "cube": np.zeros((2, 2, 2)),
    "no rows": np.zeros((0, 3)),
    "text array": np.array(["a"]),
    "byte array": np.array([b"a"]),
    "object array": np.array([object()], object),
    "flag array": np.array([True, False]),
    "small floats": np.zeros(2, np.float16),
    "complex array": np.zeros(2, np.complex128),
    "date array": np.array(["2026-01-01"], "M8[s]"),
    "date scalar": np.datetime64("2026-01-01"),
    "length scalar": np.timedelta64(1, "s"),
    "record array": np.zeros(2, [("a", "i4")]),
    "masked array": np.ma.masked_array([1.0, 2.0], [True, False]),
    "swapped array": np.array([1, 2], ">i8"),
    "every second": np.arange(4)[::2],
    "memory": memoryview(b"abc"),
    "iterator": iter([]),
    "no shown text": NoText(),
    "list of no shown text": [NoText()],
}

QUESTION = {"candidates": IDS, "now": 60.0, "exclude": [1], "block": {"isp": [7]}, "arm": None}

CALLS = {
    "decide": lambda s: (
        s.decide,
        {
            "request": {"client_id": 17},
            "candidates": IDS,
            "now": 60.0,
            "exclude": [1],
            "block": {"isp": [7]},
            "arm": None,
        },
    ),
    "explain": lambda s: (s.explain, {"what": {"client_id": 17}} | QUESTION),
    "explain a decision": lambda s: (s.explain, {"what": open_decision(s)}),
    "why_not": lambda s: (s.why_not, {"what": {"client_id": 17}, "node": 1} | QUESTION),
    "decide_batch": lambda s: (
        s.decide_batch,
        {
            "requests": {"client_id": [17, 18]},
            "candidates": [IDS, IDS],
            "now": 60.0,
            "exclude": [[1], None],
            "block": {"isp": [[7], None]},
            "arm": None,
        },
    ),
    "token": lambda s: (s.token, {"decision": open_decision(s)}),
    "observe": lambda s: (s.observe, {"decision": open_decision(s), "outcome": OK, "now": 60.0, "node": None}),
    "observe_batch": lambda s: (
        s.observe_batch,
        {
            "decisions": [open_decision(s)],
            "outcomes": {"ok": [True], "rtt_ms": [30.0]},
            "now": 60.0,
            "nodes": [None],
            "errors": "raise",
        },
    ),
    "learn": lambda s: (s.learn, {"request": {"client_id": 17}, "node": 1, "outcome": OK, "now": 60.0}),
    "learn_batch": lambda s: (
        s.learn_batch,
        {
            "requests": {"client_id": [17]},
            "nodes": [1],
            "outcomes": {"ok": [True], "rtt_ms": [30.0]},
            "now": 60.0,
        },
    ),
    "score": lambda s: (s.score, {"requests": {"client_id": [17]}, "candidates": [IDS], "now": 60.0}),
    "features": lambda s: (s.features, {"requests": {"client_id": [17]}, "candidates": [IDS], "now": 60.0}),
    "prepare": lambda s: (s.prepare, {"model": "model", "spec": s.model.spec}),
    "prepare with a spec": lambda s: (s.prepare, {"model": s.model, "spec": 3}),
    "swap": lambda s: (s.swap, {"arm": "arm", "spec": None}),
    "swap to a model": lambda s: (s.swap, {"arm": s.model, "spec": 3}),
    "release": lambda s: (s.release, {"arm": "arm"}),
    "set_policy": lambda s: (s.set_policy, {"spec": s.model.spec}),
    "fleet.upsert": lambda s: (
        s.fleet.upsert,
        {"ids": [1, "new"], "columns": {"isp": [7, 8], "load": [0.5, None]}, "alive_until": 90.0, "errors": "raise"},
    ),
    "fleet.update": lambda s: (
        s.fleet.update,
        {"ids": [1, 2], "columns": {"load": [0.5, 0.25]}, "alive_until": 90.0, "errors": "raise"},
    ),
    "fleet.remove": lambda s: (s.fleet.remove, {"ids": [2]}),
    "fleet.heartbeat": lambda s: (s.fleet.heartbeat, {"ids": [1], "alive_until": 90.0, "errors": "raise"}),
    "fleet.quarantine": lambda s: (s.fleet.quarantine, {"ids": [1], "until": 90.0}),
    "fleet.add": lambda s: (s.fleet.add, {"ids": [1], "column": "isp", "values": [7]}),
    "fleet.discard": lambda s: (s.fleet.discard, {"ids": [1], "column": "isp", "values": [7]}),
    "fleet.holds": lambda s: (s.fleet.holds, {"ids": [1], "column": "isp", "values": [7]}),
    "fleet.silent": lambda s: (s.fleet.silent, {"now": 60.0}),
    "fleet.get": lambda s: (s.fleet.get, {"id_": 1}),
    "clients.upsert": lambda s: (
        s.clients.upsert,
        {"ids": [17, "new"], "columns": {"isp": [7, 8], "taste": [[1, 2, 3], None]}, "errors": "raise"},
    ),
    "clients.remove": lambda s: (s.clients.remove, {"ids": ["tv"]}),
    "model.predict": lambda s: (s.model.predict, {"X": np.zeros((2, len(s.model.features.names)))}),
    "model.predict_error": lambda s: (s.model.predict_error, {"X": np.zeros((2, len(s.model.features.names)))}),
    "forest.node_rows": lambda s: (s.model.forest.node_rows, {"X_node": np.zeros((2, len(s.model.forest.node)))}),
    "forest.request_row": lambda s: (s.model.forest.request_row, {"x_request": np.zeros(len(s.model.forest.request))}),
    "forest.leaves": lambda s: (s.model.forest.leaves, {"X": np.zeros((2, s.model.forest.n_features))}),
    "forest.predict": lambda s: (s.model.forest.predict, {"X": np.zeros((2, s.model.forest.n_features))}),
    "forest.variance": lambda s: (s.model.forest.variance, {"X": np.zeros((2, s.model.forest.n_features))}),
    "forest.score": lambda s: (
        s.model.forest.score,
        {
            "request_row": np.zeros(s.model.forest.words, np.uint64),
            "rows": s.model.forest.empty_rows(2),
            "indices": np.array([0, 1]),
            "X_pair": np.zeros((2, len(s.model.forest.pair))),
        },
    ),
    "Forest.build": lambda _: (Forest.build, {"heads": [], "request": [0], "node": [1], "pair": [2]}),
    "Model.load": lambda _: (Model.load, {"source": "/nowhere", "registry": None, "cache": None}),
    "Model.load from a registry": lambda _: (
        Model.load,
        {"source": "models:/a/1", "registry": "sqlite:////nowhere/mlflow.db", "cache": "/nowhere"},
    ),
    "load_spec": lambda _: (load_spec, {"path": "/nowhere.toml"}),
    "parse_spec": lambda _: (parse_spec, {"text": "name = 3"}),
    "spec_from_json": lambda _: (spec_from_json, {"data": b"{}"}),
}

SETTINGS = {"seed", "remember", "first_id", "history_capacity", "max_nodes", "forget_after", "token_key", "secret"}


def open_decision(sched) -> int:
    return sched.decide({"client_id": 17}, IDS, now=50.0).id


def cases():
    """Yield the name of a call, of an argument of it, and of what it is given."""
    for call, make in CALLS.items():
        for argument in make(_Named())[1]:
            yield call, argument


class _Named:
    """Stands for a scheduler while the arguments of calls are listed."""

    def __getattr__(self, name):
        return _Named()

    def __call__(self, *_, **__):
        return _Named()

    def __len__(self):
        return 1

    def __index__(self):
        return 1


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from tests import models  # noqa: PLC0415 - LightGBM is slow to import

    return schedulers.new(models.load_small(tmp_path_factory))


@pytest.mark.slow
@pytest.mark.parametrize(("call", "argument"), list(cases()))
def test_a_wrong_argument_is_refused_by_name_and_changes_nothing(shared, call, argument):
    function, arguments = CALLS[call](shared)
    failed, before = [], state(shared)
    for name, wrong in WRONG.items():
        refused = False
        try:
            function(**(arguments | {argument: wrong}))
        except FoglineError as error:
            assert str(error)  # noqa: PT017 - some of what is wrong elsewhere is right here
            assert len(str(error)) < 20_000  # noqa: PT017
            refused = True
        except Exception as error:  # noqa: BLE001 - what is looked for
            failed.append(f"{name}: {type(error).__name__}: {str(error)[:100]}")
        after = state(shared)
        if refused and not same(before, after):
            failed.append(f"{name}: refused, and something changed")
        before = after
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("setting", sorted(SETTINGS))
def test_a_wrong_setting_is_refused_by_name(shared, setting):
    failed = []
    for name, wrong in WRONG.items():
        try:
            Scheduler(shared.model, **{setting: wrong})
        except FoglineError as error:
            assert setting in str(error)  # noqa: PT017
        except Exception as error:  # noqa: BLE001
            failed.append(f"{name}: {type(error).__name__}: {str(error)[:100]}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("name", list(WRONG))
def test_what_is_no_model_or_no_spec_makes_no_scheduler(shared, name):
    with pytest.raises(FoglineError, match="model: expected a Model"):
        Scheduler(WRONG[name])
    if WRONG[name] is not None:
        with pytest.raises(FoglineError, match="spec: expected a Spec"):
            Scheduler(shared.model, WRONG[name])


BESIDE = {
    "save": lambda s: (s.save, {"folder": "saved", "keep": 1}),
    "autosave": lambda s: (s.autosave, {"folder": "saved", "every": 60.0, "keep": 1}),
    "restore": lambda s: (Scheduler.restore, {"folder": "saved", "model": s.model, "spec": None, "now": None}),
    "adapt": lambda s: (s.adapt, {"model": s.model, "spec": None}),
    "follow": lambda s: (
        s.follow,
        {"uri": "models:/m@a", "every": 60.0, "registry": "sqlite:///none.db", "cache": "cache", "spec": None},
    ),
    "record": lambda s: (
        s.record,
        {"folder": "records", "full": 0.5, "every": 60.0, "key": None, "ring": 8}
        | {"segment_bytes": 1 << 20, "segment_seconds": 60.0, "most_bytes": 1 << 30, "retention": 60.0},
    ),
}
"""Calls that write files or begin threads."""


@pytest.mark.slow
@pytest.mark.parametrize("call", BESIDE)
def test_a_wrong_argument_of_a_call_beside_decisions_is_refused_by_name(shared, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared.save("saved")
    function, arguments = BESIDE[call](shared)
    failed = []
    for argument in arguments:
        for name, wrong in WRONG.items():
            try:
                function(**(arguments | {argument: wrong}))
            except FoglineError as error:
                assert str(error)  # noqa: PT017
            except Exception as error:  # noqa: BLE001
                failed.append(f"{argument}, {name}: {type(error).__name__}: {str(error)[:100]}")
            shared.close()
    assert not failed, "\n".join(failed)


def test_every_public_call_with_arguments_is_in_the_table():
    def called(owner: object, prefix: str) -> set[str]:
        found = {name: getattr(owner, name) for name in dir(owner) if not name.startswith("_")}
        return {prefix + name for name, value in found.items() if inspect.isfunction(value) or inspect.ismethod(value)}

    without_arguments = {"warm_up", "counters", "refresh", "status", "close"}
    assert called(Scheduler, "") - without_arguments <= set(CALLS) | set(BESIDE)
    assert isinstance(load_spec, type(parse_spec))
    assert Spec is not None
