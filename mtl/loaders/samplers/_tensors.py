"""sampler: one hop along edges of one type, as operations on whole tensors of any device."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from mtl.loaders.samplers._removed import Removed


def draw(
    colptr: Int[Tensor, " destinations_and_one"],
    nodes: Int[Tensor, " frontier"],
    k: int,
    removed: Sequence[Removed],
    generator: torch.Generator,
    *,
    replace: bool,
) -> tuple[Int[Tensor, " frontier"], Int[Tensor, " drawn"]]:
    """Draw in-edges of nodes, each as likely.

    Args:
        colptr: where the edges of each node begin.
        nodes: whose edges are drawn.
        k: edges of each node; -1 takes all.
        removed: edges that are not there.
        generator: of random numbers, on the device.
        replace: draw the same edge again and again.

    Returns:
        How many edges each node gets, and which.
    """
    start, end = colptr[nodes], colptr[nodes + 1]
    for layer in removed:
        start, end = layer.without(start), layer.without(end)
    degree = end - start
    everything = k < 0
    drawn = torch.zeros_like(degree, dtype=torch.bool) if everything else degree > k
    if replace and not everything:
        drawn = degree > 0
    counts = torch.where(drawn, k, degree)
    first = counts.cumsum(0) - counts
    total = int(counts.sum())
    edges = torch.arange(total, device=nodes.device)
    edges += torch.repeat_interleave(start - first, counts, output_size=total)
    some = drawn.nonzero().view(-1)
    if len(some) and k:
        pick = _with_replacement if replace else _without_replacement
        slots = first[some, None] + torch.arange(k, device=nodes.device)
        edges[slots] = start[some, None] + pick(degree[some], k, generator)
    for layer in reversed(removed):
        edges = layer.restore(edges)
    return counts, edges


def place(
    places: Int[Tensor, " nodes"], found: Int[Tensor, " drawn"], count: int
) -> tuple[Int[Tensor, " drawn"], Int[Tensor, " fresh"]]:
    """Number nodes in the order in which they are found first.

    Args:
        places: of all nodes of the graph in the subgraph; -1 where they are not in it; updated.
        found: nodes.
        count: nodes that are in the subgraph already.

    Returns:
        The place of each, and those that are new.
    """
    new = (places[found] < 0).nonzero().view(-1)
    nodes = found[new]
    # The least position wins whatever the order of the writes: it is the greatest of -2 - position.
    mark = (-2 - new).to(places.dtype)
    places.scatter_reduce_(0, nodes, mark, "amax", include_self=False)
    fresh = nodes[places[nodes] == mark]
    places[fresh] = torch.arange(
        count, count + len(fresh), device=places.device, dtype=places.dtype
    )
    return places[found].long(), fresh


def _without_replacement(
    degree: Int[Tensor, " rows"], k: int, generator: torch.Generator
) -> Int[Tensor, "rows k"]:
    """Pick k different ones of each, every subset equally likely (Bentley and Floyd, 1987)."""
    picks = degree.new_empty(len(degree), k)
    for column in range(k):
        top = degree - k + column
        number = _below(top + 1, generator)
        taken = (picks[:, :column] == number[:, None]).any(1)
        picks[:, column] = torch.where(taken, top, number)
    return picks


def _with_replacement(
    degree: Int[Tensor, " rows"], k: int, generator: torch.Generator
) -> Int[Tensor, "rows k"]:
    """Pick k times one of each."""
    return _below(degree[:, None].expand(-1, k), generator)


def _below(bound: Int[Tensor, "*shape"], generator: torch.Generator) -> Int[Tensor, "*shape"]:
    """Return a number from 0 to bound - 1 for each."""
    unit = torch.rand(bound.shape, generator=generator, device=bound.device, dtype=torch.float64)
    return (unit * bound).long().minimum(bound - 1)
