"""sharing: where the ways of the tasks part, after tensors that every one of them reads."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.sharing import SeedEmbeddings

Representation = dict[str, Tensor]


class Parting(nn.Module):
    """A bottom in two parts: what all tasks have in common, and what each makes of it.

    How the tasks' gradients of the representation agree is how they agree on everything below it,
    for the price of a backward pass through what is above.
    """

    @abstractmethod
    def common(self, batch: "Data | HeteroData") -> Representation:
        """Return the representation: tensors that every task reads, and nothing beside them.

        None of them is computed from another: gradients of one would count for both.
        """

    @abstractmethod
    def apart(self, common: Mapping[str, Tensor]) -> "SeedEmbeddings":
        """Return what each task makes of the representation."""

    def forward(self, batch: "Data | HeteroData") -> "SeedEmbeddings":
        """Return the embeddings of the seeds."""
        return self.apart(self.common(batch))
