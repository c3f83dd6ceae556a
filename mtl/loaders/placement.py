"""stream: which sampler draws, and where features stay, by what fits on a GPU."""

from dataclasses import dataclass
from typing import Literal

import torch

from mtl.graphs.store import GraphStore
from mtl.loaders import Loader, Where

MODEL_SHARE = 0.35
"""Of a GPU's memory: for the model, its activations, batches, and edges that links hold out."""


@dataclass(frozen=True)
class Sizes:
    """What a graph would take on a GPU, in bytes."""

    edges: int
    """With a place for each node, as the sampler needs it."""
    features: int


@dataclass(frozen=True)
class Placement:
    """Where a graph lives, and why, in a sentence."""

    backend: Literal["numba", "cuda"]
    features: Where
    why: str


def sizes_of(store: GraphStore, dtype: torch.dtype | None, *, edge_features: bool) -> Sizes:
    """Return what a graph would take on a GPU.

    Args:
        store: the graph.
        dtype: bfloat16 rounds float32 features to it.
        edge_features: whether those of edges are read, too.
    """
    topology = store.topology()
    edges = sum(csc.colptr.nbytes + csc.row.nbytes for csc in topology.edges.values())
    places = sum((4 if n < 2**31 else 8) * n for n in topology.num_nodes.values())
    found = [store.features(kind) for kind in store.node_types]
    found += [store.edge_features(kind) for kind in store.edge_types if edge_features]
    narrow = dtype == torch.bfloat16
    features = sum(
        x.numel() * (2 if narrow and x.dtype == torch.float32 else x.itemsize)
        for x in found
        if x is not None
    )
    return Sizes(edges + places, features)


def choose(
    options: Loader, sizes: Sizes, free: int, total: int, spare: int, *, sharded: bool = False
) -> Placement:
    """Return where a graph lives on a machine with GPUs, where the options leave that open.

    Args:
        options: `backend` is auto or cuda.
        sizes: of the graph.
        free: bytes of a GPU that nobody uses.
        total: all of them.
        spare: bytes of the host's memory that a process may take.
        sharded: whether no process has all features.
    """
    asked = [f"loader.{name}" for name in ("weighted", "temporal") if getattr(options, name)]
    asked += ["graph.features: sharded"] * sharded
    if options.backend == "auto" and asked:
        return Placement("numba", "host", f"loader.backend: numba, for {asked[0]}")
    room = free - int(MODEL_SHARE * total)
    numbers = (
        f"edges take {_gib(sizes.edges)} and features {_gib(sizes.features)} of a GPU that has "
        f"{_gib(free)} of {_gib(total)} free and {_gib(total * MODEL_SHARE)} for the model"
    )
    if options.backend == "auto" and sizes.edges > room:
        return Placement("numba", "host", f"loader.backend: numba; {numbers}")
    features = options.features
    if features == "device" and sizes.edges + sizes.features > room:
        features = "pinned"
    if features == "pinned" and 2 * sizes.features > spare:  # torch takes a power of two
        features = "host"
    why = f"loader.backend: cuda, loader.features: {features}; {numbers}"
    return Placement("cuda", features, f"{why}; a process may take {_gib(spare)} of the host")


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
