"""stream: where the graph lives: the same for all processes, by the GPU that has least room."""

import sys
from dataclasses import replace

import psutil
import torch

from job.config import JobConfig
from job.rundir import is_started
from job.runtime import Runtime
from mtl.graphs._memory import memory_bytes
from mtl.graphs.store import GraphStore
from mtl.loaders.placement import choose, sizes_of

ON_CPU = "loader.backend: cuda, the GPU's sampler, on a CPU, where numba is faster"


def placed(config: JobConfig, store: GraphStore, runtime: Runtime, gpus: int = 1) -> JobConfig:
    """Return a configuration as of `place`; the main process says why."""
    config, why = place(config, store, runtime, gpus)
    if why and runtime.is_main:
        print(why, file=sys.stderr)
    return config


def place(
    config: JobConfig, store: GraphStore, runtime: Runtime, gpus: int = 1
) -> tuple[JobConfig, str]:
    """Put the sampler in the place of auto, and edges and features where they fit.

    Every process calls this. What a sampler draws is its own, so a run keeps to the one that it
    began with.

    Args:
        config: of the job.
        store: the graph.
        runtime: this process among all.
        gpus: that may share the graph out, see `sharers`.

    Returns:
        The configuration, and why it is so; nothing where there was no choice.
    """
    loader = config.loader
    if runtime.device.type != "cuda":
        return _on_host(config, gpus), ON_CPU if loader.backend == "cuda" else ""
    if loader.backend not in ("auto", "cuda"):
        return config, ""
    if loader.backend == "auto" and runtime.sum_int(int(runtime.is_main and is_started(config))):
        return config, ""  # begun where there was no GPU: with numba
    free, total, spare = _room(runtime)
    sizes = sizes_of(
        store, runtime.feature_dtype, edge_features=config.model.encoder.reads_edge_features
    )
    sharded = store.shards is not None
    found = choose(loader, sizes, free, total, spare, gpus=gpus, sharded=sharded)
    chosen = replace(loader, backend=found.backend, edges=found.edges, features=found.features)
    return replace(config, loader=chosen), found.why


def sharers(runtime: Runtime) -> int:
    """Return how many processes may share a graph out where all take as many batches.

    Those of one machine: a wire between machines is slower than the memory of the host.
    """
    return runtime.world_size if runtime.world_size == runtime.local_world_size else 1


def _on_host(config: JobConfig, gpus: int) -> JobConfig:
    """Let the host draw what there is nobody to share with."""
    if config.loader.edges != "sharded" or gpus > 1:
        return config
    return replace(config, loader=replace(config.loader, edges="host"))


def _room(runtime: Runtime) -> tuple[int, int, int]:
    """Return the least bytes of any process: free on its GPU, all there, its share of the host."""
    spare = min(psutil.virtual_memory().available, memory_bytes()) // runtime.local_world_size
    numbers = [*torch.cuda.mem_get_info(runtime.device), spare]
    mine = torch.tensor(numbers, device=runtime.device)
    everyone = runtime.gather(mine, [len(mine)] * runtime.world_size)
    free, total, spare = torch.stack(everyone).amin(0).tolist()
    return free, total, spare
