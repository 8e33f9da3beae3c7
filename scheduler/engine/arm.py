"""An arm: one model's way of deciding over a state that it shares with other arms."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from scheduler.decisions.arrays import DecisionCounts
from scheduler.decisions.counts import new_counts
from scheduler.decisions.decision import DecisionBuffer
from scheduler.decisions.record.arrays import NO_ROWS
from scheduler.decisions.record.recording import Recording
from scheduler.engine.arrays import ArmArrays, Workspace
from scheduler.engine.kernels import decide as decide_kernels
from scheduler.engine.kernels import observe as observe_kernels
from scheduler.engine.request_codec import RequestBuffer
from scheduler.engine.workspace import CallBuffers, new_rings, new_workspace
from scheduler.model.model import Model
from scheduler.policy.compile import compile_policy
from scheduler.retrieval.index import Index
from scheduler.runtime.direct import Direct
from scheduler.runtime.growable_array import GrowableArray
from scheduler.runtime.lock_kernels import MAX_DEPTH, READING
from scheduler.runtime.not_copied import NotCopied
from scheduler.runtime.packed_arrays import PackedArrays
from scheduler.runtime.read_write_lock import ReadWriteLock


class Buffers:
    """What one call decides in.

    Attributes
    ----------
    workspace
        Its scratch memory.
    request, decision
        Memory for one request and one decision, in that workspace.
    recording
        Who takes the decisions out of the workspace's records; None where nothing is recorded.
    decide_one, observe_one
        The kernels.
    """

    def __init__(self, model: Model, index: Index) -> None:
        policy = model.spec.policy
        self._model = model
        self.decide_one, self.observe_one = Direct(decide_kernels.decide_one), Direct(observe_kernels.observe_one)
        self.request = RequestBuffer(model.features.request)
        self.decision = DecisionBuffer(policy.max_nodes, policy.alternatives, model.heads, model.version)
        self._buffers = CallBuffers(
            retrieval=index.new_work(),
            carried=self.request.arrays,
            found=np.empty((1, index.arrays.limit), np.int32),
            out=self.decision.arrays,
            records=new_rings(model, NO_ROWS),
        )
        self.recording: Recording | None = None
        self.workspace = PackedArrays(new_workspace(model, index.arrays.limit, self._buffers))

    def record_for(self, recording: Recording | None) -> None:
        """Append decisions to new rings, which a recording empties; without one, to none."""
        records = new_rings(self._model, NO_ROWS if recording is None else recording.sizes)
        self._buffers = self._buffers._replace(records=records)
        self.workspace = PackedArrays(self.workspace.content._replace(records=records))
        if recording is not None:
            recording.add(records, self._model, self)
        self.recording = recording

    def workspace_for(self, n: int) -> PackedArrays[Workspace]:
        """Return the workspace, which grows to the largest number of candidates asked for."""
        if n > len(self.workspace.content.candidates.slot):
            self.workspace = PackedArrays(new_workspace(self._model, n, self._buffers))
        return self.workspace


class _Thread(threading.local):
    """The calling thread's buffers, by how many of its calls read.

    A call from within a call, such as from a signal handler or an argument's methods, finds others than the outer one,
    which goes on to use its own. A call that writes has those of an outermost one: neither is ever inside the other.
    """

    def __init__(self, model: Model, index: Index, lock: ReadWriteLock) -> None:
        self.levels = _Levels(model, index, lock.hold().view)


class _Levels:
    """Buffers of one thread, made when they are first asked for."""

    __slots__ = ("_index", "_model", "buffers", "depths")

    def __init__(self, model: Model, index: Index, depths: memoryview[int]) -> None:
        self._model, self._index, self.depths = model, index, depths
        first = Buffers(model, index)
        self.buffers: list[Buffers | None] = [first, first, *[None] * (MAX_DEPTH - 1)]

    def add(self) -> Buffers:
        """Return new buffers for the present depth."""
        buffers = self.buffers[self.depths[READING]] = Buffers(self._model, self._index)
        return buffers


class Arm(NotCopied):
    """A model with its policy, its forest row of every node, and its threads' scratch memory.

    Parameters
    ----------
    model
        What predicts, under the policy of its spec.
    index
        Retrieval of the state, for the size of its scratch memory.
    lock
        The state's lock, which knows how deep a thread's calls are.
    rows
        The node rows of another arm of the same forest, to share; by default new ones.
    counts
        Where to count decisions; by default apart from other arms.

    Attributes
    ----------
    model
        The model.
    arrays
        What kernels read.
    """

    _INSTEAD = "make another by `Scheduler.prepare`"

    def __init__(
        self,
        model: Model,
        index: Index,
        lock: ReadWriteLock,
        rows: GrowableArray | None = None,
        counts: DecisionCounts | None = None,
    ) -> None:
        self.model = model
        self._lock = lock
        self._thread = _Thread(model, index, lock)
        self._rows = GrowableArray((model.forest.node_words,), np.uint64, rows=index.most) if rows is None else rows
        self._policy = compile_policy(model)
        self._counts = new_counts() if counts is None else counts
        self.arrays = self._packed(self._rows.grow(0) if rows is None else rows.used)

    @property
    def thread(self) -> Buffers:
        """Buffers of the calling thread's present call."""
        levels = self._thread.levels
        return levels.buffers[levels.depths[READING]] or levels.add()

    def with_model(self, model: Model, index: Index) -> Arm:
        """Return an arm of the same forest under another policy, which shares this one's node rows."""
        return Arm(model, index, self._lock, self._rows, self._counts)

    def count_in(self, counts: DecisionCounts) -> None:
        """Count decisions in these arrays from now on; the caller holds the state's lock as a writer."""
        self._counts = counts
        self.arrays = self._packed(self.arrays.content.node_rows)

    def grow(self, n: int) -> None:
        """Have a row for each of ``n`` slots of the fleet; the caller holds the state's lock as a writer."""
        if n > len(self.arrays.content.node_rows):
            self.arrays = self._packed(self._rows.grow(n))

    def touch(self, n: int) -> None:
        """Ask the system for the memory of ``n`` rows; needs no lock."""
        self._rows.touch(n)

    def _packed(self, node_rows: NDArray[np.uint64]) -> PackedArrays[ArmArrays]:
        return PackedArrays(
            ArmArrays(
                program=self.model.features.program,
                mask_tables=self.model.forest.mask_tables,
                policy=self._policy,
                node_rows=node_rows,
                counts=self._counts,
            )
        )
