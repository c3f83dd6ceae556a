"""encoder: principal neighbourhood aggregation (Corso et al., 2020, equations 5 to 8)."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor, nn

from mtl.graphs.schema import EdgeType
from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.encoders._messages import added, embedded, extreme, gathered, summed
from mtl.models.modules import Linears
from mtl.models.neighborhood import Edges, Hop

SMALLEST_VARIANCE = 1e-5  # below, the root has no useful gradient; PyG's StdAggregation, too


@dataclass(frozen=True, kw_only=True)
class Pna(Encoder):
    """h_v = W h_v + sum_r U_r [a, s a, a / s], where a is [mean, max, min, std] of the messages.

    Messages are A h_v + B h_u + C e, over the sampled in-neighbours u of relation r, of which there
    are d; e are features of the edges. s = log(d + 1) / delta makes the rest louder or softer.

    In the paper delta is the mean of log(d + 1) over the training nodes. What a batch shows of it
    is biased (the more edges a node has, the more often it is reached) and differs between
    processes, so it follows from an option. It is a unit and no more: U can undo it.
    """

    reads_edge_features: ClassVar[bool] = True

    typical_degree: PositiveFloat = 10.0
    """Neighbours for which s is 1: delta = log(typical_degree + 1). Take about what
    `loader.num_neighbors` draws, less where most nodes have fewer."""

    def convolution(
        self,
        dim: int,
        layer: int,
        node_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> "PnaConvolution":
        """Make one layer."""
        return PnaConvolution(dim, math.log(self.typical_degree + 1), node_types, edge_types)


class PnaConvolution(nn.Module):
    """One PNA layer with linear messages; of a relation without edges a node hears 0."""

    def __init__(
        self,
        dim: int,
        delta: float,
        node_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> None:
        super().__init__()
        self.delta = delta
        self.node_types, self.edge_types = tuple(node_types), dict(edge_types)
        self.root = Linears(((kind, dim) for kind in node_types), dim)
        self.target = Linears(((kind, dim) for kind in edge_types), dim, bias=False)
        self.source = Linears(((kind, dim) for kind in edge_types), dim)
        widths = ((kind, width) for kind, width in edge_types.items() if width)
        self.edges = Linears(widths, dim, bias=False)
        self.neighbors = Linears(((kind, 4 * dim) for kind in edge_types), 3 * dim, bias=False)

    def forward(
        self, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return new embeddings of the destinations of each type."""
        own = {kind: x[kind].first(hop.num_destinations[kind]) for kind in self.node_types}
        out = {kind: h.through(self.root.of(kind)) for kind, h in own.items()}
        for kind in self.edge_types:
            source, _, target = kind
            edges = hop.edges[kind]
            shift = own[target].through(self.target.of(kind))
            parts = aggregated(self._messages(kind, x[source], edges), shift, edges)
            out[target] = added(edges, out[target], self._scaled(kind, parts, edges))
        return out

    def _messages(
        self, kind: EdgeType, x: Embeddings, edges: Edges
    ) -> Float[Tensor, "edges *tasks dim"]:
        messages = gathered(x.through(self.source.of(kind)), edges.row)
        if not self.edge_types[kind]:
            return messages
        return messages + embedded(self.edges.of(kind), edges, messages)

    def _scaled(
        self, kind: EdgeType, parts: Float[Tensor, "listed *tasks four_dim"], edges: Edges
    ) -> Float[Tensor, "listed *tasks dim"]:
        """Return `U [a, s a, a / s]`: each third of U acts first, on what is not yet scaled."""
        degree = edges.colptr.diff().to(torch.promote_types(parts.dtype, torch.float32))
        louder = (degree + 1).log() / self.delta
        softer = self.delta / (degree.clamp(min=1) + 1).log()
        scale = torch.stack([torch.ones_like(degree), louder, softer], -1)
        out: Tensor = self.neighbors.of(kind)(parts).unflatten(-1, (3, -1))
        return (out * scale.view(-1, *[1] * (out.dim() - 3), 3, 1).to(out.dtype)).sum(-2)


def aggregated(
    messages: Float[Tensor, "edges *tasks dim"],
    shift: Float[Tensor, "destinations *tasks dim"],
    edges: Edges,
) -> Float[Tensor, "listed *tasks four_dim"]:
    """Return mean, max, min and standard deviation of messages that lack their destination's shift.

    The first three shift with it, the deviation does not: no edge needs to read its destination.
    """
    degree = edges.colptr.diff()
    index = torch.repeat_interleave(degree, output_size=len(messages))
    weight = edges.mean(torch.promote_types(messages.dtype, torch.float32))
    mean = summed(messages, edges, weight)
    variance = summed((messages - gathered(mean, index)).square(), edges, weight)
    deviation = variance.clamp(min=SMALLEST_VARIANCE).sqrt()
    deviation = deviation.masked_fill(variance <= SMALLEST_VARIANCE, 0)
    highest, lowest = (extreme(messages, index, len(mean), kind) for kind in ("amax", "amin"))
    shift = shift if edges.listed is None else shift[edges.listed]
    shift = shift * (degree > 0).view(-1, *[1] * (shift.dim() - 1))
    return torch.cat([mean + shift, highest + shift, lowest + shift, deviation], -1)
