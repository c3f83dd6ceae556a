"""model: what each task makes of the embeddings of its seeds."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mtl.graphs.store import GraphStore
from mtl.models.aggregate import weighted_sum
from mtl.tasks import Statistics
from mtl.tasks._graphs import OnGraphs
from mtl.tasks._links import BoundLinks
from mtl.tasks.bound import BoundTask

SeedsByType = Mapping[str, Float[Tensor, "seeds dim"]]


class Around(nn.Module):
    """A linear layer around what the training labels say: outputs are in the labels' own units."""

    def __init__(self, dim: int, statistics: Statistics) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, len(statistics.prior))
        # constants, but no buffers: DDP would broadcast those before every forward
        self.prior = nn.Parameter(statistics.prior.float(), requires_grad=False)
        self.scale = nn.Parameter(statistics.scale.float(), requires_grad=False)

    def forward(self, x: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows outputs"]:
        """Return `prior + scale * W x`."""
        out: Tensor = self.prior + self.scale * self.linear(x)
        return out


class NodeHead(Around):
    """The embedding of a node to outputs."""

    def __init__(self, dim: int, task: BoundTask) -> None:
        super().__init__(dim, task.statistics)
        (self.node_type,) = task.node_types

    def forward(  # type: ignore[override]
        self, seeds: SeedsByType, rows: Int[Tensor, " rows"], extra: None
    ) -> Float[Tensor, "rows outputs"]:
        """Return the outputs for some seeds."""
        return super().forward(seeds[self.node_type][rows])


class EdgeHead(nn.Module):
    """Both ends of an edge, their product and the edge's own features to outputs.

    One hidden layer: what matters of an edge is how its ends fit together.
    """

    def __init__(self, dim: int, task: BoundTask, num_features: int) -> None:
        super().__init__()
        self.ends = task.node_types
        self.hidden = nn.Linear(3 * dim + num_features, dim)
        self.around = Around(dim, task.statistics)

    def forward(
        self,
        seeds: SeedsByType,
        rows: Int[Tensor, "ends rows"],
        extra: Float[Tensor, "rows features"] | None,
    ) -> Float[Tensor, "rows outputs"]:
        """Return the outputs for some edges."""
        src, dst = (seeds[kind][its] for kind, its in zip(self.ends, rows, strict=True))
        parts = [src, dst, src * dst, *([] if extra is None else [extra.to(src.dtype)])]
        out: Tensor = self.around(self.hidden(torch.cat(parts, 1)).relu())
        return out


class LinkHead(nn.Module):
    """Two nodes to the log-odds of an edge: the product of what each end is as source or target.

    An undirected edge has one kind of end. The product is divided by the square root of its width,
    as in attention, so that it starts small.
    """

    def __init__(self, dim: int, task: BoundLinks) -> None:
        super().__init__()
        self.ends = task.node_types
        self.source = nn.Linear(dim, dim)
        self.target = None if task.undirected else nn.Linear(dim, dim)
        ranks = task.task.loss == "ranking"  # which a bias would not change
        self.bias = None if ranks else nn.Parameter(torch.zeros(1))

    def forward(
        self, seeds: SeedsByType, rows: Int[Tensor, "ends rows pairs"], extra: None
    ) -> Float[Tensor, "rows pairs"]:
        """Return the log-odds of pairs; -inf where a candidate is left out."""
        (first, second), (src, dst) = self.ends, rows
        source = self.source(seeds[first])
        target = source if self.target is None else self.target(seeds[second])
        width = source.shape[1] ** 0.5
        odds = (source[src] * target[dst.clamp(min=0)]).sum(-1) / width
        odds = odds if self.bias is None else odds + self.bias
        out: Tensor = odds.masked_fill(dst < 0, float("-inf"))
        return out


class GraphHead(Around):
    """The mean or the sum over the nodes of a graph to outputs; of none it is 0."""

    def __init__(self, dim: int, task: BoundTask, pool: str) -> None:
        super().__init__(dim, task.statistics)
        (self.node_type,), self.pool = task.node_types, pool

    def forward(  # type: ignore[override]
        self,
        seeds: SeedsByType,
        rows: Int[Tensor, " nodes"],
        extra: Int[Tensor, " graphs_and_one"],
    ) -> Float[Tensor, "graphs outputs"]:
        """Return the outputs for some graphs."""
        x, sizes = seeds[self.node_type], extra.diff()
        exact = sizes.clamp(min=1).to(torch.promote_types(x.dtype, torch.float32))
        share = exact.reciprocal() if self.pool == "mean" else torch.ones_like(exact)
        weight = torch.repeat_interleave(share, sizes, output_size=len(rows))
        return super().forward(weighted_sum(x, weight, extra, rows))


def build_head(dim: int, task: BoundTask, store: GraphStore) -> nn.Module:
    """Make the head of a task."""
    if isinstance(task, BoundLinks):
        return LinkHead(dim, task)
    if isinstance(task.task, OnGraphs):
        return GraphHead(dim, task, task.task.pool)
    if isinstance(task.owner, str):
        return NodeHead(dim, task)
    features = store.edge_features(task.owner)
    return EdgeHead(dim, task, 0 if features is None else features.shape[1])
