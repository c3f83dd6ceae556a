"""model: batch to predictions of every task."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data, HeteroData

from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.models import Model
from mtl.models.projection import Projection
from mtl.models.trunk import Trunk, layer_types
from mtl.tasks import Statistics
from mtl.tasks.bound import BoundTask


class MultiTaskModel(nn.Module):
    """Embeddings of the seeds, then a head for each task over the seeds that it reads.

    Args:
        bottom: batch to `{task: [seeds, dim]}`; see `Sharing.build`.
        heads: one for each task.
    """

    def __init__(self, bottom: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.bottom, self.heads = bottom, nn.ModuleDict(heads)

    def forward(self, batch: Data | HeteroData) -> dict[str, Float[Tensor, "rows outputs"]]:
        """Return the outputs of each task for the seeds in `batch.rows[task]`."""
        seeds = self.bottom(batch)
        return {task: head(seeds[task][batch.rows[task]]) for task, head in self.heads.items()}


class Head(nn.Module):
    """A linear layer around what the training labels say: outputs are in the labels' own units."""

    def __init__(self, dim: int, statistics: Statistics) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, len(statistics.prior))
        # constants, but no buffers: DDP would broadcast those before every forward
        self.prior = nn.Parameter(statistics.prior.float(), requires_grad=False)
        self.scale = nn.Parameter(statistics.scale.float(), requires_grad=False)

    def forward(self, seeds: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows outputs"]:
        """Return `prior + scale * W h`."""
        out: Tensor = self.prior + self.scale * self.linear(seeds)
        return out


def build_model(
    options: Model, store: GraphStore, tasks: Mapping[str, BoundTask]
) -> MultiTaskModel:
    """Make the model that the `model:` section describes.

    Raises:
        ConfigError: nodes that the model reads have no features, or the encoder does not take a
            graph of several types.
    """
    seed_types = {task.node_type for task in tasks.values()}
    input_types = layer_types(options.encoder, seed_types, store.edge_types)[0]
    num_features = {kind: _num_features(store, kind) for kind in input_types}
    bottom = options.sharing.build(
        {name: task.node_type for name, task in tasks.items()},
        lambda views: Projection(num_features, options.dim, options.input_dropout, views),
        lambda: Trunk(options.encoder, options.dim, seed_types, store.edge_types),
    )
    heads = {name: Head(options.dim, task.statistics) for name, task in tasks.items()}
    return MultiTaskModel(bottom, heads)


def _num_features(store: GraphStore, node_type: str) -> int:
    features = store.features(node_type)
    if features is None:
        raise ConfigError(f"graph: {store.name} has no features on its {node_type!r} nodes")
    return features.shape[1]
