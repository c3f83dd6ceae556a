"""balancing by equal weights: the strong baseline of Kurin et al. (2022) and Xin et al. (2022)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtl.balancing import Balancing

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Equal(Balancing):
    """The mean over all tasks."""

    def combine(self, losses: "Float[Tensor, ' tasks']") -> "Float[Tensor, '']":
        """Return the mean of the losses."""
        return losses.mean()
