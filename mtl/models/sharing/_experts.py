"""sharing: experts on the output of one trunk, mixed by a gate for each task."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.embeddings import Embeddings
from mtl.models.sharing import Parts
from mtl.models.sharing._gate import Gate

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.sharing import SeedEmbeddings


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

    def forward(self, x: Float[Tensor, "seeds dim"]) -> dict[str, Float[Tensor, "seeds dim"]]:
        """Return the output of each expert."""
        outputs = self.linear(x).relu().chunk(len(self.names), -1)
        return dict(zip(self.names, outputs, strict=True))


class MixtureOfExperts(nn.Module):
    """y_t = sum_i g_t(x)_i f_i(x): experts f on the trunk's output x, and a gate g for each task.

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

    def forward(self, batch: "Data | HeteroData") -> "SeedEmbeddings":
        """Return the embeddings of the seeds."""
        x = self.trunk(self.projection(batch), batch)
        shared = {kind: self.shared(h) for kind, h in x.items()}
        return {
            task: {kind: self._mixed(task, x[kind], shared[kind]) for kind in kinds}
            for task, kinds in self.tasks.items()
        }

    def _mixed(
        self, task: str, x: Float[Tensor, "seeds dim"], shared: Mapping[str, Tensor]
    ) -> Float[Tensor, "seeds dim"]:
        own = self.own[task](x) if self.own else {}
        mixed: Tensor = self.gates[task](Embeddings(x), {**own, **shared}, len(x))
        return mixed
