"""model: layers for types of nodes and edges, which people may call anything."""

from collections.abc import Collection, Iterable
from urllib.parse import quote

import torch
from torch import nn

from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType

Kind = str | tuple[str, ...]


class Linears(nn.ModuleDict):
    """A linear layer for each type.

    Args:
        widths: of the inputs, by type.
        dim: width of the outputs.
        bias: whether they add one.
    """

    def __init__(self, widths: Iterable[tuple[Kind, int]], dim: int, *, bias: bool = True) -> None:
        super().__init__({key(kind): nn.Linear(width, dim, bias) for kind, width in widths})

    def of(self, kind: Kind) -> nn.Linear:
        """Return the layer of a type."""
        linear = self[key(kind)]
        assert isinstance(linear, nn.Linear)
        return linear


@torch.compiler.assume_constant_result
def key(kind: Kind) -> str:
    """Return a name that torch.nn.ModuleDict takes, one for each type.

    It has methods called `items`, `keys` and `type`, and refuses dots.
    """
    parts = ("", kind) if isinstance(kind, str) else kind
    return "__".join(quote(part, safe="").replace(".", "%2E") for part in parts)


def some(
    encoder: str, node_types: Collection[str], edge_types: Collection[EdgeType]
) -> Collection[EdgeType]:
    """Return the types of edges along which a layer sends messages.

    Raises:
        ConfigError: there is none, and the encoder is nothing without.
    """
    if not edge_types:
        raise ConfigError(
            f"model.encoder.type: {encoder} passes messages along edges, and none lead to "
            f"{' or '.join(node_types)} in this graph; take mlp"
        )
    return edge_types


def only(encoder: str, node_types: Collection[str], edge_types: Collection[EdgeType]) -> EdgeType:
    """Return the one edge type of a graph.

    Raises:
        ConfigError: it has none, or several types of nodes or edges, which the encoder does not
            take.
    """
    kinds = {*node_types, *(source for source, _, _ in some(encoder, node_types, edge_types))}
    if len(kinds) > 1 or len(edge_types) > 1:
        raise ConfigError(
            f"model.encoder.type: {encoder} takes graphs of one node type and one edge type, this "
            f"one has {len(kinds)} and {len(edge_types)}; take rgcn"
        )
    (edge_type,) = edge_types
    return edge_type
