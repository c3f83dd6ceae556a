"""balancing by weights drawn anew in each step (Lin et al., 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mtl.balancing import Balancer, Balancing, Facts


@dataclass(frozen=True, kw_only=True)
class Random(Balancing):
    """Random loss weighting (Lin et al., 2022, algorithm 2): softmax of standard normals.

    Over the tasks that are present; they sum to 1. What a task draws does not depend on the others.
    """

    def build(self, tasks: Sequence[str]) -> Balancer:
        """Make what draws."""
        return Drawn()


class Drawn(Balancer):
    """Weights that follow from the seed of the step."""

    def weights(self, facts: Facts) -> Float[Tensor, " tasks"]:
        """Draw them."""
        generator = torch.Generator().manual_seed(facts.generator_seed)
        drawn = torch.randn(len(facts.present), dtype=torch.float64, generator=generator)
        weights = torch.zeros_like(drawn)
        weights[facts.present] = drawn[facts.present].softmax(0)
        return weights
