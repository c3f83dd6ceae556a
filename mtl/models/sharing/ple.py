"""sharing: shared and own experts layer after layer through the graph (Tang et al., 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from mtl.models.embeddings import Embeddings
from mtl.models.neighborhood import Hop
from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._bottom import SHARED, Bottom, Inputs, Streams
from mtl.models.sharing._gate import SoftmaxGate
from mtl.models.sharing._layers import convolved

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

    no_representation: ClassVar[str | None] = "the tasks' experts hear each other at every layer"

    num_shared: PositiveInt = 1
    """Trunks that every task may choose from."""
    num_own: PositiveInt = 1
    """Trunks of each task alone."""

    def build(self, parts: Parts) -> "ProgressiveExtraction":
        """Make one projection, the trunks and their gates."""
        return ProgressiveExtraction(parts, self.num_shared, self.num_own)


class ProgressiveExtraction(Bottom):
    """Experts and gates at every layer; after the last one the tasks' gates alone.

    `SHARED` owns the experts that every task may choose.

    A task's experts have weights for those node types alone from which something reaches it; on the
    others a gate has the rest to choose from.
    """

    def __init__(self, parts: Parts, num_shared: int, num_own: int) -> None:
        super().__init__()
        self.tasks, self.projection = dict(parts.tasks), parts.projection(())
        shared = {f"shared_{i}": f"{SHARED}_{i}" for i in range(num_shared)}
        own = {task: {f"own_{i}": f"{task}_{i}" for i in range(num_own)} for task in self.tasks}
        all_own = {name: task for task in sorted(own) for name in own[task].values()}
        self.owners = {**dict.fromkeys(shared.values(), SHARED), **all_own}
        trunks = {
            name: (parts if owner == SHARED else parts.only(owner)).trunk()
            for name, owner in self.owners.items()
        }
        self.experts, self.num_layers = nn.ModuleDict(trunks), trunks[f"{SHARED}_0"].num_layers
        # whose next input a gate mixes -> what its choices are called -> experts
        self.heard = {task: {**own[task], **shared} for task in self.tasks}
        self.heard[SHARED] = {**shared, **{f"own_{name}": name for name in all_own}}
        self.gates = nn.ModuleDict(
            {
                f"layer_{i}_{owner}": SoftmaxGate(
                    owner, (f"layer_{i}_{c}" for c in heard), parts.dim
                )
                for owner, heard in self.heard.items()
                for i in range(self.num_layers - (owner == SHARED))
            }
        )

    def start(self, batch: "Data | HeteroData") -> dict[str, dict[str, Embeddings]]:
        """Return the projected features: what goes into the first experts of all."""
        return dict.fromkeys(self.heard, self.projection(batch))

    def step(self, layer: int, x: Inputs, hop: Hop, num_seeds: Mapping[str, int]) -> Streams:
        """Return what the gates make of the experts of a layer: the next input of each owner's."""
        outputs = {
            name: convolved(self.experts[name], layer, x[owner], hop)
            for name, owner in self.owners.items()
        }
        return {
            owner: self._mixed(layer, owner, into, outputs, hop, num_seeds)
            for owner, into in x.items()
            if f"layer_{layer}_{owner}" in self.gates
        }

    def finish(self, out: Mapping[str, Mapping[str, Tensor]]) -> "SeedEmbeddings":
        """Return what the gates of each task have made of the last experts."""
        return {task: dict(out[task]) for task in self.tasks}

    def _mixed(
        self,
        layer: int,
        owner: str,
        x: Mapping[str, Embeddings],
        outputs: Mapping[str, Mapping[str, Tensor]],
        hop: Hop,
        num_seeds: Mapping[str, int],
    ) -> dict[str, Float[Tensor, "destinations dim"]]:
        """Return what a gate makes of the experts' outputs, for the types that its owner's have."""
        counted = self.tasks.get(owner, tuple(num_seeds))
        heard = {f"layer_{layer}_{c}": outputs[name] for c, name in self.heard[owner].items()}
        return {
            kind: self.gates[f"layer_{layer}_{owner}"](
                x[kind].first(hop.num_destinations[kind]),
                {choice: out[kind] for choice, out in heard.items() if kind in out},
                num_seeds[kind] if kind in counted else 0,
            )
            for kind in next(iter(heard.values()))
        }
