"""stream: which sampler draws, and where features stay, by what fits on a GPU."""

from dataclasses import dataclass
from typing import Literal

import torch

from mtl.graphs.store import GraphStore
from mtl.loaders import Loader, Where, WhereEdges

FEATURES: tuple[Where, ...] = ("device", "pinned", "host")
MODEL_SHARE = 0.35
"""Of a GPU's memory: for the model, its activations, batches, and edges that links hold out."""


@dataclass(frozen=True)
class Sizes:
    """What a graph would take on a GPU, in bytes."""

    edges: int
    places: int
    """A number for each node, which the sampler needs on each GPU."""
    features: int


@dataclass(frozen=True)
class Placement:
    """Where a graph lives, and why, in a sentence."""

    backend: Literal["numba", "cuda"]
    edges: WhereEdges
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
    return Sizes(edges, places, features)


def choose(
    options: Loader,
    sizes: Sizes,
    free: int,
    total: int,
    spare: int,
    *,
    gpus: int = 1,
    sharded: bool = False,
) -> Placement:
    """Return where a graph lives on a machine with GPUs, where the options leave that open.

    Args:
        options: `backend` is auto or cuda.
        sizes: of the graph.
        free: bytes of a GPU that nobody uses.
        total: all of them.
        spare: bytes of the host's memory that a process may take.
        gpus: that may share the graph out.
        sharded: whether no process has all features.
    """
    asked = [f"loader.{name}" for name in ("weighted", "temporal") if getattr(options, name)]
    asked += ["graph.features: sharded"] * sharded
    if options.backend == "auto" and asked:
        return Placement("numba", "host", "host", f"loader.backend: numba, for {asked[0]}")
    room = free - int(MODEL_SHARE * total)
    edges, features = _where(options, sizes, room, spare, gpus)
    backend: Literal["numba", "cuda"] = "cuda"
    if options.backend == "auto" and edges == "host" and options.edges != "host":
        backend = "numba"
    why = f"loader.backend: {backend}"
    if backend == "cuda":
        why += f", loader.edges: {edges}, loader.features: {features}"
    whole = f"edges take {_gib(sizes.edges + sizes.places)} and features {_gib(sizes.features)}"
    why += (
        f"; {whole} of a GPU that has {_gib(free)} of {_gib(total)} free and "
        f"{_gib(total * MODEL_SHARE)} for the model"
    )
    if gpus > 1:
        why += f", or of {gpus} such GPUs"
    return Placement(
        backend, edges, features, f"{why}; a process may take {_gib(spare)} of the host"
    )


def _where(
    options: Loader, sizes: Sizes, room: int, spare: int, gpus: int
) -> tuple[WhereEdges, Where]:
    """Return where edges and features stay: the first that the options allow and that fits."""
    whole, share = sizes.edges + sizes.places, -(-sizes.edges // gpus) + sizes.places
    pinned = 2 * sizes.features <= spare  # torch takes a power of two
    fits: dict[tuple[WhereEdges, Where], bool] = {
        ("device", "device"): whole + sizes.features <= room,
        ("device", "pinned"): whole <= room and pinned,
        ("sharded", "device"): share - (-sizes.features // gpus) <= room,
        ("sharded", "pinned"): share <= room and pinned,
        ("device", "host"): whole <= room,
        ("sharded", "host"): share <= room,
    }
    slowest = FEATURES.index(options.features)
    allowed = [
        (edges, features)
        for edges, features in fits
        if (options.edges in ("auto", edges)) and FEATURES.index(features) >= slowest
        if edges != "sharded" or gpus > 1
    ]
    found = [where for where in allowed if fits[where]]
    if found:
        return found[0]
    return (options.edges if options.edges != "auto" else "host"), "host"


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
