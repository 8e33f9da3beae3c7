"""The state: what a scheduler knows of the world, which outlives models, policies and arms."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.id_table import IdTable
from scheduler.decisions.counts import VersionCounts
from scheduler.decisions.decision_log import DecisionRing
from scheduler.decisions.first_id import LAST_ID, new_first_id
from scheduler.decisions.record.arrays import NOT_RECORDED, new_outcome_rows
from scheduler.decisions.record.recording import Recording
from scheduler.decisions.seen_outcomes import SeenOutcomes
from scheduler.engine.arm import Arm
from scheduler.engine.arrays import StateArrays
from scheduler.engine.clock import Clock
from scheduler.engine.kernels import node_rows
from scheduler.engine.long_call import LongCalls
from scheduler.engine.request_codec import RequestCodec
from scheduler.engine.settings import memory_for
from scheduler.errors import InputError
from scheduler.features.program import Features, kept_columns
from scheduler.fleet.fleet import Fleet
from scheduler.fleet.hooks import WRITTEN, Hooks
from scheduler.history.outcome_codec import OutcomeBuffer, OutcomeCodec
from scheduler.history.outcomes import outcome_names, tracked
from scheduler.history.store import HISTORY, capacities, checked_capacity, new_history
from scheduler.retrieval.index import Index
from scheduler.runtime.growable_array import MOST_ROWS
from scheduler.runtime.hashing import secret_multiplier
from scheduler.runtime.lock_kernels import STATUS
from scheduler.runtime.not_copied import NotCopied
from scheduler.runtime.packed_arrays import PackedArrays
from scheduler.runtime.parts import in_parts
from scheduler.runtime.read_write_lock import ReadWriteLock
from scheduler.spec import Spec

Listener: TypeAlias = Callable[[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]], None]
"""Takes the keys of requests and of nodes, and decisions."""

LIFE_BITS = 62
"""Of the number of a life, above 0: among a million of them two are the same with a probability of 1e-7."""

BUILD_STEP = 512
"""Nodes whose rows a new arm computes while it holds the lock as a reader: less than a millisecond."""


def new_life() -> int:
    """Return a number for a new life of a state."""
    return 1 + secrets.randbits(LIFE_BITS)


class State(NotCopied):
    """Nodes, clients, reservations, index, history, open decisions and clock, laid out by a spec.

    Parameters
    ----------
    spec
        Lays out columns, history, tiers and ledger.
    features
        Where columns stand; see `Features`.
    seed
        Of all random draws.
    remember
        How many decisions wait for their outcome.
    first_id
        Id of the first decision.
    history_capacity
        About how many entries history has room for; by default as many as the spec says.
    max_nodes
        How many nodes there may be.
    forget_after
        Seconds after which a silent node is removed.
    token_key
        Signs tokens of decisions; by default they are not signed.
    secret
        Says which keys share a bucket or a place of the tables, so that nobody can choose ids that crowd one.

    Attributes
    ----------
    lock
        Held by whoever reads or changes the state.
    settings
        All but the first id and the key of tokens, as a snapshot keeps them.
    request_codec, outcome_codec
        Read what callers pass in.
    token_key
        Signs tokens of decisions.
    seen
        Outcomes of decisions made elsewhere that were taken in.
    outcome
        Memory for the outcome that is taken in; only a writer uses it.
    long_calls
        Calls of many outcomes that are under way.
    arms
        Arms whose node rows follow the state; the first one is in charge.
    in_charge_since
        When the model in charge was put there, in seconds of `time.time`; nothing is decided by it.
    counts
        Decisions of all arms, released ones included, by the version of their model.
    listeners
        Told of each outcome before history learns from it: the (n, n_keys) keys of its request and of its node, or of
        several nodes of which one is its own, and its decision, -1 for none. The lock is held as a writer.
    life, follows
        A random number that tells states apart, also those of one after restarts and forks; that of the state that was
        saved, where this one was restored, else 0.
    recording
        Who is told of decisions, outcomes and nodes; None where nothing is recorded.
    """

    _INSTEAD = "save and restore the scheduler"

    def __init__(  # noqa: PLR0913 - one keyword for each setting
        self,
        spec: Spec,
        features: Features,
        *,
        seed: int,
        remember: int,
        first_id: int,
        history_capacity: int | None = None,
        max_nodes: int = MOST_ROWS,
        forget_after: float = math.inf,
        token_key: bytes | None = None,
        secret: int = 0,
    ) -> None:
        self.spec, self.features = spec, features
        self.settings: dict[str, int | float | None] = {
            "seed": seed,
            "remember": remember,
            "history_capacity": history_capacity,
            "max_nodes": max_nodes,
            "forget_after": forget_after,
            "secret": secret,
        }
        multiplier = secret_multiplier(secret)
        self.lock = ReadWriteLock()
        self.lock.repair, self.lock.on_fork = self.refresh_all, self._after_fork
        self.long_calls = LongCalls(self.lock, self._make_buffers)
        self.clock = Clock()
        self.seed = seed
        self.index = Index(spec.candidates, features.request, features.node, max_nodes, multiplier)
        wanted = capacities(spec)[HISTORY] if history_capacity is None else history_capacity
        self.history_capacity = checked_capacity(wanted, "history_capacity")
        with memory_for("history_capacity", self.history_capacity):
            self.history = new_history(spec, self.history_capacity, multiplier)
        with memory_for("remember", remember):
            self.log = DecisionRing(remember, spec.policy.max_nodes + spec.policy.alternatives, features, first_id)
        self.tracked = tracked(spec, spec.history.values)
        self.request_codec = RequestCodec(features.request, spec.telemetry.client)
        self.outcome_codec = OutcomeCodec(spec)
        self.outcome = OutcomeBuffer(spec)
        self.token_key, self.seen = token_key, SeenOutcomes(remember)
        self.arms: tuple[Arm, ...] = ()
        self.counts, self.in_charge_since = VersionCounts(), time.time()
        self.listeners: tuple[Listener, ...] = ()
        self.life, self.follows = new_life(), 0
        self._packed: PackedArrays[StateArrays] | None = None
        self.recording: Recording | None = None
        self._no_outcomes = new_outcome_rows(features.request.n_keys, features.node.n_keys, len(outcome_names(spec)), 0)
        self.clients = IdTable(features.request, "client ids", self.lock)
        self.fleet = Fleet(
            features.node,
            spec.ledger.capacity if spec.ledger else None,
            lock=self.lock,
            hooks=Hooks(
                changed=self._nodes_changed,
                removed=self.index.drop,
                listed=self._nodes_listed,
                ahead=self._touch_ahead,
                noted=self._node_noted,
                reads=kept_columns(spec),
            ),
            sets=self.index,
            most=max_nodes,
            forget_after=forget_after,
        )
        self.fleet.place_by(multiplier)

    @property
    def arrays(self) -> PackedArrays[StateArrays]:
        """The state as it stands; packed anew where arrays were replaced, as by growth."""
        packed, fleet, postings, clients = self._packed, self.fleet.arrays, self.index.arrays, self.clients.columns
        log, recording = self.log.arrays, self.recording
        outcomes = self._no_outcomes if recording is None else recording.outcomes
        if packed is not None:
            held = packed.content
            is_same = held.fleet is fleet and held.postings is postings and held.clients is clients
            if is_same and held.log is log and held.outcomes is outcomes:
                return packed
        packed = self._packed = PackedArrays(
            StateArrays(
                program=self.features.program,
                fleet=fleet,
                history=self.history,
                log=log,
                locks=self.lock.words,
                clock=self.clock.latest,
                seed=self.seed,
                postings=postings,
                clients=clients,
                tracked=self.tracked,
                full_rate=NOT_RECORDED if recording is None else recording.full_rate,
                outcomes=outcomes,
            )
        )
        return packed

    def arm(self, arm: Arm | None) -> Arm:
        """Return an arm that follows the state, by default the one in charge; the caller holds the lock.

        Raises
        ------
        InputError
            If the arm does not follow the state.
        """
        if arm is None:
            return self.arms[0]
        if not isinstance(arm, Arm) or arm not in self.arms:
            message = "arm: expected one that was prepared here and not released, found another"
            raise InputError(message)
        return arm

    def join(self, arm: Arm) -> None:
        """Build an arm's node rows, in steps between which decisions and changes go on; they follow from then on."""
        self.lock.write(self._add, arm)
        try:
            first = 0
            while first < len(self.fleet.arrays.generation):
                self.lock.read(self._build_rows, arm, first)
                first += BUILD_STEP
        except BaseException:  # interrupted
            self.lock.write(self._take_out, arm)
            raise

    def _add(self, arm: Arm) -> None:
        self.log.widen(arm.model.spec.policy.max_nodes + arm.model.spec.policy.alternatives)
        arm.grow(len(self.fleet.arrays.generation))
        arm.count_in(self.counts.of(arm.model.version, [other.model.version for other in self.arms]))
        self.arms = (*self.arms, arm)

    def put_in_charge(self, arm: Arm) -> Arm:
        """Put an arm first, between two decisions; return the one that was."""
        return self.lock.write(self._put_first, arm)

    def _put_first(self, arm: Arm) -> Arm:
        before, arm = self.arms[0], self.arm(arm)
        self.arms = (arm, *(other for other in self.arms if other is not arm))
        self.in_charge_since = time.time()
        return before

    def leave(self, arm: Arm) -> None:
        """Stop updating an arm's node rows.

        Raises
        ------
        InputError
            If the arm is in charge, or does not follow the state.
        """
        self.lock.write(self._drop, arm)

    def _drop(self, arm: Arm) -> None:
        if self.arm(arm) is self.arms[0]:
            message = "arm: expected one that is not in charge, found the one in charge"
            raise InputError(message)
        self._take_out(arm)

    def _take_out(self, arm: Arm) -> None:
        self.arms = tuple(other for other in self.arms if other is not arm)

    def replace(self, old: Arm, new: Arm) -> None:
        """Let an arm that shares another's node rows follow in its place; the caller holds the lock as a writer."""
        self.arms = tuple(new if arm is old else arm for arm in self.arms)

    def tell(
        self, request_keys: NDArray[np.uint64], node_keys: NDArray[np.uint64], decisions: NDArray[np.int64]
    ) -> None:
        """Tell the listeners of outcomes; the caller holds the lock as a writer."""
        for listener in self.listeners:
            listener(request_keys, node_keys, decisions)

    def record_by(self, recording: Recording | None) -> None:
        """Tell a recording of all that happens from now on, in place of the one before; None ends it.

        Raises
        ------
        InputError
            If there is another one.
        """
        self.lock.write(self._record_by, recording)

    def _record_by(self, recording: Recording | None) -> None:
        if recording is not None and self.recording is not None:
            message = "record: expected that nothing is recorded yet, found a recorder at work"
            raise InputError(message)
        self.clients.told = None if recording is None else recording.keep_clients
        self.recording = recording

    def keep_up(self, now: float, check: Callable[..., object] | None = None, *call: object) -> None:
        """Let nodes that fell silent, or whose quarantine ended, by a call's time leave the index or enter it.

        First ``check`` looks at the state and the call as a reader: a call that it refuses moves no node.
        """
        if self.fleet.is_due(now) and self.clock.accepts(now):
            if check is not None:
                self.lock.read(check, self, *call)
            self.fleet.advance(now)

    def refresh_in_parts(self) -> None:
        """Recompute the rows of all nodes in all arms, in parts between which decisions and changes go on."""
        for at in in_parts(len(self.fleet.arrays.generation)):
            self.lock.write(self._refresh_part, at)

    def _refresh_part(self, at: slice) -> None:
        alive = self.fleet.arrays.alive_until[at]
        self.refresh((at.start + np.flatnonzero(alive > -np.inf)).astype(np.int32))

    def refresh(self, slots: NDArray[np.int32]) -> None:
        """Recompute the rows of nodes in all arms; the caller holds the lock as a writer."""
        packed, n = self.arrays, len(self.fleet.arrays.generation)
        for arm in self.arms:
            arm.grow(n)
            node_rows.refresh_nodes(packed, arm.arrays, slots, arm.thread.workspace)

    def refresh_all(self) -> None:
        """Recompute the rows of all nodes in all arms; the caller holds the lock as a writer."""
        self.refresh(self.fleet.slots())

    def _after_fork(self) -> None:
        """Begin ids that the parent and its other children will never use, and with them other random draws."""
        self._record_by(None)  # the recorder's thread is the parent's
        self.life, self.follows = new_life(), 0
        first, last = new_first_id(), self.log.next_id()
        status = self.lock.words[STATUS]
        self.long_calls.after_fork()
        self.lock.words[STATUS] = status
        # Ids that were chosen by hand may lie beyond those of the clock.
        self.log.begin_ids(first if first > last else last + secrets.randbelow(max((LAST_ID - last) // 2, 1)))

    def _make_buffers(self) -> None:
        """Make the calling thread's buffers in all arms."""
        for arm in self.arms:
            arm.thread  # noqa: B018 - made when it is first read

    def _build_rows(self, arm: Arm, first: int) -> None:
        alive = self.fleet.arrays.alive_until[first : first + BUILD_STEP]
        slots = (first + np.flatnonzero(alive > -np.inf)).astype(np.int32)
        node_rows.refresh_nodes(self.arrays, arm.arrays, slots, arm.thread.workspace)

    def _touch_ahead(self, n: int) -> None:
        self.index.touch(n)
        for arm in self.arms:
            arm.touch(n)

    def note_all_nodes(self) -> None:
        """Tell the recording of all nodes as they are, in parts between which decisions and changes go on."""
        for at in in_parts(len(self.fleet.arrays.generation)):
            self.lock.read(self._note_part, at)

    def _note_part(self, at: slice) -> None:
        alive = self.fleet.arrays.alive_until[at]
        self._node_noted(WRITTEN, (at.start + np.flatnonzero(alive > -np.inf)).astype(np.int32))

    def _node_noted(self, kind: int, slots: NDArray[np.int32]) -> None:
        if self.recording is not None:
            now, decision = float(self.clock.latest[0]), self.log.next_id()
            self.recording.note_nodes(kind, slots, self.fleet.arrays, now, decision)

    def _nodes_changed(self, slots: NDArray[np.int32]) -> None:
        self._nodes_listed(slots)
        self.refresh(slots)

    def _nodes_listed(self, slots: NDArray[np.int32]) -> None:
        self.index.put(slots, self.fleet.arrays.columns.keys, self.fleet.arrays.listed)
