"""encoder: weighted sums over in-neighbours, without a message per edge.

`embedding_bag` reads the rows of the sources straight into the sum of each destination. Measured on
620 k edges, 100 features, 2 cores: 31 ms in float32 and 9 ms in bfloat16 (summed in float32), where
sparse CSR products take 55 ms and know no bfloat16, and gathering messages takes 311 ms.

So does its CUDA kernel: a thread for each destination and column adds up in float32, in the order
of the edges, with int32 indices as they are. Nothing here asks the device for a number.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor


def weighted_sum(
    x: Float[Tensor, "sources *tasks dim"],
    weight: Float[Tensor, " edges"],
    colptr: Int[Tensor, " destinations_and_one"],
    row: Int[Tensor, " edges"],
) -> Float[Tensor, "destinations *tasks dim"]:
    """Return `sum_e weight[e] * x[row[e]]` over the edges e of each destination.

    Differentiable in x alone. Under autocast in its type, each sum in float32; else as x is.
    """
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    dtype = torch.float64 if x.dtype == torch.float64 else dtype
    # compiled it is an operation that nobody looks into; else that would cost 0.1 ms more
    sums = _opaque_sum if torch.compiler.is_compiling() else _WeightedSum.apply
    flat: Tensor = sums(  # type: ignore[no-untyped-call]
        x.flatten(1).to(dtype), weight.to(dtype), colptr, row
    )
    return flat.view(colptr.size(0) - 1, *x.shape[1:])


class _WeightedSum(torch.autograd.Function):
    """y = A x with A in CSR form; the gradient is A^T g, summed in the order of the edges."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, colptr: Tensor, row: Tensor) -> Tensor:
        ctx.save_for_backward(weight, colptr, row)
        ctx.num_sources = len(x)
        return _product(weight, colptr, row, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        weight, colptr, row = ctx.saved_tensors
        return _transposed(weight, colptr, row, grad, ctx.num_sources), None, None, None


def _product(weight: Tensor, pointer: Tensor, index: Tensor, x: Tensor) -> Tensor:
    """Return A x."""
    if not len(index):
        return x.new_zeros(len(pointer) - 1, x.shape[1])
    return F.embedding_bag(
        index,
        x.contiguous(),
        pointer,
        mode="sum",
        per_sample_weights=weight,
        include_last_offset=True,
    )


def _transposed(
    weight: Tensor, colptr: Tensor, row: Tensor, grad: Tensor, num_sources: int
) -> Tensor:
    """Return A^T g."""
    source, by_source = torch.sort(row, stable=True)
    destination = torch.repeat_interleave(colptr.diff(), output_size=len(row))[by_source]
    rowptr = torch._convert_indices_from_coo_to_csr(
        source, num_sources, out_int32=row.dtype == torch.int32
    )
    return _product(weight[by_source], rowptr, destination.to(row.dtype), grad)


@torch.library.custom_op("graphmtl::weighted_sum", mutates_args=())
def _opaque_sum(x: Tensor, weight: Tensor, colptr: Tensor, row: Tensor) -> Tensor:
    return _product(weight, colptr, row, x)


@torch.library.custom_op("graphmtl::weighted_sum_transposed", mutates_args=())
def _opaque_transposed(
    weight: Tensor, colptr: Tensor, row: Tensor, grad: Tensor, num_sources: int
) -> Tensor:
    return _transposed(weight, colptr, row, grad, num_sources)


@_opaque_sum.register_fake
def _(x: Tensor, weight: Tensor, colptr: Tensor, row: Tensor) -> Tensor:
    return x.new_empty(colptr.size(0) - 1, x.size(1))


@_opaque_transposed.register_fake
def _(weight: Tensor, colptr: Tensor, row: Tensor, grad: Tensor, num_sources: int) -> Tensor:
    return grad.new_empty(num_sources, grad.size(1))


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    x, *others = inputs
    ctx.save_for_backward(*others)
    ctx.num_sources = x.size(0)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    return _opaque_transposed(*ctx.saved_tensors, grad, ctx.num_sources), None, None, None


_opaque_sum.register_autograd(_backward, setup_context=_keep)
