"""model: one layer for any nodes of a graph, of what the layer below has handed on for all of them.

What is handed on stands in one table for each node type: the streams of a bottom side by side.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from mtl.models.neighborhood import hops, node_values
from mtl.models.sharing._bottom import Bottom, Streams
from mtl.models.sharing._layers import taken

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.sharing import SeedEmbeddings

Shapes: TypeAlias = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Node type -> stream -> shape of what stands there for one node, in the order of the columns."""
Tables: TypeAlias = Mapping[str, Float[Tensor, "nodes columns"]]


def step(
    bottom: Bottom, layer: int, batch: "Data | HeteroData", shapes: Shapes | None
) -> tuple[dict[str, Float[Tensor, "nodes columns"]], Shapes]:
    """Return the tables of one layer for the seeds of a batch, and what stands in them.

    Args:
        bottom: whose layer it is.
        layer: number of the layer.
        batch: all in-neighbours of its seeds, one hop; `x` are the graph's features for the first
            layer, and above it rows of the tables of the layer below.
        shapes: what stands in those.
    """
    (hop,) = hops(batch, 1)
    if shapes is None:
        x = bottom.start(batch)
    else:
        x = {
            name: taken(stream) for name, stream in _parted(node_values(batch, "x"), shapes).items()
        }
    return _joined(bottom.step(layer, x, hop, hop.num_destinations))


def finish(bottom: Bottom, tables: Tables, shapes: Shapes) -> "SeedEmbeddings":
    """Return what the heads read, of rows of the tables of the last layer."""
    return bottom.finish(_parted(tables, shapes))


def width(shapes: Shapes, node_type: str) -> int:
    """Return how many columns the table of a node type has."""
    return sum(math.prod(shape) for shape in shapes[node_type].values())


def _joined(out: Streams) -> tuple[dict[str, Tensor], Shapes]:
    """Put the streams of each node type side by side."""
    kinds = dict.fromkeys(kind for stream in out.values() for kind in stream)
    by_type = {
        kind: {n: stream[kind] for n, stream in out.items() if kind in stream} for kind in kinds
    }
    tables = {
        kind: torch.cat([h.flatten(1) for h in streams.values()], 1)
        for kind, streams in by_type.items()
    }
    return tables, {k: {n: tuple(h.shape[1:]) for n, h in s.items()} for k, s in by_type.items()}


def _parted(tables: Tables, shapes: Shapes) -> Streams:
    """Undo `_joined`."""
    out: Streams = {}
    for kind, streams in shapes.items():
        columns = torch.split(tables[kind], [math.prod(shape) for shape in streams.values()], 1)
        for (name, shape), part in zip(streams.items(), columns, strict=True):
            out.setdefault(name, {})[kind] = part.reshape(len(part), *shape)
    return out
