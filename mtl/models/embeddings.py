"""encoder: node embeddings, perhaps with a linear map that is cheaper to apply after a sum."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.aggregate import weighted_sum
from mtl.models.neighborhood import Edges, joined


@dataclass(frozen=True, eq=False)
class Embeddings:
    """`x @ weight.T + constant * bias`, or x itself where there is no weight.

    Sums over neighbours and linear maps change places: raw features are narrower than embeddings,
    destinations are fewer than sources, and features need no gradient. SAGE over 620 k edges, 100
    features and width 256 computes a quarter of what it does with the map applied first.
    """

    x: Float[Tensor, "nodes features"] | Float[Tensor, "nodes *tasks dim"]
    weight: Float[Tensor, "*tasks dim features"] | None = None
    bias: Float[Tensor, "*tasks dim"] | None = None
    constant: Float[Tensor, "nodes 1"] | None = None
    """What the sums so far have made of 1; None is 1."""

    @property
    def exact(self) -> torch.dtype:
        """Type that weights of sums are computed in: float32, whatever autocast made of x."""
        return torch.promote_types(self.x.dtype, torch.float32)

    def first(self, num_nodes: int) -> "Embeddings":
        """Return those of the first nodes."""
        constant = None if self.constant is None else self.constant[:num_nodes]
        return replace(self, x=self.x[:num_nodes], constant=constant)

    def scaled(self, factor: Float[Tensor, "nodes 1"]) -> "Embeddings":
        """Return each node's embedding times its factor."""
        if self.weight is None:
            return replace(self, x=self.x * factor.view(-1, *[1] * (self.x.dim() - 1)))
        return replace(self, x=self.x * factor, constant=self._ones * factor)

    def plus(self, other: "Embeddings") -> "Embeddings":
        """Return the sum with embeddings that have the same linear map."""
        if self.weight is None:
            return replace(self, x=self.x + other.x)
        return replace(self, x=self.x + other.x, constant=self._ones + other._ones)

    def means(self, edges: Sequence[Edges]) -> list["Embeddings"]:
        """Return, for each edge type, the means over the neighbours of each listed destination.

        One sum serves all types: their gradients of the sources are one matrix, not one each.
        """
        weight = torch.cat([part.mean(self.exact) for part in edges])
        sums = self._summed(weight, *joined(edges))
        sizes = [len(part.colptr) - 1 for part in edges]
        constants = (
            [None] * len(edges) if sums.constant is None else torch.split(sums.constant, sizes)
        )
        return [
            replace(sums, x=x, constant=constant)
            for x, constant in zip(torch.split(sums.x, sizes), constants, strict=True)
        ]

    def summed(self, weight: Float[Tensor, " edges"], edges: Edges) -> "Embeddings":
        """Return the weighted sums over the neighbours of each listed destination."""
        return self._summed(weight, edges.colptr, edges.row)

    def _summed(self, weight: Tensor, colptr: Tensor, row: Tensor) -> "Embeddings":
        x = weighted_sum(self.x, weight, colptr, row)
        if self.weight is None:
            return replace(self, x=x)
        return replace(self, x=x, constant=weighted_sum(self._ones, weight, colptr, row))

    def through(self, linear: nn.Linear) -> Float[Tensor, "nodes *tasks outputs"]:
        """Return what a linear layer makes of the embeddings."""
        return linear_sum([(self, linear)])

    def dense(self) -> Float[Tensor, "nodes *tasks dim"]:
        """Return the embeddings themselves."""
        if self.weight is None or self.bias is None:
            return self.x
        if self.constant is None:
            return _product([self.x], [self.weight], self.bias)
        return _product([self.x, self._ones], [self.weight, self.bias.unsqueeze(-1)], None)

    def _mapped(self, linear: nn.Linear) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return columns, their weights and biases, whose sum of products the layer's output is."""
        biases: list[Tensor] = [] if linear.bias is None else [linear.bias]
        if self.weight is None or self.bias is None:
            return [self.x], [linear.weight], biases
        with torch.autocast(self.x.device.type, enabled=False):  # two small matrices: exact
            weight = linear.weight @ self.weight
            bias = linear.weight @ self.bias.unsqueeze(-1)
        if self.constant is None:
            return [self.x], [weight], [*biases, bias.squeeze(-1)]
        return [self.x, self.constant], [weight, bias], biases

    @property
    def _ones(self) -> Float[Tensor, "nodes 1"]:
        return self.x.new_ones(len(self.x), 1) if self.constant is None else self.constant


def linear_sum(
    terms: Sequence[tuple[Embeddings, nn.Linear]],
) -> Float[Tensor, "nodes *tasks outputs"]:
    """Return the sum of what linear layers make of embeddings of the same nodes, as one product."""
    waiting = [term for term in terms if term[0].weight is not None]
    others = [term for term in terms if term[0].weight is None]
    sums = []
    for group in filter(None, (waiting, others)):
        parts = [embeddings._mapped(linear) for embeddings, linear in group]
        columns, weights, biases = (list(chain(*part)) for part in zip(*parts, strict=True))
        sums.append(_product(columns, weights, reduce(torch.add, biases) if biases else None))
    return reduce(torch.add, sums)


def _product(columns: list[Tensor], weights: list[Tensor], bias: Tensor | None) -> Tensor:
    """Multiply columns that stand side by side, [nodes, (tasks,) width], by their weights."""
    x = columns[0] if len(columns) == 1 else torch.cat(columns, -1)
    weight = weights[0] if len(weights) == 1 else torch.cat(weights, -1)
    if weight.dim() == 2:
        return nn.functional.linear(x, weight, bias)
    if bias is not None:
        bias = bias.expand(weight.shape[:-1]).flatten()
    out = nn.functional.linear(x, weight.flatten(0, -2), bias)
    return out.view(len(x), *weight.shape[:-1])
