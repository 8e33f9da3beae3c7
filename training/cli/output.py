"""Results as tables and JSON, and progress of long work."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from training.progress import bars, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from training.evaluation.results import Comparison
    from training.progress import Report


_FIGURES = ("mean", "median", "p95", "mean_log", "fail", "gap_closed", "gap_closed_log", "regret", "regret_log")
"""Columns of a comparison's table; `training.evaluation.metrics`, which has them too, is slow to load."""


def print_error(arguments: list[str], kind: str, message: str) -> None:
    """Print an error as JSON to whom asked for JSON."""
    if "--json" in arguments:
        print_json({"error": {"type": kind, "message": message}})


@contextmanager
def progress_bar(json: bool) -> Iterator[Report]:  # noqa: FBT001
    """Show the progress of long work on standard error; with ``--json`` only where that is a terminal."""
    with nullcontext(silent) if json and not sys.stderr.isatty() else bars() as progress:
        yield progress


def print_warnings(lines: Sequence[str], json: bool) -> None:  # noqa: FBT001
    """Print warnings before all else: on standard error where standard output is for JSON, which has them too."""
    for line in lines:
        Console(stderr=json).print(f"Warning: {line}", soft_wrap=True, markup=False, highlight=False)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def print_comparison(comparison: Comparison) -> None:
    """Print the figures of each policy as a table."""
    seeds = f" of {comparison.seeds} seeds (mean, ± standard deviation)" if comparison.spread else ""
    cold = {"": "", "both": " of cold clients among cold nodes"}.get(comparison.cold, f" with cold {comparison.cold}")
    title = f"{comparison.n:,} decisions{cold}{seeds} on {comparison.data}, model {comparison.model}"
    table = Table(
        Column("policy", overflow="fold", min_width=9),
        title=title,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for f in _FIGURES:
        table.add_column(f.replace("_", "\n"), justify="right", no_wrap=True)
    for name, score in comparison.policies.items():
        cells = [_cell(getattr(score, f), getattr(comparison.spread.get(name), f, None)) for f in _FIGURES]
        table.add_row(name, *cells, style="bold" if name == "learned" else "")
    Console().print(table)


def _cell(value: float, spread: float | None) -> str:
    """Return a figure, with its spread below it where there is one; nothing where it does not exist."""
    if not math.isfinite(value):
        return ""
    text = f"{value:,.4g}"
    return text if spread is None else f"{text}\n±{spread:.1g}"
