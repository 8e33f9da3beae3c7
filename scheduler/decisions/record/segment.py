"""A segment: a folder of record files that is begun, closed and deleted as a whole."""

from __future__ import annotations

import os
import shutil
import time
import zlib
from contextlib import ExitStack, suppress
from itertools import repeat
from pathlib import Path
from typing import Final

import msgspec

from scheduler.decisions.record.arrow import END, Encoder
from scheduler.decisions.record.columns import Columns, Kind, cut, fitted, kinds_of, n_rows
from scheduler.runtime.durable import sync

FORMAT: Final = 1

MANIFEST: Final = "segment.json"

TABLES: Final = ("decisions", "full", "outcomes", "timeouts", "nodes", "names")
"""Of each there is a file ``.arrows``, an Arrow IPC stream, and a file ``.sums`` that vouches for it."""

BATCH_ROWS: Final = {"full": 64}
"""Most rows of a batch by table: what is encoded at once keeps the interpreter for a millisecond or so."""

MOST_BATCH_ROWS: Final = 4_096


class RecordedArm(msgspec.Struct, frozen=True):
    """What decided.

    Attributes
    ----------
    arm
        Its number in the stream.
    name, version, fingerprint
        Of the model.
    policy
        SHA-256 of ``spec``.
    spec
        The model's spec with the policy in force, as JSON.
    since
        When it was first recorded, in seconds of `time.time`.
    """

    arm: int
    name: str
    version: str
    fingerprint: str
    policy: str
    spec: str
    since: float


class SegmentManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment says of itself.

    Attributes
    ----------
    format
        `FORMAT`.
    stream, number
        One recorder's life, 8 hexadecimal digits, and which of its segments this is.
    seed
        Of the scheduler's draws.
    begun
        In seconds of `time.time`.
    life
        A random number that tells schedulers, and their lives between restarts, apart.
    follows
        That of the scheduler that was saved, where this one was restored; 0 where it was new.
    first_id
        Id with which its decisions begin.
    hashed
        Whether ids are hashed with a key.
    outcomes
        Names of the columns of outcomes.
    arms
        Those whose decisions may be in it.
    closed
        Whether it was finished; without this, its process may still write it or was killed.
    """

    format: int
    stream: str
    number: int
    seed: int
    begun: float
    hashed: bool
    outcomes: tuple[str, ...]
    arms: tuple[RecordedArm, ...] = ()
    closed: bool = False
    life: int = 0
    follows: int = 0
    first_id: int = 0


def write_all(handle: int, data: bytes) -> None:
    """Write all of some bytes to an open file."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _made(paths: list[Path]) -> list[int]:
    """Make files of one folder durable, and open them: all, or none of them is there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
    handles: list[int] = []
    try:
        # One call of compiled code: no interrupt comes between a file's making and the note of it.
        handles.extend(map(os.open, paths, repeat(flags), repeat(0o644)))
        sync(paths[0].parent)
    except BaseException:
        for path, handle in zip(paths, handles, strict=False):
            os.close(handle)
            with suppress(OSError):  # the same disk may refuse that too
                path.unlink()
        raise
    return handles


class TableFile:
    """One table of a segment.

    A batch counts once the line of sums about it is durable: that it ends at so many bytes, its rows, and the CRC-32 of
    its bytes. So a file that was cut short anywhere tells what of it is whole.

    Parameters
    ----------
    path
        Of the stream.
    kinds
        Of its columns.

    Attributes
    ----------
    size
        Bytes of stream and sums.
    is_sound
        False while rows are written, and where what was written in part could not be taken back: nothing may follow it.
    """

    def __init__(self, path: Path, kinds: dict[str, Kind]) -> None:
        self.kinds, self.is_sound = kinds, True
        self._encoder = Encoder({name: kind for name, kind in kinds.items() if kind[-1] != 0})
        self._data, self._sums = _made([path, path.with_suffix(".sums")])
        self._ends = [0, 0]

    @property
    def size(self) -> int:
        """Bytes of stream and sums."""
        return sum(self._ends)

    def append(self, columns: Columns, most_rows: int) -> None:
        """Write rows and make them durable: all or none, also where it is interrupted. Raises `OSError`."""
        chunks = [] if self._ends[0] else [(self._encoder.schema, 0)]
        wide = fitted(columns, self.kinds) or columns
        kept = {name: column for name, column in wide.items() if self.kinds[name][-1] != 0}
        for first in range(0, n_rows(kept), most_rows):
            part = cut(kept, first, min(first + most_rows, n_rows(kept)))
            chunks.append((self._encoder.batch(part), n_rows(part)))
        end, lines = self._ends[0], b""
        for data, n in chunks:
            end += len(data)
            lines += b"%d %d %08x\n" % (end, n, zlib.crc32(data))
        ends = [end, self._ends[1] + len(lines)]
        self.is_sound = False
        try:
            for data, _ in chunks:
                write_all(self._data, data)
            os.fsync(self._data)
            write_all(self._sums, lines)
            os.fsync(self._sums)
        except BaseException:  # an interrupt too: nothing may follow bytes that no line of sums is about
            with suppress(OSError):
                self._take_back()
                self.is_sound = True
            raise
        self._ends, self.is_sound = ends, True  # no interrupt comes between the last fsync's and these

    def close(self) -> None:
        """Write the end of the stream; raises `OSError`, and is closed all the same."""
        try:
            if self.is_sound:
                write_all(self._data, END)
                os.fsync(self._data)
        finally:
            os.close(self._data)
            os.close(self._sums)

    def _take_back(self) -> None:
        # The sums first: what they do not vouch for is not read.
        os.ftruncate(self._sums, self._ends[1])
        os.ftruncate(self._data, self._ends[0])


class Segment:
    """A segment that is being written.

    Parameters
    ----------
    folder
        Of records.
    manifest
        What the segment says of itself.
    """

    def __init__(self, folder: Path, manifest: SegmentManifest) -> None:
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(manifest.begun))}-{manifest.stream}-{manifest.number:06d}"
        self.path, self.manifest = folder / name, manifest
        self._tables: dict[str, TableFile] = {}
        self.path.mkdir(parents=True)
        try:
            self._write_manifest(manifest)
            sync(folder)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)  # the same disk may refuse that too
            raise

    @property
    def size(self) -> int:
        """Bytes of its tables."""
        return sum(table.size for table in self._tables.values())

    @property
    def is_sound(self) -> bool:
        """Whether rows may be appended: nobody has deleted it, and nothing was left half written."""
        return self.path.is_dir() and all(table.is_sound for table in self._tables.values())

    def takes(self, table: str, columns: Columns) -> bool:
        """Return whether rows are of the kinds that the table has, or narrower."""
        return table not in self._tables or fitted(columns, self._tables[table].kinds) is not None

    def append(self, table: str, columns: Columns) -> None:
        """Write rows to a table, all or none, and make them durable; raises `OSError`."""
        if table not in self._tables:
            self._tables[table] = TableFile(self.path / f"{table}.arrows", kinds_of(columns))
        self._tables[table].append(columns, BATCH_ROWS.get(table, MOST_BATCH_ROWS))

    def add_arms(self, arms: tuple[RecordedArm, ...]) -> None:
        """Write down what decides; raises `OSError`."""
        if arms != self.manifest.arms:
            self._write_manifest(msgspec.structs.replace(self.manifest, arms=arms))

    def close(self) -> None:
        """Finish the segment; raises `OSError`, and is closed all the same."""
        is_sound, tables, self._tables = self.is_sound, self._tables, {}
        with ExitStack() as closing:  # the others too if one cannot be, or is interrupted
            for table in tables.values():
                closing.callback(table.close)
        if is_sound:
            self._write_manifest(msgspec.structs.replace(self.manifest, closed=True))

    def _write_manifest(self, manifest: SegmentManifest) -> None:
        part = self.path / f"{MANIFEST}.part"
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(handle, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
            os.fsync(handle)
        finally:
            os.close(handle)
        part.replace(self.path / MANIFEST)
        sync(self.path)
        self.manifest = manifest
