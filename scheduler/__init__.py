"""Online side of fogline: state in, decision out."""

from scheduler.columns.rows import Skipped
from scheduler.decisions.decision import Decision, Decisions
from scheduler.engine.arm import Arm
from scheduler.errors import (
    ArtifactError,
    ClockError,
    DataError,
    DuplicateOutcomeError,
    FoglineError,
    ForestError,
    ForkError,
    InputError,
    KernelCacheWarning,
    LockTimeoutError,
    NestedCallError,
    NotRecordedError,
    RecordError,
    RegistryError,
    RegistryWarning,
    SnapshotError,
    SnapshotWarning,
    SpecError,
    UnknownDecisionError,
    UnknownNodeError,
)
from scheduler.forest.forest import Forest
from scheduler.model.model import Model
from scheduler.scheduler import Scheduler
from scheduler.spec import Spec, load_spec

__all__ = [
    "Arm",
    "ArtifactError",
    "ClockError",
    "DataError",
    "Decision",
    "Decisions",
    "DuplicateOutcomeError",
    "FoglineError",
    "Forest",
    "ForestError",
    "ForkError",
    "InputError",
    "KernelCacheWarning",
    "LockTimeoutError",
    "Model",
    "NestedCallError",
    "NotRecordedError",
    "RecordError",
    "RegistryError",
    "RegistryWarning",
    "Scheduler",
    "Skipped",
    "SnapshotError",
    "SnapshotWarning",
    "Spec",
    "SpecError",
    "UnknownDecisionError",
    "UnknownNodeError",
    "load_spec",
]
