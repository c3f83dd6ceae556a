"""sharing: experts for all tasks beside experts for each one (Tang et al., 2020)."""

from dataclasses import dataclass
from functools import partial

from pydantic import PositiveInt

from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._experts import Experts, MixtureOfExperts
from mtl.models.sharing._gate import SoftmaxGate


@dataclass(frozen=True, kw_only=True)
class Cgc(Sharing):
    """Customized gate control on the trunk's output x (Tang et al., 2020, equations 1 to 3).

    g_t(x) = softmax(W_t x) S_t(x), where the rows of S_t are the outputs of the task's own experts
    and of the shared ones: what belongs to another task, this one neither reads nor changes.
    """

    num_shared: PositiveInt = 2
    """Experts that every task may choose, each a linear layer and ReLU."""
    num_own: PositiveInt = 1
    """Experts of each task alone."""

    def build(self, parts: Parts) -> MixtureOfExperts:
        """Make one trunk, the experts and a gate a task."""
        shared = Experts("shared", self.num_shared, parts.dim)
        own = {task: Experts("own", self.num_own, parts.dim) for task in parts.tasks}
        return MixtureOfExperts(parts, shared, own, partial(SoftmaxGate, dim=parts.dim))
