"""stream: which seeds, in which order, with which neighbours; then the batches, ahead of time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, PositiveInt

from mtl.plugin import Options

MAX_NEIGHBORS = 100_000
DEFAULT = "default"


def _hops(value: Any) -> tuple[int, ...]:
    """Read neighbours per hop."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"must be a list of one number a hop, found {value!r}")
    for number in value:
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not whole or not (number == -1 or 1 <= number <= MAX_NEIGHBORS):
            raise ValueError(
                f"must be -1 (all) or at least 1 (at most {MAX_NEIGHBORS}), found {number!r}"
            )
    return tuple(value)


def _num_neighbors(value: Any) -> Any:
    """Read neighbours per hop, or those of each edge type."""
    if not isinstance(value, Mapping):
        return _hops(value)
    fan_outs = {str(kind): _hops(hops) for kind, hops in value.items()}
    if DEFAULT not in fan_outs:
        raise ValueError(f"must say `{DEFAULT}`, for the edge types that it does not name")
    if len({len(hops) for hops in fan_outs.values()}) > 1:
        raise ValueError(f"must have as many hops for every edge type, found {fan_outs}")
    return fan_outs


def _num_threads(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError(f"must be auto or at least 1, found {value!r}")


NumNeighbors = Annotated[
    tuple[int, ...] | dict[str, tuple[int, ...]], PlainValidator(_num_neighbors)
]
Temporal = Literal["uniform", "last"]
NumThreads = Annotated[int | Literal["auto"], PlainValidator(_num_threads)]


@dataclass(frozen=True, kw_only=True)
class Loader(Options):
    """How mini-batches are made."""

    num_neighbors: NumNeighbors = (15, 10)
    """Neighbours drawn for each node, per hop; -1 takes all. As many as the encoder has layers.
    Or by edge type: `{default: [15, 10], user__buys__item: [5, 5]}`."""
    replace: bool = False
    """Draw neighbours with replacement: as many as `num_neighbors` says, the same one perhaps again
    and again."""
    weighted: bool = False
    """Draw edges in proportion to their weight where they have one; those of weight 0 never."""
    temporal: Temporal | None = None
    """Only neighbours from before the time of the seed, or from the same moment: uniform draws any
    of them, last takes the latest. Nodes, edges or both have a time; seeds do. Evaluation, too."""
    batch_size: PositiveInt = 1024
    """Seeds of one microbatch, over all tasks: what one process holds at a time."""
    global_batch_size: PositiveInt | None = None
    """Seeds of one optimizer step. Default: batch_size x processes at the first start. Set it, and
    every number of processes gives the same numbers."""
    backend: Literal["auto", "numba", "pyg"] = "auto"
    """Which sampler draws the neighbours; auto is numba. pyg needs pyg-lib or torch-sparse, and
    draws between the steps instead of ahead of them."""
    num_threads: NumThreads = "auto"
    """Threads of each process that prepare batches ahead of the model; auto is 1, and 2 where the
    process has 8 cores or more."""
    prefetch: PositiveInt = 4
    """Batches each process holds ready at most."""
    prefetch_bytes: PositiveInt = 1 << 30
    """Memory that they may take together, by the size of the largest so far."""


def num_hops(num_neighbors: NumNeighbors) -> int:
    """Return how many hops are sampled."""
    by_type = num_neighbors.values() if isinstance(num_neighbors, dict) else [num_neighbors]
    return len(next(iter(by_type)))
