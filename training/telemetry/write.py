"""Writes a telemetry directory."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from scheduler.runtime.durable import replacing


def write_tables(folder: Path, *, clients: pl.DataFrame, nodes: pl.DataFrame, telemetry: pl.DataFrame) -> None:
    """Write the three files of a telemetry directory, or none of them after an error; the folder is made.

    Telemetry takes its place last: what names clients and nodes never stands beside older tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = {"clients": clients, "nodes": nodes, "telemetry": telemetry}
    with replacing(*(folder / f"{name}.parquet" for name in frames)) as parts:
        for part, frame in zip(parts, frames.values(), strict=True):
            frame.write_parquet(part)
