"""sampler: what a call hands out, in the types that PyG expects."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch_geometric.sampler import HeteroSamplerOutput, SamplerOutput

from mtl.graphs.schema import EdgeType
from mtl.loaders.samplers._compile import compiled
from mtl.loaders.samplers._scratch import EdgeScratch, NodeScratch, Scratch


def output_of(
    scratch: Scratch, *, disjoint: bool, heterogeneous: bool
) -> SamplerOutput | HeteroSamplerOutput:
    """Copy a subgraph out of the memory that the next call uses."""
    nodes, edges = scratch.nodes.items(), scratch.edges.items()
    written = {kind: _edges(its, scratch.nodes[kind[2]]) for kind, its in edges}
    row, col, edge, colptr = ({kind: part[i] for kind, part in written.items()} for i in range(4))
    parts: dict[str, dict[Any, Any]] = {
        "node": {name: _copy(its.nodes.array, its.count) for name, its in nodes},
        "row": row,
        "col": col,
        "edge": edge,
        "num_sampled_nodes": {name: its.hops for name, its in nodes},
        "num_sampled_edges": {kind: its.hops for kind, its in edges},
    }
    if disjoint:
        parts["batch"] = {name: _copy(its.tree, its.count) for name, its in nodes}
    return pack(parts, colptr, heterogeneous=heterogeneous)


def pack(
    parts: Mapping[str, Mapping[Any, Any]],
    colptr: Mapping[EdgeType, Tensor],
    *,
    heterogeneous: bool,
) -> SamplerOutput | HeteroSamplerOutput:
    """Hand out parts that are given by type in the class that PyG wants, with `colptr`."""
    if heterogeneous:
        output = HeteroSamplerOutput(**parts)
        output.colptr = colptr
        return output
    output = SamplerOutput(**{name: next(iter(part.values())) for name, part in parts.items()})
    output.colptr = next(iter(colptr.values()))
    return output


def _edges(edges: EdgeScratch, target: NodeScratch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return row, col, edge and colptr."""
    expanded = target.count - target.hops[-1] if edges.hops else 0
    # NumPy asks for huge pages, PyTorch does not: new memory costs half as much.
    source, destination, edge_id = (np.empty(edges.count, np.int64) for _ in range(3))
    ptr, position = edges.ptr.array, edges.position.array
    write_edges(ptr, expanded, position, edges.edge.array, source, destination, edge_id)
    row, col, edge = (torch.from_numpy(part) for part in (source, destination, edge_id))
    return row, col, edge, _copy(ptr, expanded + 1)


def _copy(array: Int[np.ndarray, " items"], count: int) -> Int[Tensor, " count"]:
    return torch.from_numpy(array[:count].astype(np.int64))


@compiled
def write_edges(ptr, expanded, position, edge, row, col, edge_id):  # type: ignore[no-untyped-def]
    """Write source, destination and id of each edge."""
    for e in range(row.shape[0]):
        row[e] = position[e]
    for e in range(row.shape[0]):
        edge_id[e] = edge[e]
    for i in range(expanded):
        for e in range(ptr[i], ptr[i + 1]):
            col[e] = i
