"""Policies compared on the same requests: each learns only from what became of its own picks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scheduler.errors import InputError
from scheduler.model import Model
from scheduler.registry import fetch
from scheduler.spec import COST, FAILED, Head, Spec, Value
from training.baselines import Learned, Policy, Question, Seen, Setting, all_policies
from training.baselines.policy import least
from training.comparison import LEARNED, ORACLE, RANDOM, Comparison, Picks, Series, model_card, scores
from training.ingest import Categories, Columns, Telemetry, data_id, read_telemetry
from training.progress import Report, silent
from training.rounds import Round, measured_rounds

__all__ = ["Comparison", "evaluate", "run_evaluation"]


def run_evaluation(  # noqa: PLR0913 - what a command line may say
    data: str | Path,
    spec: Spec,
    model_source: str | Path,
    *,
    start: int | None = None,
    candidates: int = 20,
    requests: int | None = None,
    seed: int = 0,
    registry: str | None = None,
    policies: Callable[[Setting], Mapping[str, Policy]] | None = None,
    progress: Report = silent,
) -> Comparison:
    """Replay measured data from a slice on, with every policy warmed on what came before.

    Parameters
    ----------
    data
        A telemetry directory.
    spec
        What the data's columns mean; the model must have been trained for the same.
    model_source, registry
        As for `scheduler.Model.load`.
    start
        First slice to decide; by default the spec's.
    candidates, requests, seed
        As for `training.rounds.measured_rounds`; ``requests`` by default the spec's.
    policies
        Makes further policies, which replace those of the same name.
    progress
        Called as it goes.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If no start is known, there is no slice before or from it on, or model and spec differ in what a
        feature row means, or the model was trained on slices it should decide.
    DataError, ArtifactError, RegistryError
        If the data or the model cannot be read.
    """
    folder = artifact_folder(model_source, registry)
    model = Model.load(folder)
    first = spec.evaluation.start if start is None else start
    if first is None:
        raise InputError(f"start: expected a slice, as the spec {spec.name} names none, found none")
    _check_model(model, spec, first)
    requests = spec.evaluation.requests if requests is None else requests
    telemetry = read_telemetry(data, spec, progress=lambda done, of: progress("read", done, of))
    before, n_slices = split_telemetry(telemetry, first)
    setting = Setting(spec, telemetry.clients, telemetry.nodes, seed)
    everyone = {**all_policies(setting, model), **(policies(setting) if policies else {})}
    rounds = measured_rounds(telemetry, spec, start=first, requests=requests, candidates=candidates, seed=seed)
    comparison = evaluate(rounds, everyone, spec, before, n_rounds=n_slices * requests, progress=progress)
    return dataclasses.replace(
        comparison,
        data=f"{Path(data).resolve().name}@{data_id(data)[:12]}",
        model=f"{model.name}-{model.version}",
        card=model_card(model, folder),
    )


def _check_model(model: Model, spec: Spec, start: int) -> None:
    if model.spec.fingerprint() != spec.fingerprint():
        raise InputError(
            f"model {model.name}-{model.version}: expected one for spec {spec.name} of fingerprint "
            f"{spec.fingerprint()}, found {model.spec.fingerprint()}"
        )
    last = model.manifest.window.get("last_slice")
    if isinstance(last, int) and last >= start:
        raise InputError(f"start: expected a slice after {last}, the last that the model was trained on, found {start}")


def artifact_folder(source: str | Path, registry: str | None) -> Path:
    """Return where a model's artifact lies, after fetching it where it is a registry's."""
    return fetch(str(source), registry).folder if str(source).startswith("models:") else Path(source)


def split_telemetry(telemetry: Telemetry, start: int) -> tuple[Telemetry, int]:
    """Return the telemetry before a slice, and how many slices come from it on."""
    before = telemetry.slice < start
    if before.all() or not before.any():
        low, high = telemetry.slice.min(), telemetry.slice.max()
        raise InputError(f"start: expected a slice after the first ({low}) up to the last ({high}), found {start}")
    return _rows(telemetry, before), len(np.unique(telemetry.slice[~before]))


def _rows(telemetry: Telemetry, keep: NDArray[np.bool_]) -> Telemetry:
    """Return the rows to keep; without copying where they are the first ones, as they mostly are."""
    n = int(keep.sum())
    rows: slice | NDArray[np.bool_] = slice(n) if keep[:n].all() else keep
    columns = ("time", "arrival", "slice", "client", "node", "ok")
    return dataclasses.replace(
        telemetry,
        **{name: getattr(telemetry, name)[rows] for name in columns},
        outcomes={name: values[rows] for name, values in telemetry.outcomes.items()},
        request={name: _column(c, rows) for name, c in telemetry.request.items()},
        node_state={name: _column(c, rows) for name, c in telemetry.node_state.items()},
    )


def _column(
    column: NDArray[np.float64] | Categories, rows: slice | NDArray[np.bool_]
) -> NDArray[np.float64] | Categories:
    return Categories(column.codes[rows], column.values) if isinstance(column, Categories) else column[rows]


def evaluate(  # noqa: PLR0913 - the last three have defaults that rarely change
    rounds: Iterable[Round],
    policies: Mapping[str, Policy],
    spec: Spec,
    telemetry: Telemetry,
    *,
    n_rounds: int = 0,
    progress: Report = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Ask every policy the same requests.

    What was picked is learned before the first round that begins after the outcome has arrived, in order of
    arrival. Telemetry whose outcome arrives only after the first round began is left out, for all alike.

    Parameters
    ----------
    rounds
        In order of time.
    policies
        By name, one of them ``random``; ``oracle`` is added.
    spec
        Gives the length of a slice.
    telemetry
        From before the rounds; warms every policy.
    n_rounds
        How many rounds there will be, for ``progress``.
    progress
        Called as it goes.
    clock
        Seconds.

    Returns
    -------
    Comparison
        With empty ``data`` and ``model``.

    Raises
    ------
    InputError
        If ``random`` is missing, ``oracle`` is given, there is no round, or a policy picks what is no
        candidate.
    """
    if RANDOM not in policies or ORACLE in policies:
        found = ", ".join(policies) or "none"
        raise InputError(f"policies: expected {RANDOM} and no {ORACLE}, found {found}")
    first, following = _first(rounds)
    known = telemetry.arrival < first.time
    telemetry = telemetry if known.all() else _rows(telemetry, known)
    for done, policy in enumerate(policies.values()):
        progress("warm up", done, len(policies))
        policy.warm(telemetry)
    progress("warm up", len(policies), len(policies))
    seats = {name: _Seat(name, policy, clock) for name, policy in policies.items()}
    log = _Log(spec)
    for done, one in enumerate(chain([first], following)):
        question = log.ask(one)
        for seat in seats.values():
            seat.play(one, question)
        log.keep(ORACLE, one, least(one.cost, one.candidates))
        for name, seat in seats.items():
            log.keep(name, one, seat.picked)
        progress("evaluate", done + 1, max(n_rounds, done + 1))
    comparison = log.comparison(telemetry, {name: seat.seconds for name, seat in seats.items()})
    learned = policies.get(LEARNED)
    return (
        comparison
        if not isinstance(learned, Learned)
        else dataclasses.replace(comparison, predicted=learned.expected())
    )


def _first(rounds: Iterable[Round]) -> tuple[Round, Iterator[Round]]:
    following = iter(rounds)
    for one in following:
        return one, following
    raise InputError("rounds: expected at least one, found none")


class _Seat:
    """A policy at the table, with the outcomes of its picks that have not arrived yet."""

    def __init__(self, name: str, policy: Policy, clock: Callable[[], float]) -> None:
        self._name, self._policy, self._clock = name, policy, clock
        self._pending: list[Seen] = []
        self.picked: NDArray[np.integer] = np.empty(0, np.int64)
        self.seconds = 0.0

    def play(self, one: Round, question: Question) -> None:
        """Let the policy learn what has arrived, then pick."""
        arrived = self._arrived(one.time) if self._pending else None
        begin = self._clock()
        if arrived is not None and len(arrived):
            self._policy.learn(arrived)
        self.picked = np.asarray(self._policy.pick(question))
        self.seconds += self._clock() - begin
        self._check(question.candidates)
        self._pending.append(_shown(one, question, self.picked))

    def _arrived(self, now: float) -> Seen:
        """Take what arrived before a time out of what is pending, in order of arrival."""
        ready, rest = [], []
        for part in self._pending:
            early = part.arrival < now
            ready.append(part.take(np.flatnonzero(early)))
            if not early.all():
                rest.append(part.take(np.flatnonzero(~early)))
        self._pending = rest
        return _joined(ready)

    def _check(self, candidates: NDArray[np.int32]) -> None:
        picked, n = self.picked, len(candidates)
        if picked.shape != (n,) or picked.dtype.kind not in "iu":
            raise InputError(f"{self._name}: expected ({n},) columns, found {picked.dtype} of {picked.shape}")
        inside = (picked >= 0) & (picked < candidates.shape[1])
        inside[inside] = candidates[inside, picked[inside]] >= 0
        if not inside.all():
            raise InputError(f"{self._name}: expected columns of candidates, found {picked[~inside][0]}")


def _shown(one: Round, question: Question, picked: NDArray[np.integer]) -> Seen:
    """Return the outcomes of the picked columns, and nothing of the others."""
    at = np.arange(len(picked)), picked
    return Seen(
        number=question.number,
        client=one.client,
        node=one.candidates[at],
        ok=one.ok[at],
        cost=one.cost[at],
        outcomes={name: values[at] for name, values in one.outcomes.items()},
        time=np.full(len(picked), one.time),
        arrival=one.arrival[at],
    )


def _joined(parts: list[Seen]) -> Seen:
    """Return outcomes in order of arrival, those that arrive together in the order they were asked."""
    outcomes = {name: np.concatenate([part.outcomes[name] for part in parts]) for name in parts[0].outcomes}
    names = [name for name in Seen._fields if name != "outcomes"]
    fields = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Seen(outcomes=outcomes, **fields).take(np.argsort(fields["arrival"], kind="stable"))


class _Log:
    """Everything that was asked, picked and got."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._time: list[float] = []
        self._client: list[NDArray[np.int32]] = []
        self._request: list[Columns] = []
        self._picks: dict[str, list[Picks]] = {}
        self._observed: dict[str, list[NDArray[np.float32]]] = {name: [] for name in spec.heads}
        self._n = 0

    def ask(self, one: Round) -> Question:
        """Return a round without its outcomes."""
        n = len(one.client)
        number = np.arange(self._n, self._n + n)
        self._n += n
        self._time.append(one.time)
        self._client.append(one.client)
        self._request.append(one.request)
        return Question(one.time, number, one.client, one.candidates, one.request, one.node_state)

    def keep(self, name: str, one: Round, picked: NDArray[np.integer]) -> None:
        """Note what a policy picked."""
        at = np.arange(len(picked)), picked
        self._picks.setdefault(name, []).append(Picks(one.candidates[at], one.ok[at], one.cost[at]))
        if name == LEARNED:
            for head, values in self._observed.items():
                values.append(_observed(self._spec.heads[head], one, at))

    def comparison(self, telemetry: Telemetry, seconds: Mapping[str, float]) -> Comparison:
        """Return the figures; the oracle comes last."""
        spec, names = self._spec, [*seconds, ORACLE]
        picks = {name: Picks(*map(np.concatenate, zip(*self._picks[name], strict=True))) for name in names}
        slices = np.floor(np.array(self._time) / spec.telemetry.slice.seconds)
        of_request = np.repeat(slices, [len(client) for client in self._client])
        starts, at = np.unique(of_request, return_inverse=True)
        return Comparison(
            data="",
            spec=spec.name,
            model="",
            n=self._n,
            policies=scores(picks, seconds),
            picks=picks,
            client=np.concatenate(self._client),
            request=_concatenated(self._request),
            series=Series(
                start=starts * spec.telemetry.slice.seconds,
                n_requests=np.bincount(at),
                cost={name: np.bincount(at, p.cost).astype(np.float64) for name, p in picks.items()},
            ),
            unit=spec.outcomes[spec.cost.success].unit if spec.cost.success in spec.outcomes else "",
            predicted={},
            observed={h: np.concatenate(values) for h, values in self._observed.items() if values},
            clients=telemetry.clients,
            nodes=telemetry.nodes,
        )


def _concatenated(parts: list[Columns]) -> Columns:
    return {name: _joined_column([part[name] for part in parts]) for name in parts[0]}


def _joined_column(parts: list[NDArray[np.float64] | Categories]) -> NDArray[np.float64] | Categories:
    codes = [part.codes for part in parts if isinstance(part, Categories)]
    if isinstance(parts[0], Categories):  # of one table's column: the codes mean the same in all parts
        return Categories(np.concatenate(codes), parts[0].values)
    return np.concatenate([part for part in parts if not isinstance(part, Categories)])


def _observed(head: Head, one: Round, at: tuple[NDArray[np.int64], NDArray[np.integer]]) -> NDArray[np.float32]:
    """Return what came of picks, in the unit of the head's value; NaN where the head does not speak of it."""
    target, ok = Value.parse(head.target), one.ok[at]
    if target.outcome == FAILED:
        return (~ok).astype(np.float32)
    values = one.cost[at] if target.outcome == COST else one.outcomes[target.outcome][at]
    if target.log1p and head.link == "identity":
        values = np.log1p(values)
    return np.where(ok, values, np.float32(np.nan)) if head.given_ok else values
