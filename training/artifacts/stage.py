"""A hidden folder in which an artifact is made, until it is whole and gets its name."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from scheduler.errors import ArtifactError
from scheduler.runtime.durable import sync

CONTENT, LOCK = "artifact", "lock"
"""In a stage: the artifact, and a file that its writer locks, as NFS locks nothing that is not open for writing."""


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; it becomes ``folder`` at the end, or is removed after an error.

    Stages that killed writers left are removed first.

    Raises
    ------
    ArtifactError
        If ``folder`` is there, at the beginning or at the end.
    """
    parent, prefix = folder.parent, f".{folder.name}."
    parent.mkdir(parents=True, exist_ok=True)
    _refuse_existing(folder)
    remove_leftovers(parent, prefix)
    stage, lock = _new_stage(parent, prefix)
    try:
        content = stage / CONTENT
        content.mkdir()
        content.chmod(0o755)
        yield content
        for path in content.iterdir():
            sync(path)
        sync(content)
        _refuse_existing(folder)
        content.rename(folder)
        sync(parent)
    finally:
        lock.close()
        shutil.rmtree(stage, ignore_errors=True)


def _refuse_existing(folder: Path) -> None:
    if os.path.lexists(folder):
        message = f"{folder}: expected no such folder, found one; an artifact is never overwritten"
        raise ArtifactError(message)


def _new_stage(parent: Path, prefix: str) -> tuple[Path, TextIO]:
    """Return a folder of this process alone, and its locked file, by which others see that the writer lives."""
    while True:
        stage = Path(tempfile.mkdtemp(prefix=prefix, suffix=".part", dir=parent))
        with suppress(FileNotFoundError):
            lock = (stage / LOCK).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (stage / LOCK).exists():
                return stage, lock
            lock.close()
        # Another writer took the folder for a leftover, before it was locked.


def remove_leftovers(parent: Path, prefix: str) -> None:
    """Remove the stages of writers that are gone; a running one holds its lock."""
    for path in parent.glob(f"{prefix}*.part"):
        with suppress(OSError):
            with (path / LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
