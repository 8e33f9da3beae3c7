"""Saves a state into a folder, and makes one from there."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scheduler.engine.settings import Settings
from scheduler.engine.state import State
from scheduler.errors import SnapshotError, SnapshotWarning, SpecError
from scheduler.snapshot.capture import capture
from scheduler.snapshot.carried import Carried, compare
from scheduler.snapshot.folder import SnapshotReader, SnapshotWriter, snapshots
from scheduler.snapshot.manifest import FORMAT, Manifest
from scheduler.snapshot.restore import Columns, restore
from scheduler.spec import Spec, spec_from_json

IN_MEMORY = Path("memory")
"""In place of where a snapshot stands: another scheduler is made of it at once."""

KEEP = 3
"""Snapshots that stay by default: one that turns out to be damaged has two behind it."""


class Saved(NamedTuple):
    """A snapshot that was read and found whole.

    Attributes
    ----------
    path
        Where it stands.
    columns
        Its columns by name.
    spec, settings
        Of the scheduler that was saved.
    """

    path: Path
    columns: Columns
    spec: Spec
    settings: Settings


def save(state: State, folder: str | Path, keep: int = KEEP) -> Path:
    """Write a snapshot of a state; see `scheduler.Scheduler.save`."""
    with SnapshotWriter(Path(folder)) as writer:
        capture(state, writer)
        manifest = Manifest(
            format=FORMAT,
            fingerprint=state.spec.fingerprint(),
            spec=state.spec.to_json().decode(),
            settings={name: None if value == math.inf else value for name, value in state.settings.items()},
            columns={},
        )
        return writer.finish(manifest, keep)


def read_newest(folder: str | Path) -> Saved:
    """Return the newest whole snapshot of a folder.

    Raises
    ------
    SnapshotError
        If there is none. One that is damaged is passed over with a `SnapshotWarning` where an older one is whole.
    """
    found, first = snapshots(Path(folder)), None
    for _, path in found:
        try:
            saved = _read(path)
        except SnapshotError as error:
            first = first or error
            continue
        if first is not None:
            warnings.warn(f"{first}; {path.name} is used in its place", SnapshotWarning, stacklevel=3)
        return saved
    if first is not None:
        raise first
    message = f"{folder}: expected a snapshot, found none"
    raise SnapshotError(message)


def _read(path: Path) -> Saved:
    reader = SnapshotReader(path)
    try:
        spec = spec_from_json(reader.manifest.spec.encode())
        if spec.fingerprint() != reader.manifest.fingerprint:
            message = f"{path}: expected fingerprint {reader.manifest.fingerprint}, found {spec.fingerprint()}"
            raise SnapshotError(message)
        settings = {name: value for name, value in reader.manifest.settings.items() if value is not None}
        return Saved(path, dict(reader.read_all()), spec, cast(Settings, settings))
    except (OSError, SpecError) as error:
        message = f"{path}: expected a readable snapshot, found {error}"
        raise SnapshotError(message) from error


def fill(state: State, saved: Saved, now: float | None) -> Carried:
    """Fill an empty state from a snapshot and return what of it was carried over.

    Raises
    ------
    SnapshotError
        If the snapshot's columns do not fit each other.
    """
    try:
        restore(state, saved.columns, saved.spec, now)
    except (KeyError, ValueError, IndexError) as error:
        message = f"{saved.path}: expected columns that fit each other, found {error!r}"
        raise SnapshotError(message) from error
    return compare(saved.spec, state.spec)


class _Memory:
    """Collects columns in memory."""

    def __init__(self) -> None:
        self._parts: dict[str, list[NDArray[Any]]] = {}

    def append(self, name: str, rows: NDArray[Any], dtype: DTypeLike | None = None) -> None:
        """Append rows to a column."""
        self._parts.setdefault(name, []).append(np.array(rows, dtype))

    def columns(self) -> Columns:
        """Return the columns."""
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}


def copy_of(state: State) -> Saved:
    """Return a snapshot in memory of a state, which goes on meanwhile."""
    memory = _Memory()
    capture(state, memory)
    return Saved(IN_MEMORY, memory.columns(), state.spec, cast(Settings, state.settings))
