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


class Exchange(Protocol):
    """A way from each process to each other, for one thread.

    What it carries either mixes with nothing else that processes exchange, or takes its turn with
    all of it, from the thread that trains; who makes it says which.
    """

    rank: int
    world_size: int

    def all_to_all(
        self, rows: Shaped[Tensor, "rows columns"], send: list[int], receive: list[int]
    ) -> Shaped[Tensor, "received columns"]:
        """Send the first `send[0]` rows to process 0, and so on; return what comes, by process."""
        ...
