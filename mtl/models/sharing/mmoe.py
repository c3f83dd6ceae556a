"""sharing: a gate for each task over experts that all share (Ma et al., 2018)."""

from dataclasses import dataclass
from functools import partial

from pydantic import PositiveInt

from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._experts import Experts, MixtureOfExperts
from mtl.models.sharing._gate import SoftmaxGate


@dataclass(frozen=True, kw_only=True)
class MMoE(Sharing):
    """Multi-gate mixture-of-experts on the trunk's output x (Ma et al., 2018, equations 6 to 8).

    f_t(x) = sum_i g_t(x)_i f_i(x) goes to the head of task t; g_t(x) = softmax(W_t x).
    """

    num_experts: PositiveInt = 4
    """Experts, each a linear layer and ReLU."""

    def build(self, parts: Parts) -> MixtureOfExperts:
        """Make one trunk, the experts and a gate a task."""
        experts = Experts("expert", self.num_experts, parts.dim)
        return MixtureOfExperts(parts, experts, {}, partial(SoftmaxGate, dim=parts.dim))
