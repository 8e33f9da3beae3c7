"""Tables for a terminal: the most important figures that fit its width, and all of them where nothing limits it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

UNLIMITED = 100_000
"""Characters of a line that nothing limits: more than any table has."""

DIGITS = 4
"""Significant digits of a figure: more would only be noise of the draw."""

MARK, NO_MARK = "* ", "  "


class Column(NamedTuple):
    """A column of figures.

    Attributes
    ----------
    heading
        Its words; each has a line of its own where room is short.
    rank
        Columns of the highest rank are left out first.
    """

    heading: str
    rank: int = 0


class Cell(NamedTuple):
    """A figure as text, and its standard deviation, which goes below it where room is short."""

    text: str
    deviation: str = ""


class Row(NamedTuple):
    """A row: its name, its cells, and whether it is the model's."""

    name: str
    cells: tuple[Cell, ...]
    marked: bool = False


@dataclass(frozen=True)
class FigureTable:
    """Figures by row and column, in the order in which they are shown, under a title and a heading of the names."""

    title: str
    names: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        """Hold rows and columns against each other."""
        if any(len(row.cells) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: expected {len(self.columns)} cells in every row")


def console(*, wide: bool = False) -> Console:
    """Return standard output: as wide as the terminal, or without a limit where it is none or ``wide`` is set."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()  # None where standard output was closed
    return Console() if on_terminal and not wide else Console(width=UNLIMITED)


def print_text(text: str) -> None:
    """Print text on standard output as it is: no line is broken, so that a path can be copied."""
    console(wide=True).print(Text(text), soft_wrap=True)


def print_sentence(text: str) -> None:
    """Print a sentence on standard output, on a terminal in lines of whole words."""
    console().print(Text(text))


def print_table(table: FigureTable, *, wide: bool = False) -> None:
    """Print a table on standard output, see `show`."""
    show(table, console(wide=wide))


def show(table: FigureTable, out: Console) -> None:
    """Print a table with the most important columns that fit.

    No word is broken and no figure cut: columns first move closer, then those of the highest rank are left out, which a
    line below the table says. Only where the name and a single column do not fit, names are broken.
    """
    kept, gap = _fitting(table, out)
    limited = out.width < UNLIMITED
    out.print(Text(table.title, style="bold"))
    out.print()
    out.print(_layout(table, kept, gap, limited=limited))
    notes = ["* the model"] if any(row.marked for row in table.rows) else []
    left_out = [column.heading for number, column in enumerate(table.columns) if number not in kept]
    if left_out:
        notes.append(f"left out: {', '.join(left_out)}; --wide shows every figure")
    if notes:
        out.print(Text("; ".join(notes)))
    out.print()


def _fitting(table: FigureTable, out: Console) -> tuple[list[int], int]:
    """Return which columns are shown, and how many spaces lie between them."""
    kept = list(range(len(table.columns)))
    while True:
        for gap in (2, 1):
            laid = _layout(table, kept, gap, limited=out.width < UNLIMITED)
            needed = Measurement.get(out, out.options.update(max_width=UNLIMITED), laid).maximum
            if needed <= out.width or (gap == 1 and len(kept) == 1):
                return kept, gap
        kept.remove(max(kept, key=lambda number: (table.columns[number].rank, number)))


def _layout(table: FigureTable, kept: Sequence[int], gap: int, *, limited: bool) -> Table:
    laid = Table(box=SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    marks = any(row.marked for row in table.rows)
    laid.add_column(Text((NO_MARK if marks else "") + table.names), overflow="fold")
    for number in kept:
        heading = table.columns[number].heading
        laid.add_column(Text(heading.replace(" ", "\n") if limited else heading), justify="right", no_wrap=True)
    for row in table.rows:
        mark = "" if not marks else MARK if row.marked else NO_MARK
        cells = [Text(_cell(row.cells[number], "\n" if limited else " ")) for number in kept]
        laid.add_row(Text(mark + row.name), *cells, style="bold" if row.marked else "")
    return laid


def _cell(cell: Cell, between: str) -> str:
    return f"{cell.text}{between}{cell.deviation}" if cell.deviation else cell.text


def number(value: float | None) -> str:
    """Return a figure with `DIGITS` significant digits and thousands apart; nothing where it does not exist."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 10 ** (DIGITS - 1) else f"{value:.{DIGITS}g}"


def decimals(values: Sequence[float]) -> int:
    """Return the decimals with which the middle one of a column's values has `DIGITS` significant digits."""
    sizes = sorted(abs(value) for value in values if math.isfinite(value) and value != 0.0)
    if not sizes:
        return 0
    return min(max(DIGITS - 1 - math.floor(math.log10(sizes[len(sizes) // 2])), 0), 2 * DIGITS)


def fixed(value: float | None, places: int) -> str:
    """Return a figure with so many decimals, so that points stand below each other; nothing where it does not exist."""
    return "" if value is None or not math.isfinite(value) else f"{round(value, places) + 0.0:,.{places}f}"
