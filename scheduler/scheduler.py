"""The scheduler: state in, decision out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from scheduler.audit.audit_control import AuditControl
from scheduler.audit.warm_up import explain_and_copy
from scheduler.columns.id_table import IdTable
from scheduler.columns.ids import Id, Ids, plain_list
from scheduler.columns.rows import Errors, Skipped
from scheduler.decisions.decision import Decision, Decisions
from scheduler.engine import engine
from scheduler.engine.arm import Arm
from scheduler.engine.counters import read_counters
from scheduler.engine.outcome_batch import observe_batch
from scheduler.engine.remote_outcomes import learn_batch, observe_token, token_of
from scheduler.engine.request import check_time, column_of_one
from scheduler.engine.settings import Settings, check_settings
from scheduler.engine.state import State
from scheduler.engine.warm_up import warm_up
from scheduler.fleet.fleet import Fleet
from scheduler.history.arrays import HistoryArrays
from scheduler.model.model import Model
from scheduler.policy.compile import check_model, with_policy
from scheduler.spec import Spec


class Scheduler(AuditControl):
    """Decides which nodes serve a request, and learns from what came of it.

    All times are seconds and passed in; a clock is read only to tell how long decisions take. Calls may come from
    several threads: those that decide or score run side by side, those that change anything run alone.

    Parameters
    ----------
    model
        What predicts; see `Model.load`.
    spec
        Gives utility, policy, candidates, sets of categories, ledger and windows in place of the model's own spec, so
        that they may change without training; of the same fingerprint.
    seed
        Fixes every random draw, 0 to 2**63 - 1.
    remember
        How many decisions wait for their outcome before the oldest is forgotten.
    first_id
        Id of the first decision; the next ones count up. By default unique over processes and restarts. A random
        draw is a function of the seed and the decision's id: pass the same ``first_id`` to repeat a run.
    history_capacity
        About how many entries history has room for, 16 to 2**31; by default as many as in training.
    max_nodes
        How many nodes there may be, 16,777,216 at most. Address space is set aside for so many, and memory used only as
        nodes come; more nodes are refused.
    forget_after
        Seconds after which a silent node is removed, as if by `Fleet.remove`; by default never. Calls that decide do
        so, a bounded number each. It is no part of the spec: how long nodes stay away is a matter of the deployment.
    token_key
        Signs tokens of decisions, 16 bytes or more, the same in all processes that exchange them; by default they are
        not signed. It is not saved with a snapshot.
    secret
        Integer that says which entries share a bucket, so that chosen ids crowd none; random by default, and saved.

    Attributes
    ----------
    state
        What is known of the world; see `State`.
    fleet
        The nodes: ``upsert``, ``update``, ``remove``, ``heartbeat``, ``quarantine``, ``add``, ``discard``, and ``ids``,
        ``get``, ``silent`` to look at them; see `Fleet`.
    clients
        What is known of clients, so that a request needs only its client's id: ``upsert``, ``remove``.

    Examples
    --------
    >>> sched = Scheduler(Model.load(folder), seed=0)  # doctest: +SKIP
    >>> sched.fleet.upsert([1, 2], {"isp": ["a", "b"]})  # doctest: +SKIP
    >>> d = sched.decide({"client_id": 17}, candidates=[1, 2], now=0.0)  # doctest: +SKIP
    >>> sched.observe(d.id, {"ok": True, "rtt_ms": 31.0}, now=0.1)  # doctest: +SKIP
    """

    def __init__(self, model: Model, spec: Spec | None = None, **settings: Unpack[Settings]) -> None:
        check_model(model)
        model = model if spec is None else with_policy(model, spec)
        self._begin(State(model.spec, model.features, **check_settings(settings)), model)

    @property
    def fleet(self) -> Fleet:
        """The nodes."""
        return self.state.fleet

    @property
    def clients(self) -> IdTable:
        """What is known of clients."""
        return self.state.clients

    def decide(
        self,
        request: Mapping[str, Any],
        candidates: Ids | None = None,
        *,
        now: float,
        exclude: Ids | None = None,
        block: Mapping[str, Ids] | None = None,
        arm: Arm | None = None,
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
        arm
            Which arm decides, from `prepare` or `swap`; by default the one in charge.

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
        blocklist = engine.blocklist_of(self.state, one, None if block is None else column_of_one(block, "block"), 1)
        time = check_time(now)
        self.state.keep_up(time, engine.check_call, arm, request, rows)
        return self.state.lock.read(engine.decide, self.state, arm, request, rows, blocklist, time)

    def decide_batch(
        self,
        requests: Mapping[str, Any],
        candidates: Sequence[Sequence[Id]] | NDArray[Any] | None = None,
        *,
        now: float,
        exclude: Sequence[Ids | None] | None = None,
        block: Mapping[str, Sequence[Ids | None]] | None = None,
        arm: Arm | None = None,
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
        arm
            As for `decide`.

        Returns
        -------
        Decisions

        Raises
        ------
        InputError
            As `decide`.
        """
        time = check_time(now)
        self.state.keep_up(time, engine.read_batch, arm, requests, candidates, exclude, block)
        by, out, nodes = self.state.lock.read(
            engine.decide_batch, self.state, arm, requests, candidates, exclude, block, time
        )
        longest = by.model.spec.policy.max_nodes
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
            heads=by.model.heads,
            model_version=by.model.version,
        )

    def token(self, decision: Decision | int) -> str:
        """Return a short text that the outcome of a decision may travel with, to whichever process takes it in.

        It has the decision's id, who decided, the keys of client and nodes, and what was reserved, signed where the
        scheduler has a ``token_key``. `observe` takes it in place of the id: here, after a restart, under another model
        of the same fingerprint, or in another process, which learns from the outcome while the reservation here ends
        with ``ledger.hold``.

        Parameters
        ----------
        decision
            One that still waits for its outcome, or its id.

        Raises
        ------
        UnknownDecisionError
            If it is not remembered, or went to the origin.
        """
        return self.state.lock.read(token_of, self.state, decision)

    def observe(self, decision: int | str, outcome: Mapping[str, Any], *, now: float, node: Id | None = None) -> None:
        """Report what came of a decision; history learns from it and its uplink is free again.

        Parameters
        ----------
        decision
            The decision's id, or its `token`.
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
        if isinstance(decision, str):
            observe_token(self.state, decision, outcome, check_time(now), node)
        else:
            engine.observe(self.state, decision, outcome, check_time(now), node)

    def observe_batch(
        self,
        decisions: Sequence[int] | NDArray[np.int64],
        outcomes: Mapping[str, Any],
        *,
        now: float | NDArray[np.float64],
        nodes: Sequence[Id | None] | None = None,
        errors: Errors = "raise",
    ) -> list[Skipped]:
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
            (n,) which node of each slate, None for the only one; needed only where slates have several.
        errors
            With ``"skip"`` rows that are wrong are left out, such as those of unknown decisions, and the others count.

        Returns
        -------
        list of Skipped
            The rows that were left out, with their decisions and reasons.

        Raises
        ------
        InputError
            As `observe`; the message names the row and its decision. Nothing changed.
        """
        return observe_batch(self.state, decisions, outcomes, now, nodes, errors)

    def learn(self, request: Mapping[str, Any], node: Id, outcome: Mapping[str, Any], *, now: float) -> None:
        """Learn from what was measured elsewhere: by a probe, by another scheduler, or by what ran before this one.

        Parameters
        ----------
        request
            As for `decide`.
        node
            Which node served; the fleet need not hold it.
        outcome, now
            As for `observe`.

        Raises
        ------
        InputError
            If a value is not what the spec says. Nothing changed.
        """
        one = column_of_one(outcome, "outcome")
        learn_batch(self.state, column_of_one(request, "request"), [node], one, check_time(now))

    def learn_batch(
        self,
        requests: Mapping[str, Any],
        nodes: Sequence[Id] | NDArray[Any],
        outcomes: Mapping[str, Any],
        *,
        now: float | NDArray[np.float64],
    ) -> None:
        """Learn from many outcomes measured elsewhere, in order of arrival; see `learn`.

        A new scheduler is warm after the outcomes of the past hours: history then is what it would have seen.

        Parameters
        ----------
        requests
            As for `decide_batch`, (n,).
        nodes
            (n,) which node served each.
        outcomes, now
            As for `observe_batch`.
        """
        learn_batch(self.state, requests, nodes, outcomes, now)

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
        return self.state.lock.read(engine.score, self.state, None, requests, candidates, check_time(now))

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
        time = check_time(now)
        return self.state.lock.read(engine.features, self.state, None, requests, candidates, time)

    def warm_up(self) -> None:
        """Compile or load all machine code for this model, so that the first decision is as fast as the thousandth.

        A throw-away scheduler of the same model makes every kind of call, explanations and snapshots included; nothing
        of this one changes. What it knows of its nodes is read once, so that it is in the processor's caches as far as
        they reach, and some of its clients are decided for, to no effect.
        """
        explain_and_copy(warm_up(self.state, self.state.arms[0]))

    def counters(self) -> dict[str, int]:
        """Return how much was decided, explored, observed, expired, forgotten, held and evicted."""
        return read_counters(self.state)

    def refresh(self) -> None:
        """Recompute every node's forest row, after history was filled from outside; others call meanwhile."""
        self.state.refresh_in_parts()

    @property
    def history(self) -> HistoryArrays:
        """The running statistics.

        `training.features.replay.replay` fills them from telemetry; call `refresh` afterwards.
        """
        return self.state.history
