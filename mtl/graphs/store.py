"""GraphStore: a graph folder as memory-mapped tensors; every process of a machine shares it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, FeatureStore, HeteroData

from mtl.errors import ConfigError
from mtl.graphs._memory import memory_bytes
from mtl.graphs.card import card
from mtl.graphs.files import check_files, open_array
from mtl.graphs.ids import Ids
from mtl.graphs.labels import Label
from mtl.graphs.schema import ArrayInfo, EdgeInfo, EdgeType, NodeInfo, Owner, OwnerInfo, text
from mtl.graphs.topology import Csc, Topology
from mtl.plugin import nearest

__all__ = ["GraphStore", "Label"]


class GraphStore:
    """Read a graph folder; `open_graph` also checks what its arrays hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info = check_files(folder)
        self.name = self.info.name
        self.fingerprint = self.info.fingerprint
        size = sum(array.num_bytes for array in self.info.arrays())
        self._read_ahead = size < memory_bytes()
        self.shards: FeatureStore | None = None
        """Who has the features of nodes, where this process does not hold all of them."""
        self._edges = {edge.edge_type: edge for edge in self.info.edges}
        self._topology = Topology(
            num_nodes={node_type: node.num_nodes for node_type, node in self.info.nodes.items()},
            edges={edge_type: self._csc(edge) for edge_type, edge in self._edges.items()},
            time={
                node_type: self._open(node.time)
                for node_type, node in self.info.nodes.items()
                if node.time
            },
        )

    @property
    def node_types(self) -> list[str]:
        """Node types; ["node"] for a homogeneous graph."""
        return list(self.info.nodes)

    @property
    def edge_types(self) -> list[EdgeType]:
        """Edge types (source, relation, destination); [("node", "to", "node")] if homogeneous."""
        return list(self._edges)

    @property
    def is_heterogeneous(self) -> bool:
        """Whether there are several types of nodes or of edges."""
        return self._topology.is_heterogeneous

    def num_nodes(self, node_type: str) -> int:
        """Count the nodes of a type."""
        return self._node(node_type).num_nodes

    def topology(self) -> Topology:
        """Return what a sampler needs; its arrays are the maps."""
        return self._topology

    def csc(self, edge_type: EdgeType) -> tuple[np.ndarray, np.ndarray]:
        """Return the maps of colptr [num_dst + 1] and row [num_edges]."""
        csc = self._topology.edges[self._edge(edge_type).edge_type]
        return csc.colptr, csc.row

    def reverse(self, edge_type: EdgeType) -> EdgeType | None:
        """Return the relation that holds the same edges the other way round, if one is known."""
        edge = self._edge(edge_type)
        if edge.reverse:
            return edge.reverse
        return next((e.edge_type for e in self.info.edges if e.reverse == edge_type), None)

    def features(self, node_type: str) -> Tensor | None:
        """Return the map of [num_nodes, num_features], or None if the type has no features."""
        return self._tensor(self._node(node_type).features)

    def edge_features(self, edge_type: EdgeType) -> Tensor | None:
        """Return the map of [num_edges, num_features] in CSC order, or None if there is none."""
        return self._tensor(self._edge(edge_type).features)

    def time(self, node_type: str) -> np.ndarray | None:
        """Return the map of when each node came to be, or None if that is not known."""
        self._node(node_type)
        return self._topology.time.get(node_type)

    def ids(self, node_type: str) -> Ids | None:
        """Return the user's own ids of the nodes, or None if they have none but their row."""
        ids = self._node(node_type).ids
        if ids is None:
            return None
        values, *offsets = (self._open(array) for array in ids.arrays())
        return Ids(node_type, values, *offsets)

    def label(self, owner: Owner, name: str) -> Label:
        """Return a label of a node type or an edge type.

        Raises:
            ConfigError: there is none of this name; names those that exist.
        """
        labels = self._owner(owner).labels
        if name not in labels:
            raise ConfigError(_unknown(_named(owner), "label", name, list(labels)))
        info = labels[name]
        values = self._open(info.array)
        return Label(name, info.kind, values, info.num_classes, dict(info.best), info.classes)

    def labels(self, owner: Owner) -> dict[str, Label]:
        """Return all labels of a node type or an edge type by name."""
        return {name: self.label(owner, name) for name in self._owner(owner).labels}

    def split(self, owner: Owner, name: str | None = None) -> np.ndarray:
        """Return a split as uint8 [rows]: 0 none, 1 train, 2 val, 3 test.

        Args:
            owner: a node type, or an edge type, whose rows are the edges in CSC order.
            name: of the split; None is the type's first.

        Raises:
            ConfigError: there is none of this name; names those that exist.
        """
        splits = self._owner(owner).splits
        wanted = next(iter(splits), None) if name is None else name
        if wanted not in splits:
            raise ConfigError(_unknown(_named(owner), "split", name, list(splits)))
        return self._open(splits[wanted])

    def splits(self, owner: Owner) -> list[str]:
        """Return the names of a type's splits, the default one first."""
        return list(self._owner(owner).splits)

    def data(self) -> Data | HeteroData:
        """Return the graph for PyG's loaders: its tensors are the maps.

        The sampler owns the topology, so `edge_index` is one element expanded to [2, num_edges]
        (with an empty one PyG returns edge attributes unfiltered).
        """
        data = HeteroData() if self.is_heterogeneous else Data()
        for node_type in self.node_types:
            nodes = data[node_type] if self.is_heterogeneous else data
            nodes.num_nodes = self.num_nodes(node_type)
            if (features := self.features(node_type)) is not None:
                nodes.x = features
        for edge_type, edge in self._edges.items():
            edges = data[edge_type] if self.is_heterogeneous else data
            edges.edge_index = torch.zeros(1, dtype=torch.long).expand(2, edge.num_edges)
            if (features := self.edge_features(edge_type)) is not None:
                edges.edge_attr = features
        return data

    def card(self) -> dict[str, Any]:
        """Describe the graph in plain JSON: the dataset card."""
        return card(self)

    @property
    def collections(self) -> list[str]:
        """Names of the collections of small graphs."""
        return list(self.info.collections)

    def members(self, collection: str) -> tuple[str, np.ndarray]:
        """Return the node type of a collection, and where the nodes of each graph begin."""
        info = self.info.collections[collection]
        return info.node_type, self._open(info.graph_ptr)

    def _open(self, array: ArrayInfo) -> np.ndarray:
        return open_array(self.folder, array, read_ahead=self._read_ahead)

    def _csc(self, edge: EdgeInfo) -> Csc:
        def opened(array: ArrayInfo | None) -> np.ndarray | None:
            return None if array is None else self._open(array)

        colptr, row = self._open(edge.colptr), self._open(edge.row)
        return Csc(colptr, row, opened(edge.weight), opened(edge.time))

    def _tensor(self, info: ArrayInfo | None) -> Tensor | None:
        if info is None:
            return None
        tensor = torch.from_numpy(self._open(info))
        return tensor.view(torch.bfloat16) if info.dtype == "bfloat16" else tensor

    def _node(self, node_type: str) -> NodeInfo:
        if node_type not in self.info.nodes:
            raise ConfigError(_unknown("the graph", "node type", node_type, self.node_types))
        return self.info.nodes[node_type]

    def _edge(self, edge_type: EdgeType) -> EdgeInfo:
        if edge_type not in self._edges:
            raise ConfigError(_unknown("the graph", "edge type", edge_type, self.edge_types))
        return self._edges[edge_type]

    def _owner(self, owner: Owner) -> OwnerInfo:
        if isinstance(owner, str) and owner in self.info.collections:
            return self.info.collections[owner]
        return self._node(owner) if isinstance(owner, str) else self._edge(owner)


def _named(owner: Owner) -> str:
    return f"{'node' if isinstance(owner, str) else 'edge'} type {text(owner)!r}"


def _unknown(owner: str, what: str, name: object, allowed: list[Any]) -> str:
    names = ", ".join(map(str, allowed)) or "none"
    found = f"no {what}" if name is None else f"no {what} {name!r}"
    hint = nearest(name, [str(option) for option in allowed])
    return f"{owner} has {found}{hint} (there are: {names})"
