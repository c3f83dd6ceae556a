"""stream: which sampler draws, and where features stay, by what fits on a GPU."""

from dataclasses import dataclass
from typing import Literal

import torch

from mtl.graphs.store import GraphStore
from mtl.loaders import Loader, Where, WhereEdges

EDGES: tuple[WhereEdges, ...] = ("device", "sharded", "host")
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
    where = _first(options, sizes, room, free if options.backend == "cuda" else room, spare, gpus)
    edges, features = where or ("host", "host")
    backend: Literal["numba", "cuda"] = "cuda" if where or options.backend == "cuda" else "numba"
    why = f"loader.backend: {backend}"
    if backend == "cuda":
        why += f", loader.edges: {edges}, loader.features: {features}"
    why += (
        f"; edges take {_gib(sizes.edges + sizes.places)} and features {_gib(sizes.features)} of a "
        f"GPU that has {_gib(free)} of {_gib(total)} free and {_gib(total * MODEL_SHARE)} for the "
        "model"
    )
    why += f", or of {gpus} such GPUs together" * (gpus > 1)
    return Placement(
        backend, edges, features, f"{why}; a process may take {_gib(spare)} of the host"
    )


def _first(
    options: Loader, sizes: Sizes, room: int, for_edges: int, spare: int, gpus: int
) -> tuple[WhereEdges, Where] | None:
    """Return where edges and features stay: the first that fits and is no faster than asked.

    Args:
        options: what is asked.
        sizes: of the graph.
        room: bytes of a GPU for edges and features.
        for_edges: bytes of a GPU for edges alone.
        spare: bytes of the host's memory that a process may take.
        gpus: that may share the graph out.
    """
    whole, share = sizes.edges + sizes.places, -(-sizes.edges // gpus) + sizes.places
    pinned = 2 * sizes.features <= spare  # torch takes a power of two
    some = whole <= for_edges
    together = gpus > 1 and share <= for_edges
    fits: dict[tuple[WhereEdges, Where], bool] = {
        ("device", "device"): some and whole + sizes.features <= room,
        ("device", "pinned"): some and pinned,
        ("sharded", "device"): together and share - (-sizes.features // gpus) <= room,
        ("sharded", "pinned"): together and pinned,
        ("device", "host"): some,
        # numba, which auto takes then, makes batches ahead
        ("sharded", "host"): together and options.backend == "cuda",
    }
    for (edges, features), it_fits in fits.items():
        slower = EDGES.index(edges) >= EDGES.index(options.edges)
        if it_fits and slower and FEATURES.index(features) >= FEATURES.index(options.features):
            return edges, features
    return None


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
