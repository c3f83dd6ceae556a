"""sharing: experts on the output of one trunk, mixed by a gate for each task."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.embeddings import Embeddings
from mtl.models.sharing import Parts
from mtl.models.sharing._gate import Gate
from mtl.models.sharing._parting import Parting, Representation

if TYPE_CHECKING:
    from mtl.models.sharing import SeedEmbeddings

SHARED = "shared experts of "


class Experts(nn.Module):
    """Networks of one layer, f_i(x) = relu(W_i x + b_i), computed as one product.

    Nodes of all types go through the same ones: that is what tasks on different types share.

    Args:
        name: of all of them; each has a number, too.
        num_experts: how many there are.
        dim: width of inputs and outputs.
    """

    def __init__(self, name: str, num_experts: int, dim: int) -> None:
        super().__init__()
        self.names = tuple(f"{name}_{i}" for i in range(num_experts))
        self.linear = nn.Linear(dim, num_experts * dim)

    def forward(self, x: Float[Tensor, "seeds dim"]) -> Float[Tensor, "seeds experts*dim"]:
        """Return the outputs of all experts side by side."""
        out: Tensor = self.linear(x).relu()
        return out

    def named(
        self, outputs: Float[Tensor, "seeds experts*dim"]
    ) -> dict[str, Float[Tensor, "seeds dim"]]:
        """Return the output of each."""
        return dict(zip(self.names, outputs.chunk(len(self.names), -1), strict=True))


class MixtureOfExperts(Parting):
    """y_t = sum_i g_t(x)_i f_i(x): experts f on the trunk's output x, and a gate g for each task.

    What all tasks read is x, which their gates and their own experts look at, and the outputs of
    the shared experts.

    Args:
        parts: what the trunk is made of.
        shared: experts that every task may choose.
        own: for each task further experts that it alone may choose, or nothing.
        gate: makes the gate of a task from the names of the experts that it may choose.
    """

    def __init__(
        self,
        parts: Parts,
        shared: Experts,
        own: Mapping[str, Experts],
        gate: Callable[[str, tuple[str, ...]], Gate],
    ) -> None:
        super().__init__()
        self.tasks, self.shared, self.own = dict(parts.tasks), shared, nn.ModuleDict(own)
        self.projection, self.trunk = parts.projection(()), parts.trunk()
        names = {task: own[task].names if own else () for task in parts.tasks}
        self.gates = nn.ModuleDict(
            {task: gate(task, (*names[task], *shared.names)) for task in parts.tasks}
        )

    def represent(self, x: Mapping[str, Tensor]) -> Representation:
        """Return x and the outputs of the shared experts, of each type."""
        read = {kind: h.view_as(h) for kind, h in x.items()}  # experts do not depend on these
        return read | {SHARED + kind: self.shared(h) for kind, h in x.items()}

    def apart(self, common: Mapping[str, Tensor]) -> "SeedEmbeddings":
        """Return what each task's gate makes of the experts."""
        return {
            task: {kind: self._mixed(task, common[kind], common[SHARED + kind]) for kind in kinds}
            for task, kinds in self.tasks.items()
        }

    def _mixed(
        self, task: str, x: Float[Tensor, "seeds dim"], shared: Float[Tensor, "seeds experts*dim"]
    ) -> Float[Tensor, "seeds dim"]:
        own = self._own(task, x) if self.own else {}
        heard = {**own, **self.shared.named(shared)}
        mixed: Tensor = self.gates[task](Embeddings(x), heard, len(x))
        return mixed

    def _own(self, task: str, x: Float[Tensor, "seeds dim"]) -> dict[str, Tensor]:
        experts = self.own[task]
        assert isinstance(experts, Experts)
        return experts.named(experts(x))
