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


def placed(
    config: JobConfig, store: GraphStore, runtime: Runtime, *, together: bool = False
) -> JobConfig:
    """Return a configuration as of `place`; the main process says why."""
    config, why = place(config, store, runtime, together=together)
    if why and runtime.is_main:
        print(why, file=sys.stderr)
    return config


def place(
    config: JobConfig, store: GraphStore, runtime: Runtime, *, together: bool = False
) -> tuple[JobConfig, str]:
    """Put the sampler in the place of auto, and edges and features where they fit.

    Every process calls this. What a sampler draws is its own, so a run keeps to the one that it
    began with.

    Args:
        config: of the job.
        store: the graph.
        runtime: this process among all.
        together: whether all processes take as many batches, so that they may share the edges out.

    Returns:
        The configuration, and why it is so; nothing where there was no choice.
    """
    loader, gpus = config.loader, runtime.world_size if together else 1
    if loader.edges == "sharded" and gpus == 1:
        loader = replace(loader, edges="auto")
        config = replace(config, loader=loader)
    if loader.edges == "auto" and gpus != runtime.local_world_size:
        gpus = 1  # a wire is slower than this machine's memory
    if runtime.device.type != "cuda":
        return config, ON_CPU if loader.backend == "cuda" else ""
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


def _room(runtime: Runtime) -> tuple[int, int, int]:
    """Return the least bytes of any process: free on its GPU, all there, its share of the host."""
    spare = min(psutil.virtual_memory().available, memory_bytes()) // runtime.local_world_size
    numbers = [*torch.cuda.mem_get_info(runtime.device), spare]
    mine = torch.tensor(numbers, device=runtime.device)
    everyone = runtime.gather(mine, [len(mine)] * runtime.world_size)
    free, total, spare = torch.stack(everyone).amin(0).tolist()
    return free, total, spare
