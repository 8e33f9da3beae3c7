"""Columns as Arrow IPC streams, by nanoarrow."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scheduler.decisions.record.columns import LIST, TEXT, Column, Columns, Kind, Ragged, n_rows
from scheduler.decisions.record.yield_interpreter import yield_interpreter
from scheduler.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""What an IPC stream that is whole ends with."""

_FORMATS = {"l": "int64", "L": "uint64", "i": "int32", "I": "uint32", "C": "uint8", "c": "int8", "g": "float64"}
_FORMATS |= {"f": "float32", "s": "int16", "S": "uint16"}


def nanoarrow() -> ModuleType:
    """Return the module that reads and writes Arrow.

    Raises
    ------
    RecordError
        If it is not installed.
    """
    try:
        import nanoarrow  # type: ignore[import-untyped]  # noqa: PLC0415 - needed only where something is recorded
        import nanoarrow.ipc  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        message = "record: expected nanoarrow to be installed, as by pip install 'fogline[records]', found none"
        raise RecordError(message) from None
    return nanoarrow


class _Bytes:
    """Takes what a stream writer writes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts = []
        return data


class Encoder:
    """Turns columns of some kinds into messages of one IPC stream.

    Parameters
    ----------
    kinds
        Of each column, in order.

    Attributes
    ----------
    schema
        The stream's first message.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._na = nanoarrow()
        self._bytes = _Bytes()
        self._schema = self._na.c_schema(
            self._na.struct({name: _type(self._na, kind) for name, kind in kinds.items()}, nullable=False)
        )
        self._writer = self._na.ipc.StreamWriter.from_writable(self._bytes)
        self._writer.write_stream(self._na.c_array_stream(self._na.ArrayStream([], self._schema)))
        self.schema = self._bytes.take()

    def batch(self, columns: Columns) -> bytes:
        """Return rows as one message."""
        children = []
        for column in columns.values():
            children.append(_array(self._na, column))
            yield_interpreter()
        array = self._na.c_array_from_buffers(self._schema, n_rows(columns), [None], children=children)
        self._writer.write_array(array)
        return self._bytes.take()


def _type(na: ModuleType, kind: Kind) -> Any:  # noqa: ANN401 - nanoarrow has no types
    if kind[0] == LIST:
        return na.list_(_type(na, kind[1:]))
    if kind[0] == TEXT:
        return na.string()
    number = getattr(na, "uint8" if kind[0] == "bool" else str(kind[0]))()
    return na.fixed_size_list(number, kind[1]) if len(kind) > 1 else number


def _array(na: ModuleType, column: Column) -> Any:  # noqa: ANN401 - nanoarrow has no types
    if isinstance(column, Ragged):
        child = _array(na, column.values)
        kind = na.list_(na.Schema(child.schema))
        return na.c_array_from_buffers(kind, len(column.starts) - 1, [None, column.starts], children=[child])
    if isinstance(column, list):
        texts = [text.encode("utf-8", "replace") for text in column]
        starts = np.zeros(len(texts) + 1, np.int32)
        np.cumsum([len(text) for text in texts], out=starts[1:])
        return na.c_array_from_buffers(na.string(), len(texts), [None, starts, b"".join(texts)])
    if column.dtype == np.bool_:
        column = column.view(np.uint8)
    flat = np.ascontiguousarray(column).reshape(-1)
    numbers = na.c_array_from_buffers(getattr(na, str(column.dtype))(), len(flat), [None, flat])
    if column.ndim == 1:
        return numbers
    kind = na.fixed_size_list(na.Schema(numbers.schema), column.shape[1])
    return na.c_array_from_buffers(kind, len(column), [None], children=[numbers])


def decoded(stream: bytes) -> Iterator[Columns]:
    """Yield the batches of a stream that have rows; the stream need not have its end.

    Raises
    ------
    RecordError
        If it is no stream of the kinds that are written.
    """
    na = nanoarrow()
    try:
        with na.c_array_stream(na.ArrayStream.from_readable(stream)) as arrays:
            names = [child.name for child in arrays.get_schema().children]
            for array in arrays:
                if array.length == 0:  # the schema's own
                    continue
                yield {name: _column(array.child(c)) for c, name in enumerate(names)}
    except (na._utils.NanoarrowException, ValueError, KeyError) as error:  # noqa: SLF001 - it is public nowhere
        message = f"record: expected an Arrow IPC stream, found {error}"
        raise RecordError(message) from error


def _column(array: Any) -> Column:  # noqa: ANN401 - nanoarrow has no types
    kind, n, view = array.schema.format, array.length, array.view()
    if kind == "+l":
        return Ragged(_buffer(view, 1, np.int32, n + 1), _column(array.child(0)))  # type: ignore[arg-type]
    if kind.startswith("+w:"):
        return _column(array.child(0)).reshape(n, int(kind[3:]))  # type: ignore[union-attr]
    if kind == "u":
        starts, data = _buffer(view, 1, np.int32, n + 1), bytes(view.buffer(2))
        return [data[starts[i] : starts[i + 1]].decode() for i in range(n)]
    return _buffer(view, 1, np.dtype(_FORMATS[kind]), n)


def _buffer(view: Any, which: int, dtype: Any, n: int) -> NDArray[Any]:  # noqa: ANN401
    if n == 0:
        return np.zeros(0, dtype)
    data = np.frombuffer(view.buffer(which), dtype)[:n]
    return data.copy() if len(data) else np.zeros(n, dtype)  # no starts are written of no lists
