"""balancing by weights that the configuration gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from mtl.balancing import Balancer, Balancing
from mtl.balancing._fixed import Fixed
from mtl.balancing._names import by_task


@dataclass(frozen=True, kw_only=True)
class Static(Balancing):
    """sum_t w_t L_t with the same weights in every step."""

    weights: dict[str, Annotated[float, Field(ge=0)]]
    """Weight of every task, as it is: they need not sum to 1. `tasks.NAME.weight` comes on top."""

    def build(self, tasks: Sequence[str]) -> Balancer:
        """Put the weights in order."""
        return Fixed(by_task("weights", self.weights, tasks))
