"""model: raw features of every node type to the width of the trunk."""

import math
from collections.abc import Collection, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data, HeteroData

from mtl.models.activation import Dropout
from mtl.models.embeddings import Embeddings
from mtl.models.modules import Linears, key
from mtl.models.neighborhood import node_values


class Projection(nn.Module):
    """Dropout and a linear layer for each node type; for each task one of its own where asked.

    Nodes without features have a learned vector each, as wide as the embeddings, instead. Nodes
    whose features are masked have one in common, as wide as the features.

    Args:
        num_features: width of the raw features of each node type.
        dim: width of the embeddings.
        dropout: share of the raw features that is dropped in training.
        views: names of the tasks that have a layer of their own; none for one that all share.
        num_nodes: of the types without features.
        masked: types of which some nodes' features may be masked.
    """

    def __init__(
        self,
        num_features: Mapping[str, int],
        dim: int,
        dropout: float,
        views: tuple[str, ...] = (),
        num_nodes: Mapping[str, int] | None = None,
        masked: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.num_nodes = dict(num_nodes or {})
        self.num_features = {**num_features, **dict.fromkeys(self.num_nodes, dim)}
        self.learned = nn.ModuleDict(
            {key(kind): nn.Embedding(n, dim) for kind, n in self.num_nodes.items()}
        )
        self.views = views
        self.tokens = nn.ParameterDict(
            {key(kind): nn.Parameter(torch.zeros(num_features[kind])) for kind in masked}
        )
        self.dropout = Dropout(dropout)
        self.linears = Linears(
            (
                ((kind, view) if view else kind, width)
                for kind, width in self.num_features.items()
                for view in views or ("",)
            ),
            dim,
        )

    def forward(self, batch: Data | HeteroData) -> dict[str, Embeddings]:
        """Return the embeddings of every node type, not multiplied out where that can wait."""
        raw, ids = node_values(batch, "x"), node_values(batch, "n_id")
        for kind in self.num_features:
            if key(kind) in self.learned:
                raw[kind] = self.learned[key(kind)](ids[kind])
        for kind, rows in node_values(batch, "masked").items():
            if key(kind) in self.tokens:
                raw[kind] = self._replaced(raw[kind], rows, self.tokens[key(kind)])
        return {kind: self._project(kind, raw[kind]) for kind in self.num_features}

    @staticmethod
    def _replaced(
        x: Float[Tensor, "nodes features"],
        rows: Int[Tensor, " rows"],
        token: Float[Tensor, " features"],
    ) -> Float[Tensor, "nodes features"]:
        """Put the token in the place of the features of some nodes."""
        if not torch.is_autocast_enabled(x.device.type):
            x = x.to(token.dtype)
        return x.index_copy(0, rows, token.to(x.dtype).expand(len(rows), -1))

    def _project(self, kind: str, x: Float[Tensor, "nodes features"]) -> Embeddings:
        layers = [self.linears.of((kind, view)) for view in self.views]
        if layers:
            weight = torch.stack([layer.weight for layer in layers])
            bias = torch.stack([layer.bias for layer in layers])
        else:
            weight, bias = self.linears.of(kind).weight, self.linears.of(kind).bias
        if not torch.is_autocast_enabled(x.device.type):
            x = x.to(weight.dtype)  # features may be stored in a narrower type
        out = Embeddings(self.dropout(x), weight, bias)
        wide = x.shape[1] > math.prod(weight.shape[:-1])
        return Embeddings(out.dense()) if wide else out
