"""sampler: a graph that PyG holds: `NumbaSampler(topology_of(data), [10, 5])` serves it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Csc, Topology

NODE, EDGE = "node", ("node", "to", "node")


def topology_of(
    data: Data | HeteroData, *, weight_attr: str | None = None, time_attr: str | None = None
) -> Topology:
    """Return the topology of a graph in memory.

    Edges are sorted by destination, then source; `permutation` says which edge each was, and PyG's
    loaders use it to hand out `e_id` and edge attributes of the graph as it is.

    Args:
        data: its edges in any order.
        weight_attr: name of the edges' weight, as for PyG's NeighborLoader.
        time_attr: name of the time of nodes, edges or both.

    Raises:
        ValueError: an edge leads to a node that there is not.
    """
    nodes = dict(data.node_items()) if isinstance(data, HeteroData) else {NODE: data}
    stores = dict(data.edge_items()) if isinstance(data, HeteroData) else {EDGE: data}
    num_nodes = {kind: int(store.num_nodes or 0) for kind, store in nodes.items()}
    edges: dict[EdgeType, Csc] = {}
    permutation: dict[EdgeType, Tensor] = {}
    for kind, store in stores.items():
        ends = store.edge_index.cpu().numpy()
        for end, node_type in zip(ends, (kind[0], kind[2]), strict=True):
            if len(end) and not 0 <= end.min() <= end.max() < num_nodes[node_type]:
                raise ValueError(
                    f"edge_index of {'__'.join(kind)}: there is no {node_type} "
                    f"{end.min() if end.min() < 0 else end.max()}: 0 to {num_nodes[node_type] - 1}"
                )
        row, col = ends
        order = np.lexsort((row, col))
        colptr = np.searchsorted(col[order], np.arange(num_nodes[kind[2]] + 1))
        small = num_nodes[kind[0]] < 2**31
        edges[kind] = Csc(
            colptr.astype(np.int64),
            row[order].astype(np.int32 if small else np.int64),
            _values(store, weight_attr, order, len(row)),
            _values(store, time_attr, order, len(row)),
        )
        permutation[kind] = torch.from_numpy(order)
    time = {
        kind: values
        for kind, store in nodes.items()
        if (values := _values(store, time_attr, slice(None), num_nodes[kind])) is not None
    }
    return Topology(num_nodes, edges, time, permutation)


def _values(
    store: Any, name: str | None, order: np.ndarray | slice, count: int
) -> np.ndarray | None:
    """Return one value a row, where the rows of this store have it."""
    if name is None or name not in store or len(store[name]) != count:
        return None  # of a Data, nodes and edges are one store
    array: np.ndarray = store[name].cpu().numpy()[order]
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
