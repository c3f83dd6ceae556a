"""The least that a step of SAGE can take: what has to be moved and computed, over the ceilings.

As docs/gpu.md writes it down. Every number is read once and written once; what caches save is not
counted, nor what launching costs. Where the aggregation comes first, the first layer multiplies
raw features; they need no gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from _ceilings import Ceilings

INDEX = 8
"""Bytes of an index in a batch."""
ADAM = 7
"""Numbers of 4 bytes that Adam moves for a weight: its three are read and written, its gradient is
read."""


@dataclass(frozen=True)
class Sampled:
    """What a batch holds.

    Attributes:
        nodes: found in each hop, seeds first.
        edges: drawn in each hop.
        num_features: of a node.
        dim: width of the model.
        num_weights: that are trained.
        itemsize: bytes of a number that the model computes with.
    """

    nodes: Sequence[int]
    edges: Sequence[int]
    num_features: int
    dim: int
    num_weights: int
    itemsize: int


@dataclass(frozen=True)
class Floor:
    """Seconds of each part of a step; no two of them can share the device's memory."""

    sampling: float
    gather: float
    model: float

    @property
    def step(self) -> float:
        """All of them."""
        return self.sampling + self.gather + self.model


def floor(batch: Sampled, ceilings: Ceilings) -> Floor:
    """Return the least seconds of a step."""
    sampling = random_reads(batch) / ceilings.reads + written(batch) / ceilings.copied
    gather = 2 * sum(batch.nodes) * batch.num_features * batch.itemsize / ceilings.gathered
    rate = ceilings.flops["bfloat16" if batch.itemsize == 2 else "float32"]
    layers = (max(f / rate, b / ceilings.copied) for f, b in layer_costs(batch))
    optimizer = ADAM * 4 * batch.num_weights / ceilings.copied
    return Floor(sampling, gather, sum(layers) + optimizer)


def random_reads(batch: Sampled) -> int:
    """Return how often the sampler touches a number that lies anywhere.

    `colptr` of each node that is expanded, `row` of each edge, the place of its source, and for
    each node found that place again: to set it, and to forget it.
    """
    return sum(batch.nodes[:-1]) + 2 * sum(batch.edges) + 2 * sum(batch.nodes)


def written(batch: Sampled) -> int:
    """Return the bytes of the batch that the sampler writes: both ends and the number of edges."""
    return INDEX * (3 * sum(batch.edges) + sum(batch.nodes))


def layer_costs(batch: Sampled) -> list[tuple[float, float]]:
    """Return operations and bytes of each layer, forward and backward."""
    costs, num_layers = [], len(batch.edges)
    for layer in range(num_layers):
        rows = sum(batch.nodes[: num_layers - layer])
        edges = sum(batch.edges[: num_layers - layer])
        first = layer == 0
        width = batch.num_features if first else batch.dim
        products = 2 if first else 3  # forward, gradient of the weights, gradient of the inputs
        sums = 1 if first else 2
        operations = 2 * products * rows * 2 * width * batch.dim + 2 * sums * edges * width
        numbers = products * rows * (2 * width + batch.dim) + sums * (edges + rows) * width
        costs.append((float(operations), float(batch.itemsize * numbers)))
    return costs
