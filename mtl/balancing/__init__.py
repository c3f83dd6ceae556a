"""balancing: the losses of all tasks to one number to descend."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtl.plugin import Plugin

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Balancing(Plugin):
    """How the losses of the tasks become one."""

    @abstractmethod
    def combine(self, losses: "Float[Tensor, ' tasks']") -> "Float[Tensor, '']":
        """Return the scalar whose gradient the step descends.

        Args:
            losses: weighted loss of each task over the whole step; 0 for a task without a label.
        """
