"""The segments in a folder of records, and which of them have to go."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from scheduler.decisions.record.segment import MANIFEST, SegmentManifest

ABANDONED: Final = 600.0
"""Seconds after which a segment of another process that was not closed may be deleted: its process writes every few
seconds, or is gone."""

_NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}-\d{6}")


class Found(NamedTuple):
    """A segment on disk: where, its bytes, when it was last written, and whether it is being written."""

    path: Path
    size: int
    written: float
    is_open: bool


def segment_paths(folder: Path) -> list[Path]:
    """Return the segments in a folder, the oldest first."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def read_manifest(path: Path) -> SegmentManifest | None:
    """Return what a segment says of itself; None where it was never begun or does not say."""
    try:
        return msgspec.json.decode((path / MANIFEST).read_bytes(), type=SegmentManifest)
    except (OSError, msgspec.DecodeError):
        return None


def look_at(path: Path) -> Found:
    """Return what there is of a segment; nothing of it where another process deletes it meanwhile."""
    size, written = 0, 0.0
    for file in [path, *path.glob("*")]:
        try:
            found = file.stat()
        except FileNotFoundError:
            continue
        size, written = size + found.st_size, max(written, found.st_mtime)
    manifest = read_manifest(path)
    is_open = (manifest is None or not manifest.closed) and time.time() - written < ABANDONED
    return Found(path, size, written, is_open)


def prune(folder: Path, most_bytes: int, retention: float, own: Path | None) -> int:
    """Delete the oldest segments until the others are few enough, and those that are too old; return how many.

    What this or another process writes stays.
    """
    found = [look_at(path) for path in segment_paths(folder)]
    total, n, now = sum(segment.size for segment in found), 0, time.time()
    for segment in found:
        too_old = now - segment.written > retention
        if (total > most_bytes or too_old) and not segment.is_open and segment.path != own:
            shutil.rmtree(segment.path, ignore_errors=False)
            total, n = total - segment.size, n + 1
    return n
