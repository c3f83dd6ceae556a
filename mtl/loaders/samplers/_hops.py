"""sampler: how many nodes and edges each hop found, read from the order in which they stand."""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from mtl.graphs.schema import EdgeType

Hops = tuple[dict[str, list[int]], dict[EdgeType, list[int]]]


def count_hops(
    num_seeds: Mapping[str, int],
    row: Mapping[EdgeType, Int[Tensor, " edges"]],
    col: Mapping[EdgeType, Int[Tensor, " edges"]],
    num_hops: int,
) -> Hops:
    """Return `num_sampled_nodes` and `num_sampled_edges`.

    Edges are sorted by destination and nodes are numbered as found, so a hop's edges are those to
    the nodes so far, and the largest number among their sources is the last node found.
    """
    nodes = {name: [number] for name, number in num_seeds.items()}
    edges: dict[EdgeType, list[int]] = {kind: [] for kind in row}
    for _ in range(num_hops):
        last = {name: sum(hops) for name, hops in nodes.items()}
        found = dict(last)
        for kind, its in edges.items():
            begin, end = sum(its), int((col[kind] < last[kind[2]]).sum())
            its.append(end - begin)
            if end > begin:
                newest = int(row[kind][begin:end].max())
                found[kind[0]] = max(found[kind[0]], newest + 1)
        for name, hops in nodes.items():
            hops.append(found[name] - last[name])
    return nodes, edges


def colptr_of(col: Int[Tensor, " edges"], hops: list[int]) -> Int[Tensor, " expanded_and_one"]:
    """Return where the edges of each node of all hops but the last start."""
    return torch.searchsorted(col, torch.arange(sum(hops[:-1]) + 1))
