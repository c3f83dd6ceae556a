"""sampler: the draws of a hop as one kernel, number for number those of `Drawing`.

Imported where Triton is, which CUDA's builds of PyTorch bring.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Int
from torch import Tensor

from mtl.loaders.samplers._numbers import FIRST, GOLDEN, SECOND

ROWS = 64
"""Nodes that one program of the kernel draws for."""
_GOLDEN, _FIRST, _SECOND = tl.constexpr(GOLDEN), tl.constexpr(FIRST), tl.constexpr(SECOND)


def draw(
    start: Int[Tensor, " frontier"],
    degree: Int[Tensor, " frontier"],
    some: Bool[Tensor, " frontier"],
    ends: Int[Tensor, " frontier"],
    rank: Int[Tensor, " frontier"],
    k: int,
    num_edges: int,
    state: int,
    used: int,
    *,
    replace: bool,
) -> Int[Tensor, " drawn"]:
    """Return which edges are drawn, those of the same node together.

    Args:
        start: where the edges of each node begin.
        degree: how many there are.
        some: whether k of them are drawn; else all are taken.
        ends: how many are drawn of each node and those before it.
        rank: of how many nodes up to each some are drawn.
        k: from 1 on.
        num_edges: all that are drawn, one at least.
        state: of `Numbers`, of which the first `used` are not used again.
        used: see there.
        replace: draw the same edge again and again.
    """
    edges = torch.empty(num_edges, dtype=torch.long, device=start.device)
    size, width = len(start), triton.next_power_of_2(k)
    tables = start, degree, some, ends, rank, edges
    with torch.cuda.device_of(start):
        _draw[(triton.cdiv(size, ROWS),)](
            *(*tables, size, state, used, k, width, ROWS, replace), enable_fp_fusion=False
        )
    return edges


@triton.jit(do_not_specialize=["size", "state", "used"])
def _draw(
    start_of,
    degree_of,
    some_of,
    end_of,
    rank_of,
    edges,
    size,
    state,
    used,
    k: tl.constexpr,
    width: tl.constexpr,
    rows: tl.constexpr,
    replace: tl.constexpr,
):
    """Draw for `rows` nodes, one neighbour of each after the other (Floyd's rule)."""
    row = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    is_row = row < size
    start = tl.load(start_of + row, mask=is_row, other=0)
    degree = tl.load(degree_of + row, mask=is_row, other=0)
    some = tl.load(some_of + row, mask=is_row, other=0) != 0
    count = tl.where(some, k, degree)
    first = tl.load(end_of + row, mask=is_row, other=0) - count
    rank = tl.load(rank_of + row, mask=is_row, other=1) - 1  # of those that draw
    column = tl.arange(0, width)[None, :]
    picked = tl.full([rows, width], -1, tl.int64)
    for j in range(k):
        top = degree - 1 if replace else degree - k + j
        unit = _unit(rank * k + (j + 1) + used, state)
        drawn = tl.minimum((unit * (top + 1).to(tl.float64)).to(tl.int64), top)
        if not replace:
            again = tl.max((picked == drawn[:, None]).to(tl.int32), axis=1) > 0
            drawn = tl.where(again, top, drawn)
            picked = tl.where(column == j, drawn[:, None], picked)
        edge = start + tl.where(some, drawn, j)
        tl.store(edges + first + j, edge, mask=is_row & (some | (degree > j)))


@triton.jit
def _unit(number, state):
    """Return the n-th random number from 0 up to 1, see `Numbers`."""
    bits = number * _GOLDEN + state
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    bits = bits ^ _shifted(bits, 31)
    return _shifted(bits, 11).to(tl.float64) * 2.0**-53


@triton.jit
def _shifted(bits, by: tl.constexpr):
    return (bits >> by) & ((1 << (64 - by)) - 1)
