"""encoder: messages of edges and what destinations make of them, for any tasks side by side."""

from collections.abc import Collection, Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mtl.graphs.schema import EdgeType
from mtl.models.aggregate import weighted_sum
from mtl.models.embeddings import Embeddings
from mtl.models.neighborhood import Edges, Hop


def gathered(
    x: Float[Tensor, "nodes *axes dim"], index: Int[Tensor, " edges"]
) -> Float[Tensor, "edges *axes dim"]:
    """Return a row for each edge; gradients of one node are summed in float32, always in order."""
    ends = torch.arange(len(index) + 1, dtype=index.dtype, device=index.device)
    return weighted_sum(x, x.new_ones(len(index)), ends, index)


def summed(
    messages: Float[Tensor, "edges *axes dim"],
    edges: Edges,
    weight: Float[Tensor, " edges"] | None = None,
) -> Float[Tensor, "listed *axes dim"]:
    """Return the sum of the messages to each listed destination, by constant weights if given."""
    each = torch.arange(len(messages), dtype=edges.colptr.dtype, device=messages.device)
    weight = messages.new_ones(len(messages)) if weight is None else weight
    return weighted_sum(messages, weight, edges.colptr, each)


def extreme(
    messages: Float[Tensor, "edges *axes dim"],
    index: Int[Tensor, " edges"],
    num_rows: int,
    kind: str,
) -> Float[Tensor, "rows *axes dim"]:
    """Return the `amax` or `amin` of the messages to each row; 0 for a row without one."""
    none = messages.new_zeros(num_rows, *messages.shape[1:])
    return none.scatter_reduce(0, _wide(index, messages), messages, kind, include_self=False)


def softmax(
    scores: Float[Tensor, "edges *axes dim"],
    destination: Int[Tensor, " edges"],
    num_destinations: int,
) -> Float[Tensor, "edges *axes dim"]:
    """Return the softmax over the edges into the same destination, in float32 at least."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    index = _wide(destination, scores)
    highest = extreme(scores.detach(), destination, num_destinations, "amax")
    raised = (scores - highest.gather(0, index)).exp()
    total = torch.zeros_like(highest).scatter_add(0, index, raised)
    return raised / total.gather(0, index)


def added(
    edges: Edges,
    total: Float[Tensor, "destinations *axes dim"],
    heard: Float[Tensor, "listed *axes dim"],
) -> Float[Tensor, "destinations *axes dim"]:
    """Return the total with what the listed destinations heard."""
    return total + heard if edges.listed is None else edges.add(total, heard)


def embedded(
    linear: nn.Linear, edges: Edges, like: Float[Tensor, "edges *tasks dim"]
) -> Float[Tensor, "edges *one dim"]:
    """Return the embeddings of the edges' features, the same for all tasks side by side."""
    assert edges.features is not None
    out: Tensor = linear(edges.features.to(linear.weight.dtype))
    return out.unsqueeze(1) if like.dim() == 3 else out


def means(
    x: Mapping[str, Embeddings], hop: Hop, edge_types: Collection[EdgeType]
) -> Iterator[tuple[EdgeType, Edges, Embeddings]]:
    """Yield the means over the neighbours of each edge type, those from one source together."""
    for source in dict.fromkeys(kind[0] for kind in edge_types):
        kinds = [kind for kind in edge_types if kind[0] == source]
        edges = [hop.edges[kind] for kind in kinds]
        yield from zip(kinds, edges, x[source].means(edges), strict=True)


def _wide(index: Int[Tensor, " edges"], like: Tensor) -> Int[Tensor, "edges *axes dim"]:
    return index.view(-1, *[1] * (like.dim() - 1)).expand_as(like)
