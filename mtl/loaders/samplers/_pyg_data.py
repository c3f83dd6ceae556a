"""sampler: a topology as PyG's samplers read it."""

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from mtl.errors import ConfigError
from mtl.graphs.topology import Topology

WEIGHT, TIME = "weight", "time"


def pyg_data(topology: Topology, *, weighted: bool, timed: bool) -> Data | HeteroData:
    """Return the edges, with weights and times where those play a part.

    Raises:
        ConfigError: nodes and edges have times, of which PyG takes one.
    """
    data = HeteroData()
    for name, number in topology.num_nodes.items():
        data[name].num_nodes = number
        if timed and name in topology.time:
            data[name][TIME] = _tensor(topology.time[name])
    for kind, csc in topology.edges.items():
        col = np.repeat(np.arange(len(csc.colptr) - 1), np.diff(csc.colptr))
        data[kind].edge_index = torch.stack([_tensor(csc.row).long(), _tensor(col)])
        if weighted and csc.weight is not None:
            data[kind][WEIGHT] = _tensor(csc.weight)
        if timed and csc.time is not None:
            data[kind][TIME] = _tensor(csc.time)
    if timed and topology.time and any(csc.time is not None for csc in topology.edges.values()):
        raise ConfigError(
            "backend: pyg takes the times of nodes or those of edges, and the graph has "
            "both; use numba"
        )
    return (
        data
        if topology.is_heterogeneous
        else data.to_homogeneous(add_node_type=False, add_edge_type=False)
    )


def _tensor(array: Shaped[np.ndarray, " items"]) -> Shaped[Tensor, " items"]:
    return torch.from_numpy(np.ascontiguousarray(array))
