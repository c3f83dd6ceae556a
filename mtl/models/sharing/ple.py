"""sharing: shared and own experts layer after layer through the graph (Tang et al., 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from mtl.models.embeddings import Embeddings
from mtl.models.neighborhood import Hop, hops
from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._experts import SHARED
from mtl.models.sharing._gate import SoftmaxGate
from mtl.models.sharing._layers import convolved, taken

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.sharing import SeedEmbeddings


@dataclass(frozen=True, kw_only=True)
class Ple(Sharing):
    """Progressive layered extraction: `cgc` at every layer (Tang et al., 2020, equation 5).

    An expert is a convolution of a trunk of its own. What goes into the next layer of a task's
    experts is g_t = softmax(W_t x_t) S_t, over its own experts and the shared ones, x_t being what
    went into this one; the shared experts' next input is such a mixture of the experts of all.

    (The first layer of `gcn` has no weights but the projection, which all experts share: there they
    differ from the second layer on.)
    """

    num_shared: PositiveInt = 1
    """Trunks that every task may choose from."""
    num_own: PositiveInt = 1
    """Trunks of each task alone."""

    def build(self, parts: Parts) -> nn.Module:
        """Make one projection, the trunks and their gates."""
        return ProgressiveExtraction(parts, self.num_shared, self.num_own)


class ProgressiveExtraction(nn.Module):
    """Experts and gates at every layer; after the last one the tasks' gates alone.

    A task's experts have weights for those node types alone from which something reaches it; on the
    others a gate has the rest to choose from.
    """

    def __init__(self, parts: Parts, num_shared: int, num_own: int) -> None:
        super().__init__()
        self.tasks, self.projection = dict(parts.tasks), parts.projection(())
        owned = {task: [f"{task}_{i}" for i in range(num_own)] for task in parts.tasks}
        owned[SHARED] = [f"{SHARED}_{i}" for i in range(num_shared)]
        self.owners = {name: owner for owner, names in owned.items() for name in names}
        trunks = {
            name: (parts if owner == SHARED else parts.only(owner)).trunk()
            for name, owner in self.owners.items()
        }
        self.experts = nn.ModuleDict(trunks)
        self.num_layers = trunks[owned[SHARED][0]].num_layers
        self.gates = nn.ModuleDict()
        for owner in owned:
            others = sorted(parts.tasks) if owner == SHARED else [SHARED]
            heard = [name for other in (owner, *others) for name in owned[other]]
            for layer in range(self.num_layers - (owner == SHARED)):
                choices = (f"layer_{layer}_{name}" for name in heard)
                self.gates[f"layer_{layer}_{owner}"] = SoftmaxGate(owner, choices, parts.dim)

    def forward(self, batch: "Data | HeteroData") -> "SeedEmbeddings":
        """Return the embeddings of the seeds."""
        reads = list(hops(batch, self.num_layers))
        x: dict[str, dict[str, Embeddings]]
        x = dict.fromkeys(self.owners.values(), self.projection(batch))
        mixed: SeedEmbeddings = {}
        for layer, hop in enumerate(reads):
            outputs = {
                f"layer_{layer}_{name}": convolved(self.experts[name], layer, x[owner], hop)
                for name, owner in self.owners.items()
            }
            mixed = {
                owner: self._mixed(f"layer_{layer}_{owner}", into, outputs, hop, reads[-1])
                for owner, into in x.items()
                if f"layer_{layer}_{owner}" in self.gates
            }
            x = {owner: taken(out) for owner, out in mixed.items()}
        return mixed

    def _mixed(
        self,
        name: str,
        x: Mapping[str, Embeddings],
        outputs: Mapping[str, Mapping[str, Tensor]],
        hop: Hop,
        last: Hop,
    ) -> dict[str, Float[Tensor, "destinations dim"]]:
        """Return what a gate makes of the experts' outputs, for the types that its owner's have."""
        gate = self.gates[name]
        assert isinstance(gate, SoftmaxGate)
        counted = self.tasks.get(gate.task, tuple(last.num_destinations))
        return {
            kind: gate(
                x[kind].first(hop.num_destinations[kind]),
                {expert: out[kind] for expert, out in outputs.items() if kind in out},
                last.num_destinations[kind] if kind in counted else 0,
            )
            for kind in outputs[gate.choices[0]]
        }
