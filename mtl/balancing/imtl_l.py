"""balancing by learned scales that make the losses alike (Liu et al., 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from mtl.balancing import Balancer, Balancing
from mtl.balancing._learned import Learned


@dataclass(frozen=True, kw_only=True)
class ImtlL(Balancing):
    """IMTL-L: weights exp(s_t); the scales s descend sum(exp(s) L - s).

    Liu et al. (2021), section 3.2: twice the weights of `uncertainty`.
    """

    observes: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate of Adam for the scales: about how far one moves in a step."""

    def build(self, tasks: Sequence[str]) -> Balancer:
        """Make what learns; all scales begin at 0."""
        return Learned(len(tasks), self.lr, factor=1, sign=1)
