"""Writes a telemetry directory, and looks at what stands in its place."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from scheduler.errors import InputError
from scheduler.runtime.durable import replacing


def names_in(folder: Path) -> list[str]:
    """Return the sorted names in a folder, none where it is missing; raise `InputError` where a file stands instead."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found a file")
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def write_tables(folder: Path, *, clients: pl.DataFrame, nodes: pl.DataFrame, telemetry: pl.DataFrame) -> None:
    """Write the three files of a telemetry directory, or none of them after an error; the folder is made.

    Telemetry takes its place last: what names clients and nodes never stands beside older tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = {"clients": clients, "nodes": nodes, "telemetry": telemetry}
    with replacing(*(folder / f"{name}.parquet" for name in frames)) as parts:
        for part, frame in zip(parts, frames.values(), strict=True):
            frame.write_parquet(part)
