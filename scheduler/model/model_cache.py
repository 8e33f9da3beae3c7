"""Where copies of registered models are kept, and which of them a URI last led to."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Final

from scheduler.errors import ArtifactError, RegistryError, RegistryWarning
from scheduler.model.artifact import check_files
from scheduler.runtime.durable import write_text

CACHE: Final = Path(".fogline/cache")

USER_CACHE: Final = Path(".cache/fogline/models")
"""Below a user's home, for a process whose working directory cannot be written."""

KEPT: Final = 8
"""Copies of a model kept in the cache: the champion, its challengers and some to roll back to."""

_temporary: list[tempfile.TemporaryDirectory[str]] = []
"""The folder of a process that can write nowhere else; it goes with the process."""


def cache_place(cache: Path | None) -> Path:
    """Return the folder for copies: the one that was asked for, or the first that can be written.

    By default that is ``.fogline/cache`` in the working directory, then ``.cache/fogline/models`` in the home folder,
    then a temporary folder, which other users cannot prepare and which goes with the process. A `RegistryWarning` tells
    of any but the first.
    """
    if cache is not None:
        return Path(cache)
    if is_writable(CACHE):
        return CACHE
    place = _elsewhere()
    message = f"cache: expected to write to {CACHE.absolute()}, found that it cannot be; copies are kept in {place}"
    warnings.warn(message, RegistryWarning, stacklevel=2)
    return place


def _elsewhere() -> Path:
    try:
        home = Path.home() / USER_CACHE
    except RuntimeError:  # a user without a home
        home = None
    if home is not None and is_writable(home):
        return home
    if not _temporary:
        _temporary.append(tempfile.TemporaryDirectory(prefix="fogline-"))
    return Path(_temporary[0].name)


def is_writable(folder: Path) -> bool:
    """Return whether copies can be put into a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def check_writable(folder: Path) -> None:
    """Raise `RegistryError` unless copies can be put into a folder."""
    if not is_writable(folder):
        message = f"cache: expected a folder that can be written, found {folder}"
        raise RegistryError(message)


def is_sound(folder: Path) -> bool:
    """Return whether a folder holds an artifact all of whose hashes fit."""
    try:
        check_files(folder)
    except ArtifactError:
        return False
    return True


def remember(note: Path, folder: Path) -> None:
    """Write down where a URI led, and that the folder was used."""
    if not is_writable(note.parent):
        return  # a cache that came with an image: what it says stays true
    if _read(note) != folder.name:
        write_text(note, folder.name)
    os.utime(folder)


def _read(note: Path) -> str:
    """Return what a note says; empty where there is none."""
    try:
        return note.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def last_good(note: Path) -> Path | None:
    """Return the sound copy that a URI last led to, if it is there."""
    folder = note.parent / Path(_read(note)).name
    return folder if folder != note.parent and is_sound(folder) else None


def prune(cache: Path, name: str) -> None:
    """Remove all but the last used copies of a model."""
    pattern = re.compile(rf"{re.escape(name)}-\d+-[0-9a-f]{{8}}")
    used = []
    for path in cache.iterdir():
        if pattern.fullmatch(path.name):
            with suppress(FileNotFoundError):  # another process may remove copies too
                used.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(used, reverse=True)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
