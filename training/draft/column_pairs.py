"""How the values of two columns relate: which they share, whether they cross, whether one follows from the other."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

EXCEPTED = 0.02
"""Share of keys that may have several values of a column that is constant for a key: a few move, or are mistyped."""


class ColumnPairs:
    """How the values of two columns of a sample relate, looked up once."""

    def __init__(self, sample: pl.DataFrame) -> None:
        self.sample = sample
        self._values: dict[str, set[object]] = {}
        self._crossing: dict[tuple[str, str], bool] = {}
        self._decides: dict[tuple[str, str], bool] = {}

    def overlap(self, one: str, other: str) -> float:
        """Return the share of common values, of the column that has fewer."""
        a, b = self._of(one), self._of(other)
        return len(a & b) / max(min(len(a), len(b)), 1)

    def _of(self, name: str) -> set[object]:
        if name not in self._values:
            self._values[name] = set(self.sample[name].drop_nulls().unique().to_list())
        return self._values[name]

    def crossing(self, client: str, node: str) -> bool:
        """Tell whether nodes are asked by several clients."""
        key = (client, node)
        if key not in self._crossing:
            pairs = self.sample.select(client, node).drop_nulls().unique()
            n = pairs[node].n_unique()
            self._crossing[key] = pairs.height > 1.2 * max(n, 1)  # a few that moved make no crossing
        return self._crossing[key]

    def decides(self, fine: str, coarse: str) -> bool:
        """Tell whether each value of a column has one value of another, by those that come again."""
        key = (fine, coarse)
        if key not in self._decides:
            known = self.sample.select(fine, coarse).drop_nulls()
            seen = known.group_by(fine).agg(pl.len().alias("@n"), pl.col(coarse).n_unique().alias("@values"))
            several = (seen.filter(pl.col("@n") > 1)["@values"] > 1).mean()
            self._decides[key] = several is not None and float(several) <= EXCEPTED  # type: ignore[arg-type]
        return self._decides[key]


def constant_per(sample: pl.DataFrame, key: str | None, names: Sequence[str]) -> set[str]:
    """Return the columns that have one value for each value of a key, except for one key in fifty."""
    if key is None or not names:
        return set()
    seen = sample.group_by(key).agg(pl.col(name).drop_nulls().n_unique() for name in names)
    return {name for name in names if float((seen[name] > 1).mean()) <= EXCEPTED}  # type: ignore[arg-type]
