"""balancing by weights that never change."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mtl.balancing import Balancer, Facts


class Fixed(Balancer):
    """The same weights in every step; 0 for a task that is not present.

    Args:
        weights: of each task.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = torch.tensor(weights, dtype=torch.float64)

    def weights(self, facts: Facts) -> Float[Tensor, " tasks"]:
        """Return them."""
        return self._weights * facts.present
