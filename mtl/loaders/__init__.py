"""stream: which seeds, in which order, with which neighbours; then the batches, ahead of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, PositiveInt

from mtl.plugin import Options

MAX_NEIGHBORS = 100_000
DEFAULT, ALL = "default", "all"


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
    fan_outs = {
        str(kind): tuple(hops) if _is_none(hops) and kind != DEFAULT else _hops(hops)
        for kind, hops in value.items()
    }
    if DEFAULT not in fan_outs:
        raise ValueError(f"must say `{DEFAULT}`, for the edge types that it does not name")
    if len({len(hops) for hops in fan_outs.values()}) > 1:
        raise ValueError(f"must have as many hops for every edge type, found {fan_outs}")
    return fan_outs


def _all_or_num_neighbors(value: Any) -> Any:
    """Read the word `all`, or neighbours as `_num_neighbors` does."""
    if isinstance(value, str) and value != ALL:
        raise ValueError(
            f"must be {ALL}, a list of one number a hop, or a mapping, found {value!r}"
        )
    return value if value == ALL else _num_neighbors(value)


def _is_none(hops: Any) -> bool:
    """Say whether no message passes along an edge type, at no hop."""
    return isinstance(hops, list | tuple) and len(hops) > 0 and all(k == 0 for k in hops)


def _seed_time(value: Any) -> Any:
    """Read the moment of each split: whole numbers as they are, dates in microseconds (UTC)."""
    if not isinstance(value, Mapping) or value.keys() != {"train", "val", "test"}:
        raise ValueError(f"must be a mapping with train, val and test, found {value!r}")
    return {split: _moment(split, moment) for split, moment in value.items()}


def _moment(split: str, moment: Any) -> int:
    if isinstance(moment, int) and not isinstance(moment, bool):
        if abs(moment) >= 2**63:
            raise ValueError(f"{split} must be a number of 64 bits, found {moment}")
        return moment
    try:
        found = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        raise ValueError(f"{split} must be a date or a whole number, found {moment!r}") from None
    found = found.replace(tzinfo=found.tzinfo or UTC)
    return (found - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _num_threads(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError(f"must be auto or at least 1, found {value!r}")


NumNeighbors = Annotated[
    tuple[int, ...] | dict[str, tuple[int, ...]], PlainValidator(_num_neighbors)
]
AllOrNumNeighbors = Annotated[
    Literal["all"] | tuple[int, ...] | dict[str, tuple[int, ...]],
    PlainValidator(_all_or_num_neighbors),
]
Temporal = Literal["uniform", "last"]
Where = Literal["device", "pinned", "host"]
WhereEdges = Literal["device", "sharded", "host"]
SeedTime = Annotated[dict[str, int], PlainValidator(_seed_time)]
NumThreads = Annotated[int | Literal["auto"], PlainValidator(_num_threads)]


@dataclass(frozen=True, kw_only=True)
class Loader(Options):
    """How mini-batches are made."""

    num_neighbors: NumNeighbors = (15, 10)
    """Neighbours drawn for each node, per hop; -1 takes all. As many as the encoder has layers.
    Or by edge type: `{default: [15, 10], user__buys__item: [5, 5]}`; [0, 0] passes no message along
    edges of that type, and the model has no weights for it."""
    replace: bool = False
    """Draw neighbours with replacement: as many as `num_neighbors` says, the same one perhaps again
    and again."""
    weighted: bool = False
    """Draw edges in proportion to their weight where they have one; those of weight 0 never."""
    temporal: Temporal | None = None
    """Only neighbours from before the time of the seed, or from the same moment: uniform draws any
    of them, last takes the latest. In evaluation, too. The time of a seed is that of the node or
    edge itself, which suits papers and purchases, unless `seed_time` says otherwise."""
    seed_time: SeedTime | None = None
    """As of when the seeds of each split are looked at, in temporal sampling, such as `{train:
    2024-03-01, val: 2024-04-01, test: 2024-05-01}`: what customers do, not what they did before
    they signed up. Dates are UTC; whole numbers are in the graph's own unit."""
    batch_size: PositiveInt = 1024
    """Seeds of one microbatch, over all tasks: what one process holds at a time."""
    global_batch_size: PositiveInt | None = None
    """Seeds of one optimizer step. Default: batch_size x processes at the first start. Set it, and
    every number of processes gives the same numbers."""
    rates: dict[str, Annotated[float, Field(gt=0, le=1000)]] = field(default_factory=dict)
    """Passes over a group of seeds in an epoch of training, such as `{user__buys__item: 0.1}`: a
    tenth of the edges each epoch, all of them in ten. Groups are the node types and edge types that
    tasks label; 1 for those that are not named."""
    backend: Literal["auto", "numba", "cuda", "pyg"] = "auto"
    """Which sampler draws the neighbours: numba with the CPU, cuda with a GPU that holds the edges
    of the graph (or, slowly, with a CPU; the draws are its own, the same on both), pyg with pyg-lib
    or torch-sparse, between the steps instead of ahead of them. auto is cuda where a GPU, or those
    of a machine together, have room for the edges, and numba elsewhere; the run says why, and keeps
    to it."""
    edges: WhereEdges = "device"
    """Where the edges of the graph stay under `backend: cuda`: on the device, all of them on each,
    where they fit there; sharded, each process of a machine with a share of them, and of features
    that stay on the device, where those fit: batches are then made by all together, between the
    steps; or host, a map from which the CPU draws."""
    features: Where = "device"
    """Where the features of the graph stay under `backend: cuda`: on the device, where they fit
    there beside the edges and the model; pinned in the memory of the host, which each process
    fills and its GPU reads, where they fit there; or host, a map that the CPU reads."""
    num_threads: NumThreads = "auto"
    """Threads of each process that prepare batches ahead of the model; auto is 1, and 2 where the
    process has 8 cores or more."""
    prefetch: PositiveInt = 4
    """Batches each process holds ready at most."""
    prefetch_bytes: PositiveInt = 1 << 30
    """Memory that they may take together, by the size of the largest so far."""


def message_types(
    num_neighbors: NumNeighbors, edge_types: Sequence[tuple[str, str, str]]
) -> list[tuple[str, str, str]]:
    """Return the edge types that messages pass along."""
    if not isinstance(num_neighbors, dict):
        return list(edge_types)
    silent = {name for name, hops in num_neighbors.items() if _is_none(hops)}
    return [kind for kind in edge_types if "__".join(kind) not in silent]


def neighbors_of(own: AllOrNumNeighbors | None, default: NumNeighbors) -> NumNeighbors:
    """Return the neighbours per hop of evaluation: its own, the default, or all in its place."""
    if not isinstance(own, str):
        return own or default
    if not isinstance(default, dict):
        return (-1,) * len(default)
    return {kind: h if _is_none(h) else (-1,) * len(h) for kind, h in default.items()}


def num_hops(num_neighbors: NumNeighbors) -> int:
    """Return how many hops are sampled."""
    by_type = num_neighbors.values() if isinstance(num_neighbors, dict) else [num_neighbors]
    return len(next(iter(by_type)))
