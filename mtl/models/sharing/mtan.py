"""sharing: one trunk, and a soft mask on each layer for each task (Liu et al., 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.embeddings import Embeddings, linear_sum
from mtl.models.neighborhood import Hop
from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._bottom import SHARED, Inputs, OneTrunk, Streams
from mtl.models.sharing._gate import Gate

if TYPE_CHECKING:
    from mtl.models.sharing import SeedEmbeddings


@dataclass(frozen=True, kw_only=True)
class Mtan(Sharing):
    """Attention masks on the layers of one trunk (Liu et al., 2019, equations 1 and 2).

    m_t = a_t * p, where p is what a layer hands on and a_t = sigmoid(H_t relu(G_t [u; f(m_t')])),
    u being what went into the layer and m_t' the masked output of the one before (none at first).

    Their convolutions f, G and H over pixels are linear layers on each node's own embedding, f one
    for all tasks with ReLU: neighbours are heard in the trunk alone. So only seeds have masks, and
    a task costs next to nothing. Batch normalisation is left out: its statistics would differ
    between processes.
    """

    no_representation: ClassVar[str | None] = (
        "each task looks at every layer of the trunk through masks of its own"
    )

    def build(self, parts: Parts) -> "MaskedTrunk":
        """Make one trunk and the masks of each task."""
        return MaskedTrunk(parts)


class MaskedTrunk(OneTrunk):
    """The trunk's layers, each seen through a mask by each task."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.tasks, dim = dict(parts.tasks), parts.dim
        self.projection, self.trunk = parts.projection(()), parts.trunk()
        layers = range(self.trunk.num_layers)
        self.passed = nn.ModuleList(nn.Linear(dim, dim) for _ in layers[1:])  # f
        self.masks = nn.ModuleDict(
            {f"layer_{i}_{task}": Mask(task, i, dim) for i in layers for task in self.tasks}
        )

    def step(self, layer: int, x: Inputs, hop: Hop, num_seeds: Mapping[str, int]) -> Streams:
        """Return what the trunk's layer hands on, and for the seeds what each task sees of it."""
        out = super().step(layer, x, hop, num_seeds)[SHARED]
        masked: Streams = {task: {} for task in self.tasks}
        for task, kinds in self.tasks.items():
            for kind in kinds:
                n, mask = num_seeds[kind], self.masks[f"layer_{layer}_{task}"]
                below = x[task][kind].dense()[:n] if layer else None
                f = None if below is None else self.passed[layer - 1](below).relu()
                masked[task][kind] = mask(x[SHARED][kind].first(n), f) * out[kind][:n]
        return masked if layer + 1 == self.num_layers else {SHARED: out, **masked}

    def finish(self, out: Mapping[str, Mapping[str, Tensor]]) -> "SeedEmbeddings":
        """Return what each task sees of the last layer."""
        return {task: dict(out[task]) for task in self.tasks}


class Mask(Gate):
    """sigmoid(H relu(G [u; f])); reports how open it is on average, 0 to 1.

    Args:
        task: that looks through it.
        layer: whose output it is put on.
        dim: width of the embeddings.
    """

    def __init__(self, task: str, layer: int, dim: int) -> None:
        super().__init__(task, (f"layer_{layer}",))
        self.seen = nn.Linear(dim, dim)  # the columns of G for u
        self.passed = nn.Linear(dim, dim, bias=False) if layer else None  # and for f
        self.output = nn.Linear(dim, dim)  # H

    def forward(
        self, u: Embeddings, f: Float[Tensor, "seeds dim"] | None
    ) -> Float[Tensor, "seeds dim"]:
        """Return the mask that u and, above the first layer, f ask for."""
        terms = [(u, self.seen)]
        if f is not None and self.passed is not None:
            terms.append((Embeddings(f), self.passed))
        mask: Tensor = self.output(linear_sum(terms).relu()).sigmoid()
        self.record(mask.mean(-1, keepdim=True))
        return mask
