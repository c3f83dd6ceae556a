"""The peer: a network of PyG's on the whole graph, full-batch, as its examples for Cora do it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVERY = 2
"""Epochs between two evaluations; the best of them counts."""


@dataclass(frozen=True)
class Case:
    """A graph, its split of the literature, and a network for it."""

    name: str
    source: str
    split: str
    num_train: int
    encoder: str
    dim: int = 64
    dropout: float = 0.5
    lr: float = 0.01
    weight_decay: float = 5e-4

    def graph(self, data: Path) -> dict[str, Any]:
        """Return the `graph:` section."""
        return {"type": self.source, "name": self.name, "root": str(data)}


def full_batch(case: Case, data: Path, num_seeds: int, epochs: int, *, shared: bool) -> list[float]:
    """Train on the whole graph for each seed; return the test accuracies, chosen alike.

    Args:
        case: graph and network.
        data: has the raw files.
        num_seeds: trainings.
        epochs: steps of each.
        shared: the network of a multi-task model, with an input and a head around two convolutions;
            or two convolutions alone, as PyG's examples have it.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch import Tensor, nn
    from torch_geometric.nn import GCNConv, SAGEConv

    x, edge_index, y, split, num_classes = _tensors(case, data)
    convolution = {"gcn": GCNConv, "sage": SAGEConv}[case.encoder]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width, dim = x.shape[1], case.dim
            own_input = shared and case.encoder != "gcn"  # whose first weight is the input already
            self.input = nn.Linear(width, dim) if own_input else nn.Identity()
            self.first = convolution(dim if own_input else width, dim)
            self.second = convolution(dim, dim if shared else num_classes)
            self.head = nn.Linear(dim, num_classes) if shared else nn.Identity()

        def forward(self) -> Tensor:
            h = self.input(F.dropout(x, case.dropout, self.training))
            h = self.first(h, edge_index).relu()
            h = self.second(F.dropout(h, case.dropout, self.training), edge_index)
            out: Tensor = self.head(h)
            return out

    def train(seed: int) -> float:
        torch.manual_seed(seed)
        network, best = Network(), (-1.0, 0.0)
        optimizer = torch.optim.Adam(
            network.parameters(), lr=case.lr, weight_decay=case.weight_decay
        )
        for epoch in range(1, epochs + 1):
            network.train()
            optimizer.zero_grad()
            loss = F.cross_entropy(network()[split == 1], y[split == 1])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if epoch % EVERY == 0:
                network.eval()
                with torch.no_grad():
                    right = network().argmax(-1) == y
                scores = [float(right[split == part].float().mean()) for part in (2, 3)]
                best = max(best, (scores[0], scores[1]), key=lambda score: score[0])
        return best[1]

    return [train(seed) for seed in range(num_seeds)]


def _tensors(case: Case, data: Path) -> tuple[Any, ...]:
    """Return features, edge_index, classes, split and number of classes of the same graph."""
    import numpy as np
    import torch

    from mtl.graphs import Source
    from mtl.graphs.cache import open_graph

    store = open_graph(Source.read(case.graph(data)))
    (node,), (edge,) = store.node_types, store.edge_types
    colptr, row = store.csc(edge)
    col = np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))
    label = store.label(node, "y")
    edges = torch.from_numpy(np.stack([row, col]).astype(np.int64))
    split = torch.from_numpy(np.array(store.split(node, case.split)))
    classes = torch.from_numpy(np.array(label.values, np.int64))
    return store.features(node), edges, classes, split, label.num_classes
