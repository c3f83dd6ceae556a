"""stream: which seeds, in which order, with which neighbours; then the batches, ahead of time."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, PositiveInt

from mtl.plugin import Options

MAX_NEIGHBORS = 100_000


def _is_num_neighbors(number: int) -> int:
    if not (number == -1 or 1 <= number <= MAX_NEIGHBORS):
        raise ValueError(
            f"must be -1 (all) or at least 1 (at most {MAX_NEIGHBORS}), found {number}"
        )
    return number


NumNeighbors = Annotated[int, AfterValidator(_is_num_neighbors)]


@dataclass(frozen=True, kw_only=True)
class Loader(Options):
    """How mini-batches are made."""

    num_neighbors: tuple[NumNeighbors, ...] = (15, 10)
    """Neighbours drawn for each node, per hop; -1 takes all. As many as the encoder has layers."""
    batch_size: PositiveInt = 1024
    """Seeds of one microbatch, over all tasks: what one process holds at a time."""
    global_batch_size: PositiveInt | None = None
    """Seeds of one optimizer step. Default: batch_size x processes at the first start. Set it, and
    every number of processes gives the same numbers."""
    backend: Literal["auto", "numba"] = "auto"
    """Which sampler draws the neighbours; auto is numba."""
    num_threads: PositiveInt = 1
    """Threads of each process that prepare batches ahead of the model."""
    prefetch: PositiveInt = 4
    """Batches each process holds ready."""
