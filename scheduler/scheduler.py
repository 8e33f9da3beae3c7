"""The scheduler: state in, decision out."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import ColumnArrays
from scheduler.columns.id_table import IdTable
from scheduler.columns.ids import Id, Ids, plain_list
from scheduler.decisions.arrays import N_EXPIRED, N_EXPLORED, N_FORGOTTEN, N_OUTCOMES, NEXT_ID, DecisionArrays
from scheduler.decisions.decision import Decision, DecisionBuffer, Decisions
from scheduler.decisions.decision_log import DecisionRing
from scheduler.engine.arrays import State, Workspace
from scheduler.engine.kernels import decide, node_rows, observe
from scheduler.engine.request import (
    RequestBuffer,
    candidate_slots,
    check_time,
    check_times,
    column_of_one,
    read_blocklist,
    request_rows,
)
from scheduler.engine.workspace import CallBuffers, new_outputs, new_workspace
from scheduler.errors import ClockError, InputError
from scheduler.features.kernels.operations import fill_candidates
from scheduler.features.program import kept_columns
from scheduler.fleet.arrays import FleetArrays
from scheduler.fleet.fleet import Fleet, Hooks
from scheduler.history.arrays import HistoryArrays
from scheduler.history.outcomes import OutcomeBuffer, outcome_rows, tracked, values_at
from scheduler.history.store import new_history
from scheduler.model.model import Model
from scheduler.policy.compile import check_swap, compile_policy, with_policy
from scheduler.retrieval.arrays import NO_BLOCKLIST, IndexArrays
from scheduler.retrieval.index import Index
from scheduler.runtime.packed_arrays import PackedArrays
from scheduler.runtime.read_write_lock import ReadWriteLock
from scheduler.spec import Spec

MAX_SKEW = 5.0
"""Seconds by which a call's time may lie behind the latest one: threads and machines disagree so far."""

LAST_ID = 2**63 - 1
"""Ids of decisions are integers of 64 bits."""

REMEMBERED = 65_536
"""Decisions whose outcome is still awaited, at 1,000 a second about a minute of them."""

WARM_NODES = 2_048
"""Nodes of a warm-up: so many that every table and index has to grow."""

WARM_CALLS = 32
"""Calls of a kind in a warm-up: Python adapts its own instructions to what they meet over the first dozen."""

DRY_RUNS = 256
"""Decisions of a warm-up by all that is known: the processor learns over some hundred which way branches go."""


class _Thread(threading.local):
    """What a thread decides in; each thread that asks finds its own.

    Attributes
    ----------
    workspace
        Its workspace.
    request, decision, report
        Room for one request, one decision and one outcome, in that workspace.
    """

    def __init__(self, model: Model, index: Index) -> None:
        policy = model.spec.policy
        self._model = model
        self.question = RequestBuffer(model.features.request)
        self.answer = DecisionBuffer(policy.max_nodes, policy.alternatives, model.heads)
        self.report = OutcomeBuffer(model.spec)
        kept = CallBuffers(
            retrieval=index.new_work(),
            question=self.question.arrays,
            found=np.empty((1, index.arrays.limit), np.int32),
            out=self.answer.arrays,
            report=self.report.arrays,
        )
        self._kept = kept
        self.workspace = PackedArrays(new_workspace(model, index.arrays.limit, kept))

    def workspace_for(self, n: int) -> PackedArrays[Workspace]:
        """Return the workspace, which grows to the largest number of candidates asked for."""
        if n > len(self.workspace.content.candidates.slot):
            self.workspace = PackedArrays(new_workspace(self._model, n, self._kept))
        return self.workspace


class Scheduler:
    """Decides which nodes serve a request, and learns from what came of it.

    All times are seconds and passed in; nothing here reads a clock. Calls may come from several threads:
    those that decide or score run side by side, those that change anything run alone.

    Parameters
    ----------
    model
        What predicts; see `Model.load`.
    spec
        Gives utility, policy, candidates, sets of categories and ledger in place of the model's own spec, so that they
        may change without training; of the same fingerprint.
    seed
        Fixes every random draw, 0 to 2**63 - 1.
    remember
        How many decisions wait for their outcome before the oldest is forgotten.

    Attributes
    ----------
    fleet
        The nodes: ``upsert``, ``update``, ``remove``, ``heartbeat``, ``quarantine``, ``add``, ``discard``; see `Fleet`.
    clients
        What is known of clients, so that a request needs only its client's id: ``upsert``, ``remove``.

    Examples
    --------
    >>> sched = Scheduler(Model.load(folder), seed=0)  # doctest: +SKIP
    >>> sched.fleet.upsert([1, 2], {"isp": ["a", "b"]})  # doctest: +SKIP
    >>> d = sched.decide({"client_id": 17}, candidates=[1, 2], now=0.0)  # doctest: +SKIP
    >>> sched.observe(d.id, {"ok": True, "rtt_ms": 31.0}, now=0.1)  # doctest: +SKIP
    """

    def __init__(self, model: Model, spec: Spec | None = None, *, seed: int = 0, remember: int = REMEMBERED) -> None:
        for name, value, low in (("seed", seed, 0), ("remember", remember, 1)):
            if not isinstance(value, int | np.integer) or not low <= value < 2**63:
                message = f"{name}: expected an integer of {low} or more, found {value!r}"
                raise InputError(message)
        self.model = model = model if spec is None else with_policy(model, spec)
        spec, features = model.spec, model.features
        self._lock = ReadWriteLock()
        self._seed = int(seed)
        self._latest = np.full(1, -np.inf)
        self._index = Index(spec.candidates, features.request, features.node)
        self._history = new_history(spec)
        self._log = DecisionRing(int(remember), spec.policy.max_nodes, spec.policy.alternatives, features)
        self._policy = compile_policy(model)
        self._tracked = tracked(spec, spec.history.values)
        self._thread = _Thread(model, self._index)
        self._packed: PackedArrays[State] | None = None
        self.clients = IdTable(features.request, "client ids", self._lock)
        self.fleet = Fleet(
            features.node,
            model.forest,
            spec.ledger.capacity if spec.ledger else None,
            lock=self._lock,
            hooks=Hooks(changed=self._nodes_changed, removed=self._nodes_removed, reads=kept_columns(spec)),
            sets=self._index,
        )

    def decide(
        self,
        request: Mapping[str, Any],
        candidates: Ids | None = None,
        *,
        now: float,
        exclude: Ids | None = None,
        block: Mapping[str, Ids] | None = None,
    ) -> Decision:
        """Choose the nodes for one request.

        Parameters
        ----------
        request
            The client's id under the spec's client column, and any of the request's columns; those left out
            are taken from `clients`, or missing.
        candidates
            Distinct node ids; by default the spec's tiers find them.
        now
            Seconds.
        exclude
            Ids of nodes that must not serve, such as one that has just refused; unknown ones are no error.
        block
            By category column of nodes the values that must not serve, such as carriers; of a set column one of them
            in a node's set is enough.

        Returns
        -------
        Decision

        Raises
        ------
        InputError
            If the request, a candidate or the time is wrong (`UnknownNodeError`, `ClockError`). Nothing
            changed.
        """
        rows = None if candidates is None else [plain_list(candidates, "candidates")]
        one = None if exclude is None else [exclude]
        blocklist = self._barred(one, None if block is None else column_of_one(block, "block"), 1)
        return self._lock.reading(self._decide, request, rows, blocklist, check_time(now))

    def decide_batch(
        self,
        requests: Mapping[str, Any],
        candidates: Sequence[Sequence[Id]] | NDArray[Any] | None = None,
        *,
        now: float,
        exclude: Sequence[Ids | None] | None = None,
        block: Mapping[str, Sequence[Ids | None]] | None = None,
    ) -> Decisions:
        """Choose the nodes for many requests, in order, each seeing the reservations of those before it.

        Ids go up, with gaps where other threads decide meanwhile.

        Parameters
        ----------
        requests
            Columns as for `decide`, each (n,).
        candidates
            (n, n_candidates) node ids; None pads a row of an object array.
        now
            Seconds, one time for all.
        exclude, block
            As for `decide`, each with n rows of any length, None for an empty one.

        Returns
        -------
        Decisions

        Raises
        ------
        InputError
            As `decide`.
        """
        out, nodes = self._lock.reading(self._decide_batch, requests, candidates, exclude, block, check_time(now))
        longest = self.model.spec.policy.max_nodes
        return Decisions(
            id=out.id,
            nodes=nodes[:, :longest],
            position=out.position[:, :longest],
            values=out.values[:, :longest],
            utility=out.utility[:, :longest],
            alternatives=nodes[:, longest:],
            alternative_values=out.values[:, longest:],
            alternative_utility=out.utility[:, longest:],
            propensity=out.propensity,
            reason=out.reason,
            dropped=out.dropped,
            heads=self.model.heads,
            model_version=self.model.version,
        )

    def observe(self, decision: int, outcome: Mapping[str, Any], *, now: float, node: Id | None = None) -> None:
        """Report what came of a decision; history learns from it and its uplink is free again.

        Parameters
        ----------
        decision
            The decision's id.
        outcome
            ``ok`` and the outcomes measured.
        now
            When the outcome arrived, in seconds.
        node
            Which node of the slate, needed only where it has several; or the alternative that served.

        Raises
        ------
        UnknownDecisionError
            If the decision was never made, was forgotten, went to the origin, or has no such node.
        DuplicateOutcomeError
            If this node's outcome is known already.
        InputError
            If the outcome is not what the spec says. Nothing changed.

        Notes
        -----
        A node removed since the decision still teaches: history goes by id, and an id that comes back finds
        its past. Its reservation went with it.
        """
        arrival = check_time(now)
        if not self._observe_plain(decision, outcome, arrival, node):
            one = column_of_one(outcome, "outcome")
            self.observe_batch([decision], one, now=arrival, nodes=None if node is None else [node])

    def observe_batch(
        self,
        decisions: Sequence[int] | NDArray[np.int64],
        outcomes: Mapping[str, Any],
        *,
        now: float | NDArray[np.float64],
        nodes: Sequence[Id] | None = None,
    ) -> None:
        """Report many outcomes, in order of arrival; see `observe`.

        Parameters
        ----------
        decisions
            (n,) ids, none twice with the same node.
        outcomes
            ``ok`` and outcomes by name, each (n,), NaN where not measured.
        now
            When they arrived, one time or (n,).
        nodes
            (n,) which node of each slate; needed only where slates have several.
        """
        ids = decisions if isinstance(decisions, np.ndarray) else plain_list(decisions, "decisions")
        n = ids.size if isinstance(ids, np.ndarray) else len(ids)
        times = check_times(now, n)
        values = values_at(self._tracked, outcome_rows(self.model.spec, n, outcomes))
        with self._lock:
            rows, places = self._log.find(ids, nodes)
            self._check_clock(times.min(initial=np.inf))
            if observe.observe(self._state(), rows, places, values, times, self._thread.workspace):
                self._refresh_returned(rows, places)

    def score(
        self,
        requests: Mapping[str, Any],
        candidates: Sequence[Sequence[Id]] | NDArray[Any],
        *,
        now: float,
    ) -> dict[str, NDArray[np.float64]]:
        """Return each head's expected value of each candidate, without deciding anything.

        Parameters
        ----------
        requests, candidates
            As for `decide_batch`.

        Returns
        -------
        dict of (n, n_candidates) float64, NaN where a row is padded.
        """
        out = self._lock.reading(self._score, requests, candidates, check_time(now))
        return {name: out[:, :, h] for h, name in enumerate(self.model.heads)}

    def features(
        self,
        requests: Mapping[str, Any],
        candidates: Sequence[Sequence[Id]] | NDArray[Any],
        *,
        now: float,
    ) -> NDArray[np.float32]:
        """Return what the model would see of each candidate, without deciding anything.

        Parameters
        ----------
        requests, candidates
            As for `decide_batch`.

        Returns
        -------
        (n, n_candidates, n_features) float32, columns as in ``model.features.names``, NaN where a row is padded.
        """
        return self._lock.reading(self._features, requests, candidates, check_time(now))

    def set_policy(self, spec: Spec) -> None:
        """Decide by another spec's utility, exploration and spread limits from the next request on.

        Fleet, history, reservations and open decisions stay as they are, and nothing is compiled.

        Parameters
        ----------
        spec
            Of the same fingerprint, candidates, sets of categories and ledger, and as many nodes in a slate and
            alternatives.

        Raises
        ------
        InputError
            If it is another kind of spec: make a new `Scheduler` of that. Nothing changed.
        """
        with self._lock:
            model = with_policy(self.model, spec)
            check_swap(self.model.spec, model.spec)
            self._policy = compile_policy(model)
            self.model, self._packed = model, None
            self._thread = _Thread(model, self._index)

    def warm_up(self) -> None:
        """Compile or load all machine code for this model, so that the first decision is as fast as the thousandth.

        A throw-away scheduler of the same model makes every kind of call; nothing of this one changes. What it knows of
        its nodes is read once, so that it is in the processor's caches as far as they reach, and some of its clients
        are decided for, to no effect.
        """
        client, other = self.model.spec.telemetry.client, Scheduler(self.model, remember=8)
        ids = list(range(WARM_NODES))
        other.fleet.upsert(ids, dict.fromkeys(other.fleet.table.schema.key_columns, ids))
        other.clients.upsert([0], {})
        for candidates in [None] * WARM_CALLS + [ids[:2]]:
            decision = other.decide({client: 0}, candidates, now=0.0)
            other.observe(decision.id, {"ok": False}, now=0.0, node=decision.nodes[0])
        several = other.decide_batch({client: [0]}, now=0.0)
        other.observe_batch(several.id, {"ok": [False]}, now=0.0, nodes=several.nodes[:, 0].tolist())
        other.score({client: [0]}, [ids[:2]], now=0.0)
        other.refresh()
        other.fleet.remove(ids)
        self._lock.reading(self._read_nodes, client)
        with self._lock:
            self._log.touch()
            self._dry_run(client)

    def counters(self) -> dict[str, int]:
        """Return how much was decided, explored, observed, expired, forgotten and held."""
        counters = self._log.arrays.counters
        return {
            "decisions": int(counters[NEXT_ID]),
            "explored": int(counters[N_EXPLORED]),
            "outcomes": int(counters[N_OUTCOMES]),
            "expired": int(counters[N_EXPIRED]),
            "forgotten": int(counters[N_FORGOTTEN]),
            "history_entries": int(self._history.counters[0]),
            "history_evicted": int(self._history.counters[1]),
            "nodes": len(self.fleet),
        }

    def refresh(self) -> None:
        """Recompute every node's forest row, after history was filled from outside."""
        with self._lock:
            node_rows.refresh_nodes(self._state(), self.fleet.slots(), self._thread.workspace)

    @property
    def history(self) -> HistoryArrays:
        """The running statistics.

        `training.features.replay.replay` fills them from telemetry; call `refresh` afterwards.
        """
        return self._history

    def _decide(
        self, request: Mapping[str, Any], rows: Sequence[Sequence[Id]] | None, blocklist: NDArray[np.uint64], now: float
    ) -> Decision:
        self._check_clock(now)
        thread, model = self._thread, self.model
        workspace, name = thread.workspace, model.spec.telemetry.client
        work = workspace.content
        client = thread.question.write(request, name, self.clients)
        if client < 0:
            work.request.values[:], work.request.keys[:] = request_rows(
                column_of_one(request, "request"), name, self.clients
            )
        if rows is None:
            slots = work.found
            decide.decide_one(self._state(), client, blocklist, now, workspace)
        else:
            decide.take_request(self._state(), client, workspace)
            slots = self._run(work.request, rows, blocklist, now, work.out)
        return thread.answer.read(slots, self.fleet.table.id_at, model.version)

    def _observe_plain(self, decision: object, outcome: object, now: float, node: object) -> bool:
        """Report an outcome in plain numbers; False, and nothing has changed, where it is not plain or wrong."""
        thread = self._thread
        if type(decision) is not int or not 0 <= decision <= LAST_ID or not thread.report.write(outcome, node):
            return False
        with self._lock:
            if now < self._latest.item() - MAX_SKEW:
                return False
            lost = observe.observe_one(self._state(), decision, now, thread.workspace)
            if lost > 0:
                report = thread.report.arrays
                self._refresh_returned(report.row, report.place)
        return lost >= 0

    def _decide_batch(
        self, requests: Mapping[str, Any], candidates: object, exclude: object, block: object, now: float
    ) -> tuple[DecisionArrays, NDArray[Any]]:
        self._check_clock(now)
        entity = request_rows(requests, self.model.spec.telemetry.client, self.clients)
        out = new_outputs(self.model, len(entity.keys))
        blocklist = self._barred(exclude, block, len(entity.keys))
        slots = self._run(entity, candidates, blocklist, now, out)
        nodes = np.full(out.position.shape, None)
        request, place = np.nonzero(out.position >= 0)
        nodes[request, place] = self.fleet.table.ids_at(slots[request, out.position[request, place]])
        return out, nodes

    def _read_nodes(self, client: str) -> None:
        """Score every node for a made-up client, and forget it."""
        entity = request_rows({client: [0]}, client, self.clients)
        slots, limit = self.fleet.slots(), self._index.arrays.limit
        out = np.empty((1, limit, len(self.model.heads)))
        for first in range(0, slots.size, limit):
            decide.score_all(
                self._state(), entity, slots[None, first : first + limit], 0.0, self._thread.workspace, out
            )

    def _dry_run(self, client: str) -> None:
        """Decide for some clients by all that is known, into a log that is thrown away, and reserve nothing."""
        ids, policy = list(islice(self.clients, DRY_RUNS)) or [0], self.model.spec.policy
        log = DecisionRing(DRY_RUNS, policy.max_nodes, policy.alternatives, self.model.features)
        now = self._latest.item() if np.isfinite(self._latest) else 0.0
        kept = self._state()
        state = kept.content
        self._packed = PackedArrays(
            state._replace(log=log.arrays, latest=np.full(1, now), policy=state.policy._replace(demand=-1))
        )
        try:
            for i in range(DRY_RUNS):
                self.decide({client: ids[i % len(ids)]}, now=now)
        finally:
            self._packed = kept

    def _score(self, requests: Mapping[str, Any], candidates: object, now: float) -> NDArray[np.float64]:
        entity = request_rows(requests, self.model.spec.telemetry.client, self.clients)
        slots = candidate_slots(candidates, self.fleet.table, len(entity.keys))
        out = np.full((*slots.shape, len(self.model.heads)), np.nan)
        decide.score_all(self._state(), entity, slots, now, self._thread.workspace_for(slots.shape[1]), out)
        return out

    def _barred(self, exclude: object, block: object, n: int) -> NDArray[np.uint64]:
        if exclude is None and block is None:
            return NO_BLOCKLIST
        return read_blocklist(exclude, block, self.model.features.node, n)

    def _features(self, requests: Mapping[str, Any], candidates: object, now: float) -> NDArray[np.float32]:
        features = self.model.features
        entity = request_rows(requests, self.model.spec.telemetry.client, self.clients)
        slots = candidate_slots(candidates, self.fleet.table, len(entity.keys))
        out = np.full((*slots.shape, len(features.names)), np.nan, np.float32)
        fill_candidates(features.program, entity, self.fleet.arrays.columns, slots, self._history, now, out)
        return out

    def _run(
        self, requests: ColumnArrays, candidates: object, blocklist: NDArray[np.uint64], now: float, out: DecisionArrays
    ) -> NDArray[np.int32]:
        """Decide requests into ``out`` and return the fleet slots of their candidates, given or retrieved."""
        given = candidates is not None
        if given:
            slots = candidate_slots(candidates, self.fleet.table, len(requests.keys))
        else:
            slots = np.empty((len(requests.keys), self._index.arrays.limit), np.int32)
        workspace = self._thread.workspace_for(slots.shape[1])
        decide.decide(self._state(), requests, blocklist, slots, given, now, workspace, out)
        return slots

    def _check_clock(self, now: float) -> None:
        latest = self._latest.item()
        if now < latest - MAX_SKEW:
            message = f"now: expected at least {latest} less {MAX_SKEW} s, found {now}"
            raise ClockError(message)

    def _state(self) -> PackedArrays[State]:
        """Return the state as it stands; packed anew where arrays were replaced, as by growth."""
        packed, fleet, postings, clients = self._packed, self.fleet.arrays, self._index.arrays, self.clients.columns
        if packed is None or not _holds(packed.content, fleet, postings, clients):
            state = State(
                program=self.model.features.program,
                tables=self.model.forest.tables,
                policy=self._policy,
                fleet=fleet,
                history=self._history,
                log=self._log.arrays,
                locks=self._lock.words,
                latest=self._latest,
                seed=self._seed,
                postings=postings,
                clients=clients,
                tracked=self._tracked,
            )
            packed = self._packed = PackedArrays(state)
        return packed

    def _nodes_changed(self, slots: NDArray[np.int32]) -> None:
        self._index.put(slots, self.fleet.arrays.columns.keys)
        node_rows.refresh_nodes(self._state(), slots, self._thread.workspace)

    def _nodes_removed(self, slots: NDArray[np.int32]) -> None:
        self._index.drop(slots)

    def _refresh_returned(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """Refresh nodes that left between decision and their very first outcome and came back, by a scan of all."""
        log, fleet = self._log.arrays, self.fleet.arrays
        left = fleet.generation[log.slot[rows, places]] != log.generation[rows, places]
        if left.any():
            keys = log.node_keys[rows * log.slot.shape[1] + places, 0][left]
            slots = np.flatnonzero(np.isin(fleet.columns.keys[:, 0], keys)).astype(np.int32)
            node_rows.refresh_nodes(self._state(), slots, self._thread.workspace)


def _holds(state: State, fleet: FleetArrays, postings: IndexArrays, clients: ColumnArrays) -> bool:
    """Return whether a state is made of these very arrays."""
    return state.fleet is fleet and state.postings is postings and state.clients is clients
