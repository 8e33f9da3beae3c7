"""Everything fogline raises on purpose.

::

    FoglineError
    ├── SpecError              a spec says something impossible
    ├── DataError              telemetry or a table is not what the spec says
    ├── InputError             a call was given a wrong value
    │   ├── ClockError         a time lies more than 30 days from the latest one
    │   ├── UnknownNodeError   a node id the fleet does not hold
    │   ├── UnknownDecisionError   an outcome for a decision nobody remembers
    │   ├── NotRecordedError   a question about a decision that has no full record
    │   └── DuplicateOutcomeError  a second outcome for the same node of a decision
    ├── ForestError            a forest that cannot be represented
    ├── ArtifactError          an artifact that is damaged, incomplete or made for another version
    ├── SnapshotError          a snapshot that is damaged, incomplete or of another kind
    ├── RecordError            records cannot be written or read
    ├── RegistryError          the model registry cannot be reached or lacks the model
    │   └── RegistryDownError      it does not answer
    │       ├── RegistryBusyError      other processes hold it for too long
    │       └── RegistryBrokenError    its database is damaged, half made or of another version
    ├── MetricsError           prometheus-client is not installed
    ├── NestedCallError        a call from within a call of the same scheduler
    ├── LockTimeoutError       another thread keeps a call waiting for too long
    └── ForkError              a process was forked in the middle of a change

A `RegistryWarning` says that a registry does not answer and an earlier copy serves, or that copies are kept elsewhere.
A `KernelCacheWarning` says that compiled code cannot be kept or used, which costs time and nothing else.

Every message says what was expected and what came; whoever raises has changed nothing.
"""

from __future__ import annotations

import reprlib

__all__ = [
    "ArtifactError",
    "ClockError",
    "DataError",
    "DuplicateOutcomeError",
    "FoglineError",
    "ForestError",
    "ForkError",
    "InputError",
    "KernelCacheWarning",
    "LockTimeoutError",
    "MetricsError",
    "NestedCallError",
    "NotRecordedError",
    "RecordError",
    "RegistryBrokenError",
    "RegistryBusyError",
    "RegistryDownError",
    "RegistryError",
    "RegistryWarning",
    "SnapshotError",
    "SnapshotWarning",
    "SpecError",
    "UnknownDecisionError",
    "UnknownNodeError",
    "shown",
]

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 200
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 12


def shown(value: object) -> str:
    """Return what a message says of a value that a caller passed: its text, cut where it is long.

    Some values have none: an integer of over 4,300 digits, or an object whose own ``__repr__`` fails.
    """
    try:
        return _REPR.repr(value)
    except Exception:  # noqa: BLE001 - whatever a caller's class raises
        return f"{type(value).__name__} that cannot be shown"


class FoglineError(Exception):
    """Base of all errors raised on purpose by this library."""


class SpecError(FoglineError):
    """A spec has an unknown key, a wrong type, or refers to something it does not define."""


class DataError(FoglineError):
    """A data file misses a column, has a wrong type, or holds no usable row."""


class InputError(FoglineError):
    """A call was given a value of the wrong type, shape or range."""


class ClockError(InputError):
    """A time lies more than 30 days ahead of the latest one, or behind it."""


class UnknownNodeError(InputError):
    """A node id that the fleet does not hold."""


class UnknownDecisionError(InputError):
    """An outcome names a decision that was never made here, or that was forgotten since."""


class NotRecordedError(InputError):
    """A decision that cannot be explained, because no full record of it is at hand."""


class DuplicateOutcomeError(InputError):
    """A node of a decision already has its outcome."""


class ForestError(FoglineError):
    """A tree model uses something a forest cannot represent, such as over 64 leaves in a tree."""


class ArtifactError(FoglineError):
    """An artifact is damaged, incomplete, or made for another spec or format version."""


class SnapshotError(FoglineError):
    """A snapshot is torn, changed, of another format or of another spec, or cannot be written."""


class RecordError(FoglineError):
    """Records cannot be written or read: a folder is missing, a file is none of a segment, or nanoarrow is missing."""


class RegistryError(FoglineError):
    """The model registry cannot be reached, or has no such model, version or alias."""


class RegistryDownError(RegistryError):
    """The registry did not answer, as opposed to: it has no such model."""


class RegistryBusyError(RegistryDownError):
    """Other processes held the registry's database for longer than a process waits."""


class RegistryBrokenError(RegistryDownError):
    """The registry's database is damaged, was left half made, or belongs to another version of MLflow."""


class MetricsError(FoglineError):
    """Metrics cannot be made: prometheus-client is not installed."""


class NestedCallError(FoglineError):
    """A signal handler, a finaliser or an argument made a call from within a call, and would have met half of it."""


class LockTimeoutError(FoglineError):
    """Other threads hold a scheduler for longer than a call may wait; the message names them."""


class ForkError(FoglineError):
    """A process was forked while a thread was changing the scheduler: the child's copy is of no use."""


class SnapshotWarning(UserWarning):
    """The newest snapshot is damaged, and an older one was used in its place."""


class RegistryWarning(UserWarning):
    """The registry does not answer and the last good copy of a model serves, or copies are kept elsewhere."""


class KernelCacheWarning(UserWarning):
    """Compiled code cannot be kept, or was made for another processor or other sources: calls compile it anew."""
