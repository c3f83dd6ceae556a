"""GraphStore: a graph folder as memory-mapped tensors; every process of a machine shares it."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from mtl.errors import ConfigError
from mtl.graphs.card import card
from mtl.graphs.files import check_files, open_array
from mtl.graphs.schema import EdgeType, Kind, LabelInfo, NodeInfo
from mtl.plugin import nearest


@dataclass(frozen=True, eq=False)
class Label:
    """What is known of every node of a type.

    Attributes:
        name: of the label.
        kind: class, multilabel or regression.
        values: class int32 [num_nodes], missing -1; multilabel int8 [num_nodes, num_classes] of
            0 and 1, missing -1; regression float32 [num_nodes], missing NaN.
        num_classes: classes, or columns of a multilabel; 1 for a regression.
        best: metric -> best reachable score, where the source knows it.
    """

    name: str
    kind: Kind
    values: np.ndarray
    num_classes: int
    best: dict[str, float] = field(default_factory=dict)

    def labelled(self, ids: np.ndarray) -> np.ndarray:
        """Say which of these nodes have the label: bool [len(ids)]; any column is enough."""
        values = np.asarray(self.values[ids])
        if self.kind == "regression":
            return np.asarray(~np.isnan(values))
        known = np.asarray(values >= 0)
        return np.asarray(known.any(axis=1)) if self.kind == "multilabel" else known


class GraphStore:
    """Read a graph folder; `open_graph` also checks what its arrays hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info = check_files(folder)
        self.name = self.info.name
        hashes = [array.sha256 for array in self.info.arrays()]
        types = [*self.info.nodes, *(edge.edge_type for edge in self.info.edges)]
        self.fingerprint = hashlib.sha256(repr((types, hashes)).encode()).hexdigest()
        self._edges = {
            edge.edge_type: (open_array(folder, edge.colptr), open_array(folder, edge.row))
            for edge in self.info.edges
        }
        self._features = {
            node_type: _tensor(open_array(folder, node.features), node.features.dtype)
            for node_type, node in self.info.nodes.items()
            if node.features
        }

    @property
    def node_types(self) -> list[str]:
        """Node types; ["node"] for a homogeneous graph."""
        return list(self.info.nodes)

    @property
    def edge_types(self) -> list[EdgeType]:
        """Edge types (source, relation, destination); [("node", "to", "node")] if homogeneous."""
        return list(self._edges)

    def num_nodes(self, node_type: str) -> int:
        """Count the nodes of a type."""
        return self._node(node_type).num_nodes

    def features(self, node_type: str) -> Tensor | None:
        """Return the map of [num_nodes, num_features], or None if the type has no features."""
        self._node(node_type)
        return self._features.get(node_type)

    def csc(self, edge_type: EdgeType) -> tuple[np.ndarray, np.ndarray]:
        """Return the maps of colptr [num_dst + 1] and row [num_edges]."""
        if edge_type not in self._edges:
            raise ConfigError(_unknown("the graph", "edge type", edge_type, self.edge_types))
        return self._edges[edge_type]

    def label(self, node_type: str, name: str) -> Label:
        """Return a label.

        Raises:
            ConfigError: there is none of this name; names those that exist.
        """
        labels = self._node(node_type).labels
        if name not in labels:
            raise ConfigError(_unknown(f"node type {node_type!r}", "label", name, list(labels)))
        return self._open(name, labels[name])

    def labels(self, node_type: str) -> dict[str, Label]:
        """Return all labels of a node type by name."""
        labels = self._node(node_type).labels
        return {name: self._open(name, info) for name, info in labels.items()}

    def split(self, node_type: str, name: str | None = None) -> np.ndarray:
        """Return a split as uint8 [num_nodes]: 0 none, 1 train, 2 val, 3 test.

        Args:
            node_type: of the nodes.
            name: of the split; None is the type's first.

        Raises:
            ConfigError: there is none of this name; names those that exist.
        """
        splits = self._node(node_type).splits
        wanted = next(iter(splits), None) if name is None else name
        if wanted not in splits:
            raise ConfigError(_unknown(f"node type {node_type!r}", "split", name, list(splits)))
        return open_array(self.folder, splits[wanted])

    def splits(self, node_type: str) -> list[str]:
        """Return the names of a type's splits, the default one first."""
        return list(self._node(node_type).splits)

    def data(self) -> Data | HeteroData:
        """Return the graph for PyG's loaders: its tensors are the maps.

        The sampler owns the topology, so `edge_index` is one element expanded to [2, num_edges]
        (with an empty one PyG returns edge attributes unfiltered).
        """
        homogeneous = len(self.node_types) == 1 and len(self.edge_types) == 1
        data = Data() if homogeneous else HeteroData()
        for node_type in self.node_types:
            nodes = data if homogeneous else data[node_type]
            nodes.num_nodes = self.num_nodes(node_type)
            if (features := self.features(node_type)) is not None:
                nodes.x = features
        for edge_type, (_, row) in self._edges.items():
            edges = data if homogeneous else data[edge_type]
            edges.edge_index = torch.zeros(1, dtype=torch.long).expand(2, len(row))
        return data

    def card(self) -> dict[str, Any]:
        """Describe the graph in plain JSON: the dataset card."""
        return card(self)

    def _node(self, node_type: str) -> NodeInfo:
        if node_type not in self.info.nodes:
            raise ConfigError(_unknown("the graph", "node type", node_type, self.node_types))
        return self.info.nodes[node_type]

    def _open(self, name: str, info: LabelInfo) -> Label:
        values = open_array(self.folder, info.array)
        return Label(name, info.kind, values, info.num_classes, dict(info.best))


def _tensor(array: np.ndarray, dtype: str) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def _unknown(owner: str, what: str, name: object, allowed: list[Any]) -> str:
    names = ", ".join(map(str, allowed)) or "none"
    found = f"no {what}" if name is None else f"no {what} {name!r}"
    hint = nearest(name, [str(option) for option in allowed])
    return f"{owner} has {found}{hint} (there are: {names})"
