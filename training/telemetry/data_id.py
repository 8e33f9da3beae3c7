"""The identity of a data set: a hash over its contents."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import polars as pl

from scheduler.errors import DataError
from training.telemetry.data import Data, Files, Frames
from training.telemetry.files.scan import has_telemetry, telemetry_files
from training.telemetry.raw import TABLES, raw_files, table_file

_BLOCK = 1 << 20


def data_id(data: Data) -> str:
    """Return the identity of a data set: a SHA-256 over the names, sizes and contents of its files, or over its frames.

    It does not change when a folder is moved or copied, nor with files that are no part of the data.

    Raises
    ------
    DataError
        If a file of the data set is missing or cannot be read.
    """
    if isinstance(data, Frames):
        return _id_of_frames(data)
    base = None if isinstance(data, Files) or Path(data).is_file() else Path(data)
    total = hashlib.sha256()
    for file in sorted(_files(data)):
        try:
            size, digest = file.stat().st_size, _digest(file)
        except OSError as error:
            raise DataError(f"{file}: expected a readable file, found {error.strerror}") from error
        name = file.name if base is None or not file.is_relative_to(base) else file.relative_to(base).as_posix()
        total.update(f"{name}\0{size}\0{digest}\n".encode())
    return total.hexdigest()


def _files(data: str | Path | Files) -> list[Path]:
    laid_out = not isinstance(data, Files) and has_telemetry(Path(data))
    files = telemetry_files(Path(str(data))) if laid_out else raw_files(data)
    tables = (table_file(data, name) for name in TABLES)
    return [*files, *(table for table in tables if table is not None)]


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _id_of_frames(frames: Frames) -> str:
    total = hashlib.sha256()
    for frame in (frames.telemetry, frames.clients, frames.nodes):
        if frame is not None:
            for part in frame.iter_slices(_BLOCK):
                total.update(_bytes_of(part))
        total.update(b"\0")
    return total.hexdigest()


def _bytes_of(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.rechunk().write_ipc_stream(stream)
    return stream.getvalue()
