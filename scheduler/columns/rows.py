"""Rows that callers pass in: read in parts, and the bad ones named or left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.columns.ids import Id, Ids, id_key, n_distinct, plain_list, present_keys
from scheduler.columns.schema import Encoded, Schema, Sets
from scheduler.columns.values import is_single
from scheduler.errors import InputError, UnknownNodeError, shown
from scheduler.runtime.parts import LIGHT_PART, in_parts

Errors: TypeAlias = Literal["raise", "skip"]
"""Whether one bad row refuses a call, or is left out and comes back."""


class Skipped(NamedTuple):
    """A row that was left out.

    Attributes
    ----------
    row
        Its number in the call, from 0.
    id
        Its id as it was passed.
    reason
        What was expected and what came.
    """

    row: int
    id: object
    reason: str


class Rows(NamedTuple):
    """Checked ids, their keys, and their columns and sets of categories by name."""

    names: list[Id]
    keys: NDArray[np.uint64]
    columns: dict[str, Encoded]
    sets: dict[str, Sets]

    def part(self, at: slice) -> Rows:
        """Return consecutive rows."""
        if at.start == 0 and at.stop >= len(self.names):
            return self
        columns = {name: column[at] for name, column in self.columns.items()}
        return Rows(self.names[at], self.keys[at], columns, {name: s.part(at) for name, s in self.sets.items()})

    def only(self, which: NDArray[np.bool_]) -> Rows:
        """Return some of the rows, (n,)."""
        parts = [self.part(slice(i, i + 1)) for i in np.flatnonzero(which).tolist()]
        return _joined(parts) if parts else self.part(slice(0, 0))


Raw: TypeAlias = Mapping[str, object]


class Known(Protocol):
    """Knows ids; `scheduler.columns.id_table.IdTable` is one."""

    what: str

    def __len__(self) -> int: ...

    def holds(self, id_: object) -> bool:
        """Return whether an id is known, which may be anything."""
        ...


class RowReader:
    """Turns ids and raw columns into `Rows`; changes nothing.

    Parameters
    ----------
    schema
        The columns.
    what
        What an id is of, for messages.
    """

    def __init__(self, schema: Schema, what: str) -> None:
        self._schema, self._what = schema, what

    def read(
        self, ids: Ids, columns: Raw, errors: Errors = "raise", known: Known | None = None
    ) -> tuple[Rows, list[Skipped]]:
        """Return rows, and which were left out.

        Parameters
        ----------
        ids
            (n,) distinct integers or strings.
        columns
            Raw values by column, each (n,), a vector (n, size), or n lists of categories; from `as_sequence`.
        errors
            ``"skip"`` leaves out rows with a wrong id or value.
        known
            Knows ids, where others are wrong.

        Raises
        ------
        InputError
            If ids are no list, a column is unknown or has not n rows, or with ``"raise"`` if a row is wrong: the
            message names its number and id. `UnknownNodeError` where that is what is wrong.
        """
        check_errors(errors)
        names, raw = self.names(ids), columns
        try:
            if known is not None:
                check_known(names, known, None)
            return self._encoded(names, ids, raw), []
        except InputError:
            bad = self._bad_rows(names, raw, known)
            if not bad:
                raise
        skipped = left_out(names, bad, errors)
        good = [i for i in range(len(names)) if i not in bad]
        kept = [names[i] for i in good]
        return self._encoded(kept, kept, {name: taken(column, good) for name, column in raw.items()}), skipped

    def names(self, ids: Ids) -> list[Id]:
        """Return ids as plain Python values, not yet checked."""
        if type(ids) is list and len(ids) <= LIGHT_PART:
            return plain_list(ids, self._what)
        if is_single(ids) or not isinstance(ids, np.ndarray | list) or len(ids) <= LIGHT_PART:
            return plain_list(ids, self._what)
        names: list[Id] = []
        for at in in_parts(len(ids), LIGHT_PART):
            names += plain_list(ids[at], self._what)
        return names

    def _encoded(self, names: list[Id], ids: Ids, raw: Raw) -> Rows:
        n = len(names)
        if n <= LIGHT_PART:
            joined = self._part(names, ids, raw, slice(0, n), n)
        else:
            parts = in_parts(n, LIGHT_PART)
            joined = _joined([self._part(names[at], _part(ids, at, n), raw, at, n) for at in parts])
        keys = joined.keys
        if n > 1 and n_distinct(keys) != n and len(set(names)) != len(names):
            raise InputError(self._twice(Counter(names).most_common(1)[0][0]))
        return joined

    def _part(self, names: list[Id], ids: Ids, raw: Raw, at: slice, n: int) -> Rows:
        keys = present_keys(ids if isinstance(ids, np.ndarray) else names, self._what, "ids")
        rows, schema = Rows(names, keys, {}, {}), self._schema
        for c, values in raw.items():
            part = _part(values, at, n)
            if c in schema.sets:
                rows.sets[c] = schema.encode_sets(c, part, len(names))
            else:
                rows.columns[c] = schema.encode(c, part, len(names))
        return rows

    def _bad_rows(self, names: list[Id], raw: Raw, known: Known | None) -> dict[int, InputError]:
        """Return what is wrong with which rows; nothing where something else is wrong than rows."""
        bad: dict[int, InputError] = {}
        schema = self._schema
        for name, values in raw.items():
            if not (name in schema.columns or name in schema.sets) or not has_rows(values, len(names)):
                return bad
        self._find_bad_ids(names, bad)
        if known is not None:
            check_known(names, known, bad)
        for name, values in raw.items():
            encode = schema.encode_sets if name in schema.sets else schema.encode

            for at in in_parts(len(names), LIGHT_PART):
                find_bad(partial(_encode, encode, name, values), at.start, at.stop, bad)
        return bad

    def _find_bad_ids(self, names: list[Id], bad: dict[int, InputError]) -> None:
        seen: set[Id] = set()
        for i, name in enumerate(names):
            try:
                if id_key(name) == MISSING_KEY:
                    bad[i] = InputError(f"{self._what}: expected ids, found a missing one")
                elif name in seen:
                    bad[i] = InputError(self._twice(name))
                else:
                    seen.add(name)
            except InputError as error:
                bad[i] = error

    def _twice(self, name: Id) -> str:
        return f"{self._what}: expected distinct ids, found {name!r} twice"


def check_errors(errors: object) -> None:
    """Refuse what is no `Errors`."""
    if not isinstance(errors, str) or errors not in ("raise", "skip"):
        message = f"errors: expected 'raise' or 'skip', found {shown(errors)}"
        raise InputError(message)


def check_known(names: list[Id], known: Known, bad: dict[int, InputError] | None) -> None:
    """Write down unknown ids that are not bad already, or raise `UnknownNodeError` for the first."""
    for i, name in enumerate(names):
        if (bad is None or i not in bad) and not known.holds(name):
            error = UnknownNodeError(f"{known.what}: expected some of the {len(known)} known, found {shown(name)}")
            if bad is None:
                raise error
            bad[i] = error


def find_bad(check: Callable[[int, int], None], start: int, stop: int, bad: dict[int, InputError]) -> None:
    """Write down which rows a check refuses that are not bad already: it halves what is refused down to single rows."""
    try:
        check(start, stop)
    except InputError as error:
        if stop - start == 1:
            bad.setdefault(start, error)
            return
        middle = (start + stop) // 2
        find_bad(check, start, middle, bad)
        find_bad(check, middle, stop, bad)


def left_out(names: Sequence[object] | NDArray[Any], bad: Mapping[int, InputError], errors: Errors) -> list[Skipped]:
    """Return the bad rows in order; with ``"raise"`` the error of the first, which its row and id are added to."""
    if errors == "raise":
        row = min(bad)
        message = f"row {row}, id {shown(names[row])}: {bad[row]}"
        raise type(bad[row])(message)
    return [Skipped(row, names[row], str(bad[row])) for row in sorted(bad)]


def _encode(encode: Callable[..., object], name: str, values: Any, start: int, stop: int) -> None:  # noqa: ANN401 - as callers pass it
    encode(name, values[start:stop], stop - start)


def as_sequence(values: object) -> object:
    """Return a column that can be cut and read twice; what has no order, or is no column at all, as it came."""
    is_column = isinstance(values, list | tuple | np.ndarray | range | str | bytes | Mapping | AbstractSet)
    return list(values) if not is_column and isinstance(values, Iterable) else values


def has_rows(values: object, n: int) -> bool:
    """Whether a column can be cut, and has ``n`` rows."""
    if isinstance(values, np.ndarray):
        return values.shape[:1] == (n,)
    return isinstance(values, list | tuple | range) and len(values) == n


def _part(values: Any, at: slice, n: int) -> Any:  # noqa: ANN401 - as callers pass it
    """Return a part of a column's ``n`` rows; one of another length whole, so that it is refused as such."""
    is_whole = at.start == 0 and at.stop >= n
    return values if is_whole or not has_rows(values, n) else values[at]


def taken(values: Any, rows: list[int]) -> Any:  # noqa: ANN401 - as callers pass it
    """Return some rows of a column."""
    return values[rows] if isinstance(values, np.ndarray) else [values[i] for i in rows]


def _joined(parts: list[Rows]) -> Rows:
    """Return rows that follow each other as one."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        names=[name for part in parts for name in part.names],
        keys=np.concatenate([part.keys for part in parts]),
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        sets={name: Sets.joined([part.sets[name] for part in parts]) for name in parts[0].sets},
    )
