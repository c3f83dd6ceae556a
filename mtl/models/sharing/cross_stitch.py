"""sharing: a trunk for each task, mixed linearly after every layer (Misra et al., 2016)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.embeddings import Embeddings
from mtl.models.neighborhood import Hop
from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._bottom import Bottom, Inputs, Streams
from mtl.models.sharing._gate import Gate
from mtl.models.sharing._layers import convolved

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.sharing import SeedEmbeddings

OTHERS = 0.1
"""What a task hears at first of all others together; the rest is its own, as in the paper."""


@dataclass(frozen=True, kw_only=True)
class CrossStitch(Sharing):
    """x_t <- sum_s alpha_ts x_s over the trunks of all tasks s (Misra et al., 2016, equation 1).

    After every layer, one matrix alpha for all channels; it starts near the identity.
    """

    no_representation: ClassVar[str | None] = "every task has a trunk of its own"

    def build(self, parts: Parts) -> "StitchedTrunks":
        """Make a projection and a trunk a task, and the stitches between them."""
        return StitchedTrunks(parts)


class StitchedTrunks(Bottom):
    """Networks of single tasks that hear each other after every layer."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.tasks = dict(parts.tasks)
        trunks = {task: parts.trunk() for task in parts.tasks}
        self.num_layers = next(iter(trunks.values())).num_layers
        self.projections = nn.ModuleDict({task: parts.projection(()) for task in parts.tasks})
        self.trunks = nn.ModuleDict(trunks)
        self.stitches = nn.ModuleDict(
            {
                f"layer_{layer}_{task}": Stitch(task, parts.tasks, layer)
                for layer in range(self.num_layers)
                for task in parts.tasks
            }
        )

    def start(self, batch: "Data | HeteroData") -> dict[str, dict[str, Embeddings]]:
        """Return the features as each task projects them."""
        return {task: projection(batch) for task, projection in self.projections.items()}

    def step(self, layer: int, x: Inputs, hop: Hop, num_seeds: Mapping[str, int]) -> Streams:
        """Return what a layer of each trunk hands on, mixed."""
        out = {task: convolved(self.trunks[task], layer, x[task], hop) for task in self.tasks}
        return {
            task: {
                kind: self.stitches[f"layer_{layer}_{task}"](out, kind, num_seeds[kind])
                for kind in out[task]
            }
            for task in self.tasks
        }

    def finish(self, out: Mapping[str, Mapping[str, Tensor]]) -> "SeedEmbeddings":
        """Return the embeddings of the types that each task reads."""
        return {
            task: {kind: out[task][kind] for kind in kinds} for task, kinds in self.tasks.items()
        }


class Stitch(Gate):
    """One row of the matrix: how much of each trunk's output goes into the next layer of one.

    Args:
        task: whose row it is.
        tasks: names of all.
        layer: whose output it mixes.
    """

    def __init__(self, task: str, tasks: Iterable[str], layer: int) -> None:
        names = sorted(tasks)  # whatever their order in the configuration
        super().__init__(task, (f"layer_{layer}_{name}" for name in names))
        self.tasks = names
        alpha = torch.full((len(names),), OTHERS / max(len(names) - 1, 1))
        alpha[names.index(task)] = 0
        alpha[names.index(task)] = 1 - alpha.sum()
        self.alpha = nn.Parameter(alpha)

    def forward(
        self, out: Mapping[str, Mapping[str, Tensor]], kind: str, num_seeds: int
    ) -> Float[Tensor, "nodes dim"]:
        """Return the mixture of what the trunks of all tasks say of one node type."""
        named = {
            choice: out[task][kind] for choice, task in zip(self.choices, self.tasks, strict=True)
        }
        return self.mix(self.alpha.unsqueeze(0), named, num_seeds)
