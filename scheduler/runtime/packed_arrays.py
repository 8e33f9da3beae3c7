"""Arrays handed over to kernels as one address.

Numba takes every array of an argument apart in every call, 0.15 us each: the 90 arrays of a state took 15 us.
Here that is done once: what numba makes of a NamedTuple of arrays is written to memory and read back from there.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

import numpy as np
from llvmlite import ir
from numba import config, typeof, types
from numba.core import cgutils
from numba.extending import NativeValue, intrinsic, models, register_model, unbox

from scheduler.runtime.jit import kernel

T = TypeVar("T")

ARRAY_WORDS = 5
"""Words of 8 bytes that numba keeps of an array, beside shape and strides."""


class PackedType(types.Type):
    """Numba's type of a `PackedArrays`, by the type of what is in it."""

    def __init__(self, content: Any) -> None:
        self.content = content
        super().__init__(name=f"Packed({content})")


@register_model(PackedType)
class _PackedModel(models.PrimitiveModel):
    """An address."""

    def __init__(self, manager: Any, kind: PackedType) -> None:
        super().__init__(manager, kind, ir.IntType(64))


class PackedArrays(Generic[T]):
    """A NamedTuple of arrays, numbers and such tuples, taken apart for kernels, which `unpack_arrays` gives it back.

    Arrays may change what they hold. Another array in the place of one needs another `PackedArrays`.

    Attributes
    ----------
    content
        The NamedTuple, which keeps its arrays alive.
    address
        Where its parts are written.
    """

    __slots__ = ("_block", "_numba_type_", "address", "content")

    def __init__(self, content: T) -> None:
        self.content = content
        self._block = np.zeros(_words(content), np.int64)
        self.address = self._block.ctypes.data
        self._numba_type_ = _packed_type(content)
        _write(content, self._block)

    def __reduce__(self) -> tuple[type, tuple[T]]:
        """Pack the content anew where it is copied or unpickled: its arrays have other addresses there."""
        return PackedArrays, (self.content,)


def _packed_type(content: Any) -> PackedType:
    """Return numba's type of packed content, which it takes a millisecond to make for the arrays of a state."""
    kind = _kind(content)
    found = _TYPES.get(kind)
    if found is None:
        found = _TYPES[kind] = PackedType(typeof(content))
    return found


_TYPES: dict[Hashable, PackedType] = {}
"""Numba's types by `_kind`: a few for each model."""


def _kind(content: Any) -> Hashable:
    """Return all that numba's type of a value depends on."""
    if isinstance(content, np.ndarray):
        return content.dtype, content.ndim, content.flags.num
    return (type(content), *map(_kind, content)) if isinstance(content, tuple) else typeof(content)


def _words(content: Any) -> int:
    """Return how many words of 8 bytes a value takes at most."""
    if isinstance(content, tuple):
        return sum(map(_words, content))
    return ARRAY_WORDS + 2 * content.ndim if isinstance(content, np.ndarray) else 1


@unbox(PackedType)
def _unbox(kind: PackedType, value: Any, c: Any) -> NativeValue:  # noqa: ARG001 - numba passes the type
    address = c.pyapi.object_getattr_string(value, "address")
    native = c.pyapi.long_as_ulonglong(address)
    c.pyapi.decref(address)
    return NativeValue(native)


def _store(typing: Any, content: Any, block: Any) -> Any:  # noqa: ARG001
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = context.make_array(signature.args[1])(context, builder, args[1]).data
        builder.store(args[0], builder.bitcast(start, args[0].type.as_pointer()))
        return context.get_dummy_value()

    return types.void(content, block), code


def _load_parts(builder: Any, pointer: Any) -> Any:
    """Return the value at a pointer, each part loaded by itself: those that are not used cost nothing."""
    kind = pointer.type.pointee
    if not isinstance(kind, ir.BaseStructType | ir.ArrayType):
        part = builder.load(pointer)
        part.set_metadata("invariant.load", builder.module.add_metadata([]))
        return part
    value = ir.Constant(kind, ir.Undefined)
    for i in range(len(kind.elements) if isinstance(kind, ir.BaseStructType) else kind.count):
        part = _load_parts(builder, cgutils.gep_inbounds(builder, pointer, 0, i))
        value = builder.insert_value(value, part, i)
    return value


def _open(typing: Any, packed: Any) -> Any:  # noqa: ARG001
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not isinstance(packed, PackedType):
            return args[0]
        kind = context.get_value_type(signature.return_type)
        return _load_parts(builder, builder.inttoptr(args[0], kind.as_pointer()))

    return (packed.content if isinstance(packed, PackedType) else packed)(packed), code


def _plain_store(content: Any, block: Any) -> None:
    """Do nothing: without the JIT kernels take the content itself."""


def _plain_open(packed: Any) -> Any:
    return packed.content if isinstance(packed, PackedArrays) else packed


if config.DISABLE_JIT:
    store, unpack_arrays = _plain_store, _plain_open
else:
    store, unpack_arrays = intrinsic(_store), intrinsic(_open)
"""``unpack_arrays(packed)`` is the content, whether packed or not."""


@kernel
def _write(content: Any, block: np.ndarray) -> None:
    store(content, block)
