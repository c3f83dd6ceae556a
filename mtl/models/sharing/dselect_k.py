"""sharing: gates that learn which k experts to hear, and no other (Hazimeh et al., 2021)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from mtl.models.embeddings import Embeddings
from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._experts import Experts, MixtureOfExperts
from mtl.models.sharing._gate import Gate


@dataclass(frozen=True, kw_only=True)
class DSelectK(Sharing):
    """Experts on the trunk's output x, of which a gate chooses k (Hazimeh et al., 2021, section 3).

    q(x) = sum_{j<=k} softmax(A x)_j r(Z_j x), where r turns log2(n) numbers into weights of n
    experts: r(z)_i = prod_b S(z_b) or 1 - S(z_b), as bit b of i is 1 or 0, and S is a smooth step
    that reaches 0 and 1. The gates depend on the seed: the paper's per-example gating.

    What is not there: the paper's entropy regularisation, lambda sum_j H(r(Z_j x)) in the loss,
    which drives the steps to 0 or 1. Without it a gate hears more than k experts until its steps
    have got there by themselves; a smaller `gamma` makes that sooner. Nor are there numbers of
    experts that are no power of two, which would need another such term.
    """

    num_experts: Annotated[int, Field(ge=2)] = 4
    """Experts, each a linear layer and ReLU; a power of two."""
    num_selected: PositiveInt = 2
    """How many of them a gate chooses at most, once its steps have reached 0 or 1."""
    gamma: Annotated[float, Field(gt=0)] = 1.0
    """Width of the step's slope: the narrower, the sooner a gate has chosen."""

    def __post_init__(self) -> None:
        if self.num_experts & (self.num_experts - 1):
            raise ValueError(f"num_experts ({self.num_experts}) must be a power of two")
        if self.num_selected > self.num_experts:
            raise ValueError(
                f"num_selected ({self.num_selected}) must not exceed num_experts "
                f"({self.num_experts})"
            )

    def build(self, parts: Parts) -> MixtureOfExperts:
        """Make one trunk, the experts and a gate a task."""
        gate = partial(SelectGate, dim=parts.dim, num_selected=self.num_selected, gamma=self.gamma)
        experts = Experts("expert", self.num_experts, parts.dim)
        return MixtureOfExperts(parts, experts, {}, gate)


class SelectGate(Gate):
    """A mixture of k choices, each made bit by bit.

    Args:
        task: that chooses.
        choices: names of what there is to choose from; their number is a power of two.
        dim: width of the embeddings x that decide.
        num_selected: k.
        gamma: width of the step's slope.
    """

    def __init__(
        self, task: str, choices: Iterable[str], dim: int, num_selected: int, gamma: float
    ) -> None:
        super().__init__(task, choices)
        self.gamma, num_bits = gamma, (len(self.choices) - 1).bit_length()
        self.shape = (num_selected, num_bits)
        self.bits = nn.Linear(dim, num_selected * num_bits)  # Z
        self.mixture = nn.Linear(dim, num_selected)  # A
        for layer, bound in ((self.bits, gamma / 100), (self.mixture, 0.05)):  # as the authors do
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self, x: Embeddings, outputs: Mapping[str, Float[Tensor, "nodes dim"]], num_seeds: int
    ) -> Float[Tensor, "nodes dim"]:
        """Return the weighted sum of the outputs."""
        bits, mixture = (x.through(layer) for layer in (self.bits, self.mixture))
        exact = torch.promote_types(bits.dtype, torch.float32)
        steps = smooth_step(bits.to(exact), self.gamma).view(-1, *self.shape)
        share = torch.softmax(mixture, -1, dtype=exact)
        weights = (share.unsqueeze(-1) * binary_encoding(steps)).sum(1)
        return self.mix(weights, outputs, num_seeds)


def smooth_step(z: Float[Tensor, "*shape"], gamma: float) -> Float[Tensor, "*shape"]:
    """Return -2 (z / gamma)^3 + 3/2 z / gamma + 1/2 between -gamma/2 and gamma/2, else 0 or 1."""
    t = (z / gamma).clamp(-0.5, 0.5)
    return -2 * t**3 + 1.5 * t + 0.5


def binary_encoding(steps: Float[Tensor, "*shape bits"]) -> Float[Tensor, "*shape experts"]:
    """Return weights of 2^bits experts that add up to 1; bit b of an expert's number is step b."""
    weights = torch.ones_like(steps[..., :1])
    for step in torch.split(steps, 1, -1):
        weights = torch.cat([weights * (1 - step), weights * step], -1)
    return weights
