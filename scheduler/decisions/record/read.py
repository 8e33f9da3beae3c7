"""Read records back: what the sums vouch for, as columns of numpy arrays."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scheduler.columns.ids import Id, id_key
from scheduler.decisions.record.arrow import END, decoded
from scheduler.decisions.record.columns import Columns, Ragged
from scheduler.decisions.record.folder import read_manifest, segment_paths
from scheduler.decisions.record.segment import FORMAT, SegmentManifest
from scheduler.decisions.record.values import FullRecord
from scheduler.errors import InputError, RecordError


class Torn(NamedTuple):
    """What of a table is not whole: rows that were vouched for and differ, and bytes that are not read."""

    rows: int
    bytes: int


class Batch(NamedTuple):
    """Where a batch stands in a stream: first and last byte, its rows, and the CRC-32 of its bytes."""

    first: int
    end: int
    rows: int
    crc: int


class SegmentReader:
    """A segment on disk, which may still be written.

    Attributes
    ----------
    path, manifest
        Where it is, and what it says of itself.
    """

    def __init__(self, path: Path, manifest: SegmentManifest) -> None:
        self.path, self.manifest = path, manifest
        self._torn: dict[str, Torn] = {}

    def batches(self, table: str) -> Iterator[Columns]:
        """Yield the batches of a table that are whole, in order; see `scheduler.decisions.record.segment.TABLES`."""
        data, whole = self._whole(table)
        for batch in whole[1:]:
            yield from decoded(data[: whole[0].end] + data[batch.first : batch.end])

    def torn(self, table: str) -> Torn:
        """Return what of a table `batches` left out when it last looked, or leaves out now."""
        if table not in self._torn:
            self._whole(table)
        return self._torn[table]

    def full_records(self) -> Iterator[FullRecord]:
        """Yield the decisions that were recorded in full, in the order in which they were taken."""
        for columns in self.batches("full"):
            for i in range(len(columns["id"])):
                yield full_record(columns, i, self.manifest)

    def names(self) -> dict[int, Id]:
        """Return what keys of categories stand for, as far as that was known."""
        found: dict[int, Id] = {}
        for columns in self.batches("names"):
            rows = zip(columns["key"], columns["value"], strict=True)
            found |= {int(key): name for key, text in rows if (name := typed_id(str(text), int(key))) is not None}
        return found

    def _whole(self, table: str) -> tuple[bytes, list[Batch]]:
        """Return a table's bytes and the batches that are whole, the schema first; note what is torn."""
        data, sums = self._bytes(table)
        whole = [batch for batch in sums if _is_whole(data, batch)]
        if whole[:1] != sums[:1]:
            whole = []  # without the schema nothing can be read
        rest = len(data) - sum(batch.end - batch.first for batch in whole)
        if sums and data[sums[-1].end :] == END:
            rest -= len(END)
        self._torn[table] = Torn(sum(batch.rows for batch in sums) - sum(batch.rows for batch in whole), rest)
        return data, whole

    def _bytes(self, table: str) -> tuple[bytes, list[Batch]]:
        # The sums first: what they vouch for is in the stream already.
        file = self.path / f"{table}.arrows"
        try:
            lines = file.with_suffix(".sums").read_bytes()
            return file.read_bytes(), _batches(lines)
        except FileNotFoundError:
            return b"", []


def read_segments(folder: str | Path) -> Iterator[SegmentReader]:
    """Yield the segments of a folder of records, the oldest first.

    Raises
    ------
    RecordError
        If there is no such folder, or a segment is of another format.
    """
    path = Path(folder)
    if not path.is_dir():
        message = f"{path}: expected a folder of records, found none"
        raise RecordError(message)
    for segment in segment_paths(path):
        manifest = read_manifest(segment)
        if manifest is None:
            continue  # killed before it was begun
        if manifest.format != FORMAT:
            message = f"{segment}: expected records of format {FORMAT}, found {manifest.format}"
            raise RecordError(message)
        yield SegmentReader(segment, manifest)


def full_record(columns: Columns, i: int, manifest: SegmentManifest) -> FullRecord:
    """Return row ``i`` of columns of the table ``full``."""
    lists: dict[str, Any] = {name: column.row(i) for name, column in columns.items() if isinstance(column, Ragged)}
    single: dict[str, Any] = {name: column[i] for name, column in columns.items() if not isinstance(column, Ragged)}
    keys = lists["node_keys"]
    m = len(keys)
    names, own = lists.pop("nodes"), keys[:, 0].tolist()
    numbers = {name: single.pop(name).item() for name in ("id", "time", "arm", "draw", "profile", "demand")}
    numbers |= {name: single.pop(name).item() for name in ("propensity", "reason")}
    lists["raw"] = lists["raw"].reshape(m, -1 if m else lists["values"].shape[1])  # a score of each head
    lists["is_new"] = lists["is_new"].astype(np.bool_)
    for name in ("x_node", "x_pair"):  # a width of 0 is not written
        lists.setdefault(name, np.zeros((m, 0), np.float32))
    single.setdefault("x_request", np.zeros(0, np.float32))
    single.setdefault("request_values", np.zeros(0))
    return FullRecord(
        seed=manifest.seed,
        explores=bool(single.pop("explores")),
        nodes=[typed_id(name, key) for name, key in zip(names, own, strict=True)],
        **numbers,
        **lists,
        **single,
    )


def typed_id(text: str, key: int) -> Id | None:
    """Return an id from its text: an integer where its key is that of the integer; None without a text."""
    if not text:
        return None
    try:
        number = int(text)
        return number if id_key(number) == key else text
    except (ValueError, InputError):  # no number, or one of more than 64 bits
        return text


def _batches(lines: bytes) -> list[Batch]:
    """Return what sums say, up to the first line that is cut short or no line at all."""
    found: list[Batch] = []
    first = 0
    for line in lines.split(b"\n")[:-1]:
        parts = line.split()
        try:
            end, rows, crc = int(parts[0]), int(parts[1]), int(parts[2], 16)
        except (ValueError, IndexError):
            break
        if len(parts) != 3 or end < first:  # noqa: PLR2004
            break
        found.append(Batch(first, end, rows, crc))
        first = end
    return found


def _is_whole(data: bytes, batch: Batch) -> bool:
    part = data[batch.first : batch.end]
    return len(part) == batch.end - batch.first and zlib.crc32(part) == batch.crc
