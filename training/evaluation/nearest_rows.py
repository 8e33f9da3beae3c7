"""Draw a candidate's outcome from the measured rows whose request columns come nearest to those of the request."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.telemetry import Categories, Telemetry


class RequestColumns(NamedTuple):
    """The request columns that telemetry logs of each row.

    Attributes
    ----------
    codes
        (n, n_categories) int32.
    numbers
        (n, n_numbers) float64 in units of their standard deviation, so that none outweighs the others.
    """

    codes: NDArray[np.int32]
    numbers: NDArray[np.float64]

    @classmethod
    def of(cls, telemetry: Telemetry) -> RequestColumns:
        """Return the columns of telemetry."""
        codes = [c.codes for c in telemetry.request.values() if isinstance(c, Categories)]
        numbers = [_scaled(c) for c in telemetry.request.values() if not isinstance(c, Categories)]
        n = len(telemetry)
        return cls(
            np.stack(codes, axis=1) if codes else np.empty((n, 0), np.int32),
            np.stack(numbers, axis=1) if numbers else np.empty((n, 0)),
        )

    @property
    def empty(self) -> bool:
        """Whether telemetry logs no column of a request."""
        return not (self.codes.shape[1] or self.numbers.shape[1])

    def apart(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how far rows are from others: 0 where all columns agree.

        Categories that differ weigh more than any numbers: their count is added to the distance of the numbers, which
        is brought below 1. Of each number the gap counts, brought below 1 as well; an unknown number is 1 from any
        other but an unknown one.
        """
        differ = (self.codes[rows] != self.codes[others]).sum(axis=1)
        gaps = np.abs(self.numbers[rows] - self.numbers[others])
        unknown = np.isnan(self.numbers[rows]), np.isnan(self.numbers[others])
        gaps = np.where(unknown[0] & unknown[1], 0.0, np.where(unknown[0] | unknown[1], 1.0, gaps / (1.0 + gaps)))
        return differ + gaps.sum(axis=1) / (1.0 + gaps.shape[1])


class Options(NamedTuple):
    """Rows that may be drawn: those of cell (i, j) are ``rows[first[i, j] :][: n_rows[i, j]]``."""

    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    n_rows: NDArray[np.int64]


def nearest_rows(
    request: RequestColumns, options: Options, wanted: NDArray[np.int64], chance: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Draw a row for each candidate among its rows that come nearest to a request, evenly among equally near ones.

    Parameters
    ----------
    options
        The rows of each of (n, k) candidates.
    wanted
        (n,) the row whose columns each request has.
    chance
        (n, k) random numbers below 1; where all rows are equally near, they draw as if there were no columns.

    Returns
    -------
    tuple
        (n, k) rows, -1 where there is none, and (n, k) whether all columns agree. The first candidate keeps the row
        that the request comes from.
    """
    count = options.n_rows.ravel()
    cell = np.repeat(np.arange(count.size), count)
    begin = np.cumsum(count) - count
    rows = options.rows[np.repeat(options.first.ravel() - begin, count) + np.arange(cell.size)]
    apart = request.apart(rows, wanted[cell // options.n_rows.shape[1]])
    least = np.full(count.size, np.inf)
    np.minimum.at(least, cell, apart)
    near = np.flatnonzero(apart == least[cell])
    n_near = np.bincount(cell[near], minlength=count.size)
    start = np.cumsum(n_near) - n_near
    drawn = start + (chance.ravel() * n_near).astype(np.int64)
    some = n_near > 0
    flat = np.full(count.size, -1, np.int64)
    flat[some] = rows[near[drawn[some]]]
    found = flat.reshape(options.n_rows.shape)
    found[:, 0] = wanted
    return found, (least == 0.0).reshape(options.n_rows.shape)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = values[np.isfinite(values)]
    deviation = float(known.std()) if known.size else 0.0
    return values / deviation if deviation > 0.0 else values
