"""What the plain loops cannot say to the compiler: vector instructions written as LLVM IR, for the forest's kernels.

Only generic vector operations are used, which LLVM lowers to what the processor has, so they run anywhere. Each
function has a plain twin of the same arguments, which runs when the JIT is off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))

F32, F64 = ir.FloatType(), ir.DoubleType()

INT = types.int64

UNROLLED = 3
"""Loops of up to so many rounds get code of their own: levels of a search tree (512 bounds, more than LightGBM's
255 bins), and pair features."""


def vector(kind: Any, lanes: int) -> Any:
    """LLVM's type of `lanes` values."""
    return ir.VectorType(kind, lanes)


def constant(lanes: int, value: int) -> Any:
    """`value` in each 32-bit lane."""
    return ir.Constant(vector(I32, lanes), [value] * lanes)


def or_plain(plain: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Take the plain twin when the JIT is off, else the intrinsic."""

    def choose(typing: Callable[..., Any]) -> Callable[..., Any]:
        return plain if config.DISABLE_JIT else intrinsic(typing)

    return choose


def check_contiguous(*arrays: Any) -> None:
    """Addresses are counted from the first byte, so another layout would be read wrongly."""
    for array in arrays:
        if array.layout != "C":
            message = f"expected contiguous arrays, found {array}"
            raise TypingError(message)


class Code:
    """An LLVM builder with the arguments of an intrinsic; addresses are integers."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.context, self.builder, self.args = context, builder, args
        self.kinds = signature.args

    def _array(self, number: int) -> Any:
        return self.context.make_array(self.kinds[number])(self.context, self.builder, self.args[number])

    def start(self, number: int) -> Any:
        """Address of an array argument's first byte."""
        return self.builder.ptrtoint(self._array(number).data, I64)

    def size(self, number: int, axis: int) -> Any:
        """Length of an array argument along an axis."""
        return cgutils.unpack_tuple(self.builder, self._array(number).shape)[axis]

    def stride(self, number: int) -> Any:
        """Bytes from one item of a one-dimensional array argument to the next."""
        return cgutils.unpack_tuple(self.builder, self._array(number).strides)[0]

    def place(self, start: Any, index: Any, step: int = 8) -> Any:
        """Address of item `index` of `step` bytes each."""
        return self.builder.add(start, self.builder.mul(index, I64(step)))

    def load(self, at: Any, kind: Any, align: int = 8) -> Any:
        """Value at an address."""
        value = self.builder.load(self.builder.inttoptr(at, kind.as_pointer()))
        value.align = align
        return value

    def store(self, value: Any, at: Any, align: int = 8) -> None:
        """Write a value to an address."""
        self.builder.store(value, self.builder.inttoptr(at, value.type.as_pointer())).align = align

    def item(self, start: Any, index: Any) -> Any:
        """Integer number `index` of an array."""
        return self.load(self.place(start, index), I64)

    def loop(self, count: Any) -> Any:
        """Count from 0: `with code.loop(n) as i`; the value has `.index`."""
        return cgutils.for_range(self.builder, count)

    def fold(self, first: Any, rounds: Any, step: Callable[[Any, Any], Any]) -> Any:
        """`step(i, value)` from `first` for i in `rounds`, which is a Python range or an LLVM count."""
        if isinstance(rounds, range):
            for i in rounds:
                first = step(I64(i), first)
            return first
        slot = cgutils.alloca_once(self.builder, first.type)
        self.builder.store(first, slot)
        with self.loop(rounds) as loop:
            self.builder.store(step(loop.index, self.builder.load(slot)), slot)
        return self.builder.load(slot)

    def unroll(self, count: Any, body: Callable[[Any], None], fixed: int = 1) -> None:
        """`body(range(count))` for counts up to `UNROLLED`, else `body(count)`."""
        if fixed > UNROLLED:
            body(count)
            return
        with self.builder.if_else(self.builder.icmp_signed("==", count, I64(fixed))) as (yes, no):
            with yes:
                body(range(fixed))
            with no:
                self.unroll(count, body, fixed + 1)

    def call(self, name: str, result: Any, *values: Any) -> Any:
        """Call one of LLVM's own functions."""
        signature = ir.FunctionType(result, [value.type for value in values])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, name), values)

    def prefetch(self, at: Any) -> None:
        """Ask for a line, into the second level: a tile's rows would drive everything else out of the first.

        The hint for the first level cost a sixth of all time, a half where rows come from memory.
        """
        self.call("llvm.prefetch.p0", ir.VoidType(), self.builder.inttoptr(at, I8.as_pointer()), I32(0), I32(2), I32(1))

    def broadcast(self, value: Any, lanes: int) -> Any:
        """`value` in every lane."""
        first = self.builder.insert_element(ir.Constant(vector(value.type, lanes), ir.Undefined), value, I32(0))
        return self.builder.shuffle_vector(first, first, constant(lanes, 0))
