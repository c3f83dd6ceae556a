"""balancing by cosines between gradients that are at least the usual ones (Wang et al., 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mtl.balancing import Balancer, Facts, OnGramian
from mtl.balancing._gramians import OfGramian

if TYPE_CHECKING:
    from torchjd.aggregation import GradVacWeighting


@dataclass(frozen=True, kw_only=True)
class GradVac(OnGramian):
    """Gradient vaccine (Wang et al., 2021, algorithm 1): PCGrad with a moving goal for each pair.

    In an order drawn for each step.
    """

    beta: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a step's cosine in the goal of the next. The paper's 0.01 is slower."""
    eps: Annotated[float, Field(ge=0)] = 1e-8
    """Added to products of lengths before division; all squared lengths of a step sum to 1."""

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's weighting."""
        from torchjd.aggregation import GradVacWeighting

        return Vaccinated(len(tasks), GradVacWeighting(self.beta, self.eps))


class Vaccinated(OfGramian):
    """GradVac's weights, with goals of all pairs, whichever tasks a step has.

    TorchJD's forget all goals when the number of tasks changes.
    """

    def __init__(self, num_tasks: int, weighting: "GradVacWeighting") -> None:
        self._weighting = weighting
        self._goals = torch.zeros(num_tasks, num_tasks, dtype=torch.float64)
        super().__init__(goals=self._goals)

    def weigh(
        self, gramian: Float[Tensor, "rows rows"], rows: Int[Tensor, " rows"], facts: Facts
    ) -> Float[Tensor, " rows"]:
        """Return TorchJD's weights and keep the goals of the pairs."""
        pairs = (rows[:, None], rows)
        goals = self._goals[pairs]
        self._weighting.register_buffer("_phi_t", goals)  # it changes them in place
        self._weighting._state_key = (len(rows), goals.dtype)
        weights = self._weighting(gramian / gramian.trace())
        self._goals[pairs] = goals
        return weights
