"""What code in mtl may ask of the other processes; job/runtime.py knows how."""

from collections.abc import Sequence
from typing import Protocol

from jaxtyping import Shaped
from torch import Tensor


class Collective(Protocol):
    """The processes of a job. Every one calls the same methods in the same order."""

    rank: int
    world_size: int

    def sum(self, tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """Return the sum over all processes."""
        ...

    def gather(
        self, tensor: Shaped[Tensor, " mine"], sizes: Sequence[int]
    ) -> list[Shaped[Tensor, " theirs"]]:
        """Return the tensors of all processes, by rank; everybody knows all `sizes`."""
        ...


class Alone:
    """A collective of one process."""

    rank = 0
    world_size = 1

    def sum(self, tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """Return the tensor itself."""
        return tensor

    def gather(
        self, tensor: Shaped[Tensor, " mine"], sizes: Sequence[int]
    ) -> list[Shaped[Tensor, " theirs"]]:
        """Return the tensor itself, in a list."""
        return [tensor]
