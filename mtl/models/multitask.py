"""model: batch to predictions of every task."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data, HeteroData

from mtl.graphs.schema import EdgeType
from mtl.graphs.store import GraphStore
from mtl.models import Model
from mtl.models.heads import build_head
from mtl.models.learned import check_learned
from mtl.models.projection import Projection
from mtl.models.sharing import Parts
from mtl.models.sharing._bottom import Bottom
from mtl.models.sharing._parting import Parting, Representation
from mtl.models.trunk import Trunk, layer_types
from mtl.tasks.bound import BoundTask

if TYPE_CHECKING:
    from mtl.models.sharing import SeedEmbeddings


class MultiTaskModel(nn.Module):
    """Embeddings of the seeds, then a head for each task over those that it reads.

    Args:
        bottom: batch to `{task: {node type: [seeds, dim]}}`; see `Sharing.build`.
        heads: one for each task.
    """

    def __init__(self, bottom: Bottom, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.bottom: Bottom = bottom
        self.heads = nn.ModuleDict(heads)
        self.representation: Representation = {}
        """Of the last batch: what every task has read; nothing where they have no such tensors."""

    @property
    def has_representation(self) -> bool:
        """Whether there are tensors that every task reads."""
        return isinstance(self.bottom, Parting)

    def forward(self, batch: Data | HeteroData) -> dict[str, Float[Tensor, "rows outputs"]]:
        """Return the outputs of each task of the batch for what `batch.rows[task]` reads."""
        return self.read(self.embed(batch), batch)

    def embed(self, batch: Data | HeteroData) -> "SeedEmbeddings":
        """Return what the heads read: for each task the embeddings of all seeds of its types."""
        if not isinstance(self.bottom, Parting):
            embeddings: SeedEmbeddings = self.bottom(batch)
            return embeddings
        self.representation = self.bottom.common(batch)
        return self.bottom.apart(self.representation)

    def above(self, batch: Data | HeteroData) -> dict[str, Float[Tensor, "rows outputs"]]:
        """Return the outputs; their gradient ends at the representation, and costs as little."""
        assert isinstance(self.bottom, Parting)
        with torch.no_grad():
            common = self.bottom.common(batch)
        self.representation = {name: x.detach().requires_grad_() for name, x in common.items()}
        return self.read(self.bottom.apart(self.representation), batch)

    def read(
        self, seeds: "SeedEmbeddings", batch: Data | HeteroData
    ) -> dict[str, Float[Tensor, "rows outputs"]]:
        """Return what the heads make of embeddings."""
        return {
            task: head(seeds[task], batch.rows[task], batch.extra.get(task))
            for task, head in self.heads.items()
            if task in batch.rows
        }


def build_model(
    options: Model,
    store: GraphStore,
    tasks: Mapping[str, BoundTask],
    edge_types: Collection[EdgeType] | None = None,
) -> MultiTaskModel:
    """Make the model that the `model:` section describes.

    Args:
        options: the section.
        store: the graph.
        tasks: by name.
        edge_types: that messages pass along; default: all.

    Raises:
        ConfigError: learned vectors of nodes without features would not fit, or the encoder does
            not take a graph of several types.
    """
    kinds = store.edge_types if edge_types is None else edge_types
    edges = {kind: _num_edge_features(options, store, kind) for kind in kinds}
    reads = {name: tuple(dict.fromkeys(task.node_types)) for name, task in tasks.items()}
    masked = {task.node_types[0] for task in tasks.values() if task.masks}
    parts = _parts(options, store, edges, masked, reads)
    if not all(_num_features(store, kind) for kind in store.node_types):
        check_learned(options, store, parts)
    bottom = options.sharing.build(parts)
    heads = {name: build_head(options.dim, task, store) for name, task in tasks.items()}
    return MultiTaskModel(bottom, heads)


def _parts(
    options: Model,
    store: GraphStore,
    edge_types: Mapping[EdgeType, int],
    masked: Collection[str],
    tasks: Mapping[str, tuple[str, ...]],
) -> Parts:
    """Return what the bottom of some tasks is made of, for those types alone that reach a seed."""
    seed_types = {kind for kinds in tasks.values() for kind in kinds}
    input_types = layer_types(options.encoder, seed_types, edge_types)[0]
    widths = {kind: _num_features(store, kind) for kind in input_types}
    num_features = {kind: width for kind, width in widths.items() if width}
    learned = {kind: store.num_nodes(kind) for kind, width in widths.items() if not width}
    return Parts(
        tasks,
        options.dim,
        lambda views: Projection(
            num_features,
            options.dim,
            options.input_dropout,
            views,
            learned,
            sorted(num_features.keys() & masked),
        ),
        lambda: Trunk(options.encoder, options.dim, seed_types, edge_types),
        partial(_parts, options, store, edge_types, masked),
    )


def _num_features(store: GraphStore, node_type: str) -> int:
    features = store.features(node_type)
    return 0 if features is None else features.shape[1]


def _num_edge_features(options: Model, store: GraphStore, edge_type: EdgeType) -> int:
    """Return how many features of edges the encoder reads."""
    features = store.edge_features(edge_type) if options.encoder.reads_edge_features else None
    return 0 if features is None else features.shape[1]
