"""Files and folders that outlive a power cut."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EISDIR
from pathlib import Path
from tempfile import TemporaryFile


def sync(path: Path) -> None:
    """Make a file's bytes durable, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(path: Path, what: str, *, is_folder: bool = False) -> None:
    """Raise `OSError` that names a file, or a folder, and what it would hold, if it cannot be made; nothing is left.

    Folders that are missing are no hindrance if they can be made. What tells is a file without a name in the nearest
    folder there is, since permissions say little of a user who may do all.
    """
    folder = path
    try:
        if path.exists() and not path.is_dir() and not path.is_file():
            return  # a pipe or a device
        places = path.resolve() / "file" if is_folder else path.resolve()
        folder = next(parent for parent in places.parents if parent.exists())
        if path.is_dir() and not is_folder:
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        found = f"{error.strerror or error}, in {folder}"
        raise OSError(f"{path}: expected a place to write {what} to, found: {found}") from error


@contextmanager
def replacing(*paths: Path, is_durable: bool = True) -> Iterator[list[Path]]:
    """Yield a file to write beside each path; at the end each takes its path's place, one after the other.

    Each path has all of the old or all of the new. After an error in writing, or a lack of room, all have the old, and
    nothing is left beside them.

    Parameters
    ----------
    paths
        Files; a link stays one, and what it leads to is replaced.
    is_durable
        Whether that holds after a power cut too.
    """
    targets = [path.resolve() for path in paths]
    # Drawn, as processes in containers on a shared disk may have one number.
    parts = [target.with_name(f".{target.name}.{secrets.token_hex(8)}") for target in targets]
    try:
        yield parts
        for target, part in zip(targets, parts, strict=True):
            if target.exists():
                shutil.copymode(target, part)
            if is_durable:
                sync(part)
        for target, part in zip(targets, parts, strict=True):
            part.replace(target)
        if is_durable:
            for folder in {target.parent for target in targets}:
                sync(folder)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text to a file, which has all of the old text or all of the new one, whatever happens."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")  # a pipe or a device, such as /dev/stdout
        return
    with replacing(path) as (part,):
        part.write_text(text, encoding="utf-8")
