"""sampler: tell the processor what will be read soon."""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Bring the first item of `array[index]` into the cache: who reads it later need not wait."""
    number = ir.IntType(32)
    read, keep, data = number(0), number(3), number(1)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, index_kind = signature.args
        view = context.make_array(kind)(context, builder, arguments[0])
        first = context.cast(builder, arguments[1], index_kind, types.intp)
        place = [first, *[first.type(0)] * (kind.ndim - 1)]
        item = cgutils.get_item_pointer(context, builder, kind, view, place)
        pointer = builder.bitcast(item, cgutils.voidptr_t)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [pointer.type],
            ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number]),
        )
        builder.call(function, [pointer, read, keep, data])
        return context.get_dummy_value()

    return types.void(array, index), generate
