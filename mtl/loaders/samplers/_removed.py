"""sampler: edges that are not there, taken out of the numbers of the edges and put in again."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mtl.graphs.topology import Bits
from mtl.loaders.samplers._inputs import Ids
from mtl.loaders.transfer import moved


@dataclass(frozen=True, eq=False)
class Removed:
    """Numbers without some of them: of 0 to 5 without 1 and 2, the number 1 is 3.

    Attributes:
        gone: the numbers that are removed, ascending.
        shifted: each less the removed ones before it, by which `restore` finds its place.
    """

    gone: Int[Tensor, " removed"]
    shifted: Int[Tensor, " removed"]

    @classmethod
    def of(cls, gone: Int[Tensor, " removed"]) -> Self:
        """Remove these, ascending."""
        return cls(gone, gone - torch.arange(len(gone), device=gone.device))

    @classmethod
    def of_bits(cls, bits: Bits, number: int, device: torch.device) -> Self:
        """Remove those whose bit is 1."""
        gone = np.flatnonzero(np.unpackbits(bits, count=number, bitorder="little"))
        return cls.of(torch.from_numpy(gone).to(device))

    @classmethod
    def both(
        cls, always: Self | None, bits: Bits | None, now: Ids | None, device: torch.device
    ) -> list[Self]:
        """Return the layers to take off, one after the other.

        Args:
            always: what is removed from every call.
            bits: the same as bits, on the host.
            now: what is removed from this one, ascending.
            device: of the layers.
        """
        layers = [] if always is None or not len(always.gone) else [always]
        if now is None:
            return layers
        if bits is not None:
            now = now[(bits[now >> 3] >> (now & 7)) & 1 == 0]
        gone = moved(torch.from_numpy(now), device)
        for layer in layers:
            gone = layer.without(gone)
        return [*layers, cls.of(gone)]

    def without(self, numbers: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Return how many of the numbers below each are left."""
        return numbers - torch.searchsorted(self.gone, numbers)

    def restore(self, numbers: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Return what the numbers were before."""
        return numbers + torch.searchsorted(self.shifted, numbers, right=True)
