"""Progress of long work on standard error; standard output is for results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

ProgressCallback: TypeAlias = Callable[[str, int, int], None]
"""Callback that gets the step's name, the work done and the total."""


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def bars() -> Iterator[ProgressCallback]:
    """Show one bar for each kind of work, as it comes; on no terminal, nothing moves and only ends are printed."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console)
    tasks: dict[str, int] = {}

    def report(what: str, done: int, total: int) -> None:
        if not tasks:
            progress.start()  # only now: where nothing is reported, not even an empty line is printed
        if what not in tasks:
            tasks[what] = progress.add_task(what, total=total)
        progress.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

    try:
        yield report
    finally:
        if tasks:
            progress.stop()
