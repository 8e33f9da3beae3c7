"""Where telemetry comes from: a folder, a file, several files, or frames in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import polars as pl

from scheduler.errors import InputError


class Files(NamedTuple):
    """Several files or folders that hold telemetry together."""

    paths: tuple[Path, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.paths[:3])) + (" and others" if len(self.paths) > 3 else "")  # noqa: PLR2004 - a line


@dataclass(frozen=True)
class Frames:
    """Telemetry in memory, and the tables of clients and nodes where there are any.

    ``name`` is what messages and reports call it.
    """

    telemetry: pl.DataFrame
    clients: pl.DataFrame | None = None
    nodes: pl.DataFrame | None = None
    name: str = "frame"

    def __str__(self) -> str:
        return self.name


Data: TypeAlias = "str | Path | Files | Frames"
"""Whatever telemetry is read from."""


def data_name(data: Data) -> str:
    """Return what a data set is called: the name of its folder or file."""
    if isinstance(data, Frames):
        return data.name
    path = data.paths[0].resolve().parent if isinstance(data, Files) else Path(data).resolve()
    return path.name.partition(".")[0] or path.name


def data_of(paths: list[Path]) -> Path | Files:
    """Return what a command line names: one folder or file, or several."""
    return paths[0] if len(paths) == 1 else Files(tuple(paths))


def as_data(value: Any, clients: Any = None, nodes: Any = None) -> Data:  # noqa: ANN401 - frames of any library
    """Return telemetry that a caller hands over: a path, or a frame with the Arrow C interface.

    Raises
    ------
    InputError
        If it is neither, or a frame has tables beside a path.
    """
    if isinstance(value, str | Path | Files | Frames):
        if clients is not None or nodes is not None:
            raise InputError("clients, nodes: expected none beside a folder, which has its own tables, found some")
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(one, str | Path) for one in value):
        return data_of([Path(one) for one in value])
    return Frames(
        frame_of(value, "telemetry"),
        None if clients is None else frame_of(clients, "clients"),
        None if nodes is None else frame_of(nodes, "nodes"),
    )


def frame_of(value: Any, what: str) -> pl.DataFrame:  # noqa: ANN401 - frames of any library
    """Return a frame of any library that has the Arrow C interface as one of Polars; nothing is copied where it fits.

    Raises
    ------
    InputError
        If it is no frame.
    """
    if isinstance(value, pl.DataFrame):
        return value
    if isinstance(value, pl.LazyFrame):
        return value.collect()
    if not hasattr(value, "__arrow_c_stream__"):
        expected = f"{what}: expected a folder, a file, or a frame with the Arrow C interface (Polars, pandas, pyarrow)"
        raise InputError(f"{expected}, found {type(value).__name__}")
    return pl.DataFrame(value)
