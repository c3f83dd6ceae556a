"""sharing: where the ways of the tasks part, after tensors that every one of them reads."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from mtl.models.sharing._bottom import SHARED, OneTrunk

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.sharing import SeedEmbeddings

Representation = dict[str, Tensor]


class Parting(OneTrunk):
    """One trunk, then two parts: what all tasks have in common, and what each makes of it.

    How the tasks' gradients of the representation agree is how they agree on everything below it,
    for the price of a backward pass through what is above.
    """

    def common(self, batch: "Data | HeteroData") -> Representation:
        """Return the representation of the seeds of a batch."""
        return self.represent(self.through(batch)[SHARED])

    @abstractmethod
    def represent(self, x: Mapping[str, Tensor]) -> Representation:
        """Return the representation: tensors that every task reads, and nothing beside them.

        None of them is computed from another: gradients of one would count for both.

        Args:
            x: what comes out of the trunk for the seeds of each type.
        """

    @abstractmethod
    def apart(self, common: Mapping[str, Tensor]) -> "SeedEmbeddings":
        """Return what each task makes of the representation."""

    def finish(self, out: Mapping[str, Mapping[str, Tensor]]) -> "SeedEmbeddings":
        """Return what each task makes of what comes out of the trunk."""
        return self.apart(self.represent(out[SHARED]))
