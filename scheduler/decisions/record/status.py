"""How records are written, and how that goes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class RecordStatus(NamedTuple):
    """How the recording goes.

    Attributes
    ----------
    is_on
        Whether decisions are recorded: false once it was stopped, and in a forked child.
    folder
        Of records.
    written
        Rows that are durable, by table.
    dropped
        Rows that were dropped because a ring was full, by table.
    lost
        Rows that could not be written, by table.
    bytes, segments
        Written, and how many segments were begun.
    deleted
        Segments that were deleted.
    flushes, failures
        How often all that waited was written, and how often something could not be.
    last_error, last_failed
        What went wrong last, and when, in seconds of `time.time`; None where nothing did.
    lag
        Seconds since all that had happened was durable.
    """

    is_on: bool
    folder: Path
    written: dict[str, int]
    dropped: dict[str, int]
    lost: dict[str, int]
    bytes: int
    segments: int
    deleted: int
    flushes: int
    failures: int
    last_error: str | None
    last_failed: float | None
    lag: float


class RecordSettings(NamedTuple):
    """How records are written; see `RecordControl.record`."""

    every: float
    segment_bytes: int
    segment_seconds: float
    most_bytes: int
    retention: float
