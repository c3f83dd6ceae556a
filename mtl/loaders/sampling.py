"""stream: the sampler that a `loader:` section asks for, and what it needs of the graph."""

from collections.abc import Mapping

import torch

from mtl.collective import Exchange
from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType, Owner, text
from mtl.graphs.store import GraphStore
from mtl.graphs.topology import Bits, Topology
from mtl.loaders import DEFAULT, Loader
from mtl.loaders.samplers.base import Sampler
from mtl.loaders.samplers.cuda import CudaSampler
from mtl.loaders.samplers.numba import NumbaSampler
from mtl.loaders.samplers.pyg import PyGSampler
from mtl.plugin import nearest
from mtl.tasks.bound import BoundTask


def sampler_of(
    options: Loader,
    store: GraphStore,
    fan_outs: tuple[int, ...] | dict[EdgeType, tuple[int, ...]],
    seed: int,
    hidden: dict[EdgeType, Bits],
    device: torch.device,
    exchange: Exchange | None = None,
) -> Sampler:
    """Make the sampler; it draws on the device where it can.

    Raises:
        ConfigError: it cannot do what is asked, or is not installed.
    """
    kinds = {"pyg": PyGSampler, "cuda": CudaSampler}
    if options.backend == "cuda" and store.shards is not None:
        raise ConfigError(
            "loader.backend: cuda reads the features itself, and graph.features is sharded; take "
            "graph.features: replicated, with loader.edges: sharded where a GPU is too small, or "
            "numba"
        )
    try:
        sampler = kinds.get(options.backend, NumbaSampler)(
            store.topology(),
            fan_outs,
            seed=seed,
            replace=options.replace,
            weighted=options.weighted,
            temporal=options.temporal,
            hidden=hidden,
        )
    except ConfigError as error:
        raise ConfigError(f"loader.{error}") from error
    if not isinstance(sampler, CudaSampler):
        return sampler
    if options.edges != "sharded":
        return sampler.to("cpu" if options.edges == "host" else device)
    if exchange is None:
        raise ConfigError(
            "loader.edges: sharded, and there is no other process to share with; take host, from "
            "which the CPU draws the same neighbours, or device"
        )
    return sampler.to(device, exchange)


def check_times(options: Loader, store: GraphStore, tasks: Mapping[str, BoundTask]) -> None:
    """Check that every seed of temporal sampling has a time.

    Raises:
        ConfigError: the nodes or edges of a task have none, or nobody asks for times.
    """
    if options.temporal is None and options.seed_time is not None:
        raise ConfigError("loader.seed_time: given, but loader.temporal is not")
    if options.temporal is None or options.seed_time is not None:
        return
    topology = store.topology()
    timed: set[Owner] = set(topology.time)
    timed |= {kind for kind, csc in topology.edges.items() if csc.time is not None}
    names = ", ".join(sorted(text(kind) for kind in timed)) or "nothing"
    for name, task in tasks.items():
        if task.owner not in timed:
            raise ConfigError(
                f"loader.temporal: the seeds of tasks.{name} need a time, and {task.group} has "
                f"none (there is one on: {names}); say as of when they are looked at: "
                "loader.seed_time"
            )


def fan_outs_of(
    num_neighbors: tuple[int, ...] | dict[str, tuple[int, ...]],
    topology: Topology,
    num_hops: int | None,
    section: str,
) -> tuple[int, ...] | dict[EdgeType, tuple[int, ...]]:
    """Return the neighbours of each hop, by edge type where they differ.

    Raises:
        ConfigError: there is no such edge type.
    """
    if isinstance(num_neighbors, tuple):
        return num_neighbors[:num_hops]
    names = {"__".join(kind): kind for kind in topology.edges}
    for name in num_neighbors.keys() - names.keys() - {DEFAULT}:
        raise ConfigError(
            f"{section}.num_neighbors.{name}: the graph has no such edge type"
            f"{nearest(name, list(names))} (it has: {', '.join(names)})"
        )
    default = num_neighbors[DEFAULT]
    return {kind: num_neighbors.get(name, default)[:num_hops] for name, kind in names.items()}
