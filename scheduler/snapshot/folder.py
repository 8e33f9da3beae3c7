"""Snapshots in a folder: written beside it and renamed into it, so that each one is whole or not there."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NoReturn, Self

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

from scheduler.errors import InputError, SnapshotError, shown
from scheduler.runtime.durable import sync
from scheduler.snapshot.manifest import MANIFEST, Column, Manifest, decode, encode

MAX_MANIFEST_BYTES: Final = 1 << 24
"""Bytes of a manifest at most: some 100 for each column, and the spec."""

_NAME = re.compile(r"snapshot-(\d{8,})")

TEMPORARY = f"unfinished-{re.sub(r'[^A-Za-z0-9.]', '_', socket.gethostname())}-"
"""Begins the name of what this machine has not finished; a folder may be shared with other machines."""

_TYPES = {name: np.dtype(name) for name in ("<f8", "<f4", "<i8", "<i4", "<u8", "|u1", "|i1", "|b1")}


class ColumnWriter:
    """Appends rows to the file of one column."""

    def __init__(self, path: Path, dtype: np.dtype[Any], width: tuple[int, ...]) -> None:
        self._file: BinaryIO = path.open("xb")
        self._name, self._dtype, self._width = path.name, dtype.newbyteorder("<"), width
        self._hash, self._rows = hashlib.sha256(), 0
        self.n_bytes = 0

    def append(self, rows: NDArray[Any]) -> None:
        """Write (n, *width) rows; raises `ValueError` where they are of another width."""
        if rows.shape[1:] != self._width:
            message = f"{self._name}: expected rows of {self._width}, found {rows.shape[1:]}"
            raise ValueError(message)
        data = np.ascontiguousarray(rows, self._dtype)
        if data.size:
            view = data.reshape(-1).view(np.uint8).data
            self._hash.update(view)
            self._file.write(view)
        self._rows += len(rows)
        self.n_bytes += data.nbytes

    def finish(self) -> Column:
        """Make the file durable and return what the manifest says of it."""
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
        return Column(self._name, self._dtype.str, (self._rows, *self._width), self._hash.hexdigest())

    def close(self) -> None:
        """Give the file up."""
        self._file.close()


class SnapshotWriter:
    """Writes one snapshot into a folder; a context that leaves nothing behind unless `finish` was called.

    Parameters
    ----------
    folder
        Where snapshots are kept; made where it is missing.

    Raises
    ------
    SnapshotError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns: dict[str, ColumnWriter] = {}

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{os.getpid()}-", dir=self._folder))
        except OSError as error:
            message = f"{self._folder}: expected a folder that can be written, found {error.strerror}"
            raise SnapshotError(message) from error
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        for column in self._columns.values():
            with suppress(OSError):  # to close writes what is still held, and there may be no room for it
                column.close()
        shutil.rmtree(self._temporary, ignore_errors=True)
        if isinstance(error, OSError):
            message = f"{self._folder}: expected room for a snapshot, found {error.strerror}"
            raise SnapshotError(message) from error

    @property
    def n_bytes(self) -> int:
        """How many bytes were written so far."""
        return sum(column.n_bytes for column in self._columns.values())

    def append(self, name: str, rows: NDArray[Any], dtype: DTypeLike | None = None) -> None:
        """Append rows to a column, whose width and type are those of the first ones."""
        column = self._columns.get(name)
        if column is None:
            path = self._temporary / f"{len(self._columns):03d}.bin"
            kind = np.dtype(rows.dtype if dtype is None else dtype)
            column = self._columns[name] = ColumnWriter(path, kind, rows.shape[1:])
        column.append(rows)

    def finish(self, manifest: Manifest, keep: int) -> Path:
        """Add the manifest, put the snapshot into its place, and remove all but the newest ``keep``."""
        columns = {name: column.finish() for name, column in self._columns.items()}
        with (self._temporary / MANIFEST).open("xb") as file:
            file.write(encode(msgspec.structs.replace(manifest, columns=columns)))
            file.flush()
            os.fsync(file.fileno())
        sync(self._temporary)
        path = self._rename()
        sync(self._folder)
        remove_old(self._folder, keep)
        return path

    def _rename(self) -> Path:
        while True:
            number = max((number for number, _ in snapshots(self._folder)), default=0) + 1
            path = self._folder / f"snapshot-{number:08d}"
            try:
                self._temporary.rename(path)
            except OSError:
                if not path.exists():
                    raise
            else:
                return path  # another process may have taken a number meanwhile, and then the next one is tried


def snapshots(folder: Path) -> list[tuple[int, Path]]:
    """Return the numbers and paths of a folder's snapshots, newest first; none where there is no such folder."""
    try:
        found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    except FileNotFoundError:
        return []
    except OSError as error:
        message = f"{folder}: expected a folder of snapshots, found {error.strerror}"
        raise SnapshotError(message) from error
    return sorted(((int(match[1]), path) for match, path in found), reverse=True)


def remove_old(folder: Path, keep: int) -> None:
    """Remove all but the newest snapshots, and what processes that are no more left unfinished."""
    for _, path in snapshots(folder)[keep:]:
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f"{TEMPORARY}*"):
        pid = path.name.removeprefix(TEMPORARY).partition("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class SnapshotReader:
    """Reads one snapshot and believes no file before its hash fits.

    Raises
    ------
    SnapshotError
        Naming the file, what was expected and what was found.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.manifest = decode(_bytes(path / MANIFEST, MAX_MANIFEST_BYTES))
        except ValueError as error:
            message = f"{path / MANIFEST}: {error}"
            raise SnapshotError(message) from error
        self._check_files()

    def read(self, name: str) -> NDArray[Any]:
        """Return a column."""
        column = self.manifest.columns.get(name)
        if column is None:
            _refuse(self.path / MANIFEST, f"a column {name!r}", "none")
        path = self.path / column.file
        with path.open("rb") as file:
            data = np.fromfile(file, _TYPES[column.dtype])
        found = hashlib.sha256(data.view(np.uint8).data if data.size else b"").hexdigest()
        if found != column.sha256:
            _refuse(path, f"SHA-256 {column.sha256}", found)
        return data.reshape(column.shape)

    def has(self, name: str) -> bool:
        """Return whether the snapshot has a column."""
        return name in self.manifest.columns

    def read_all(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield all columns with their names."""
        for name in self.manifest.columns:
            yield name, self.read(name)

    def _check_files(self) -> None:
        """Refuse files of another size than the manifest says, before any memory is asked for."""
        for name, column in self.manifest.columns.items():
            where = f"{self.path / MANIFEST}: {name}"
            if column.dtype not in _TYPES or any(n < 0 for n in column.shape) or not column.shape:
                _refuse(where, "a type of numbers and a shape", f"{column.dtype} of {column.shape}")
            if Path(column.file).name != column.file:
                _refuse(where, "the name of a file", repr(column.file))
            path, size = self.path / column.file, math.prod(column.shape) * _TYPES[column.dtype].itemsize
            found = _size(path)
            if found != size:
                _refuse(path, f"{size} bytes", found)


def _size(path: Path) -> int:
    try:
        status = path.lstat()
    except OSError as error:
        _refuse(path, "a file, because the manifest lists it", error.strerror)
    if not stat.S_ISREG(status.st_mode):
        _refuse(path, "a regular file", "something else")
    return status.st_size


def _bytes(path: Path, limit: int) -> bytes:
    size = _size(path)
    if size > limit:
        _refuse(path, f"at most {limit} bytes", size)
    return path.read_bytes()


def _refuse(where: object, expected: object, found: object) -> NoReturn:
    message = f"{where}: expected {expected}, found {found}"
    raise SnapshotError(message)


def check_folder(folder: object) -> Path:
    """Return a path, or raise `InputError` where it is none."""
    try:
        is_path = isinstance(folder, str | Path) and b"\0" not in os.fsencode(folder)
    except UnicodeEncodeError:  # half of a letter
        is_path = False
    if not is_path:
        message = f"folder: expected a path, found {shown(folder)}"
        raise InputError(message)
    return Path(folder)  # type: ignore[arg-type]
