"""stream: which destinations have edges of a type; with dozens of types most have none of most."""

from collections.abc import Mapping
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor

from mtl.graphs.schema import EdgeType
from mtl.loaders.samplers._tensors import known, rows_of
from mtl.loaders.transfer import moved

Listed = tuple[Int[Tensor, " listed"], Int[Tensor, " listed_and_one"], list[int]]
"""`listed`, `colptr` and `num_listed`, as `MicrobatchLoader` says."""


def all_listed(colptr: Int[Tensor, " nodes_and_one"], num_nodes: list[int]) -> Listed:
    """List every destination.

    Args:
        colptr: where the edges of each begin.
        num_nodes: how many nodes each hop has found, seeds first.
    """
    return torch.arange(len(colptr) - 1, device=colptr.device), colptr, _within(num_nodes)


def listed_by_type(
    colptr: Mapping[EdgeType, Int[Tensor, " nodes_and_one"]], num_nodes: Mapping[str, list[int]]
) -> dict[EdgeType, Listed]:
    """List of each type the destinations that have edges of it; wait for the device once."""
    if not colptr:
        return {}
    starts = list(accumulate((len(pointer) - 1 for pointer in colptr.values()), initial=0))
    has = torch.cat([pointer.diff() > 0 for pointer in colptr.values()])
    ends = torch.tensor(
        [
            [start + end for end in _within(num_nodes[kind[2]])]
            for kind, start in zip(colptr, starts, strict=False)
        ]
    )
    before = torch.cat([has.new_zeros(1, dtype=torch.long), has.cumsum(0)])
    counts = before[moved(ends, has.device)].tolist()  # the last of each type is all of it
    everything = torch.split(known(has, counts[-1][-1]), [its[-1] - its[0] for its in counts])
    found = {}
    for (kind, pointer), start, its, part in zip(
        colptr.items(), starts, counts, everything, strict=False
    ):
        listed = part - start
        kept = torch.cat([rows_of(pointer, listed), pointer[-1:]])
        found[kind] = listed, kept, [count - its[0] for count in its]
    return found


def _within(num_nodes: list[int]) -> list[int]:
    """Return how many destinations there are within 0, 1, ... hops."""
    return list(accumulate(num_nodes[:-1], initial=0))
