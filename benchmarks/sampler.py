"""Neighbour sampling on one core, side by side with PyG's samplers, and on several threads.

Beside it the sampler of tensor operations: on that core, and on the GPU where there is one; then
the graph is as large as ogbn-products.

usage: python benchmarks/sampler.py [--quick] [--json FILE] [--threads N]
"""

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TYPE_CHECKING, Any

from _graphs import NODE, OGBN_PRODUCTS, PRODUCTS, TINY
from _machine import separate_cores, version
from _report import Report, run

if TYPE_CHECKING:
    import numpy as np

    from mtl.graphs.topology import Csc, Topology
    from mtl.loaders.samplers.numba import NumbaSampler

    Sample = Callable[[np.ndarray, int], int]

NUM_NEIGHBORS = (15, 10, 5)
OURS, ON_CPU, ON_GPU = "ours", "ours, tensors, same core", "ours, tensors, GPU"
BARS = {"torch-sparse": 15.0, "pyg-lib": 4.0}
GPU_BAR = 10.0
"""What a GPU does against our compiled sampler on one core."""
THREADS_BAR = 1.7
"""For two; for N threads the same share of perfect, 1.7 of 2."""


def measure(args: Namespace) -> Report:
    import numpy as np
    import torch

    everything = os.sched_getaffinity(0)
    cores = separate_cores(args.threads)
    os.sched_setaffinity(0, cores[:1] if cores else {min(everything)})
    torch.set_num_threads(1)
    large = OGBN_PRODUCTS if torch.cuda.is_available() else PRODUCTS
    sampler = _sampler(TINY if args.quick else large)
    (csc,) = sampler.topology.edges.values()
    systems = {OURS: _ours(sampler), **_tensors(sampler.topology), **_peers(csc)}
    num_seeds, rounds = (64, 3) if args.quick else (1024, 15)
    rng = np.random.default_rng(0)
    seeds = [rng.choice(len(csc.colptr) - 1, num_seeds, replace=False) for _ in range(rounds + 2)]

    report = Report()
    _compare(systems, seeds, report)
    report.notes += [f"{name}: not installed" for name in BARS if name not in systems]
    os.sched_setaffinity(0, cores or everything)
    if args.threads > 1 and cores:
        _scale(systems[OURS], seeds, args.threads, report)
    elif args.threads > 1:
        report.notes.append(f"threads: there are no {args.threads} cores of their own")
    return report


def _compare(systems: "dict[str, Sample]", seeds: "Sequence[np.ndarray]", report: Report) -> None:
    """Let every system sample the same seeds in turn; the first two rounds warm up."""
    taken: dict[str, list[float]] = {name: [] for name in systems}
    edges: dict[str, list[int]] = {name: [] for name in systems}
    for key, some in enumerate(seeds):
        for name, sample in systems.items():
            start = time.perf_counter()
            edges[name].append(sample(some, key))
            taken[name].append(time.perf_counter() - start)
    speed = {name: median(edges[name]) / median(taken[name][2:]) for name in systems}
    for name in systems:
        report.rows.append(
            {
                "sampler": name,
                "version": version(name) if name in BARS else "",
                "threads": 1,
                "ms/batch": 1e3 * median(taken[name][2:]),
                "edges/batch": int(median(edges[name])),
                "seeds/s": len(seeds[0]) / median(taken[name][2:]),
                "M edges/s": speed[name] / 1e6,
                "ours / this": speed[OURS] / speed[name],
            }
        )
        if name in BARS:
            report.at_least(f"edges/s against {name}", speed[OURS] / speed[name], BARS[name])
    if ON_GPU in speed:
        report.at_least("edges/s on the GPU", speed[ON_GPU] / speed[OURS], GPU_BAR)


def _scale(
    sample: "Sample", seeds: "Sequence[np.ndarray]", num_threads: int, report: Report
) -> None:
    """Let one thread and several sample the same batches, in turn."""
    batches = list(enumerate(seeds))
    taken: dict[int, list[float]] = {1: [], num_threads: []}
    num_edges = 0
    for _ in range(6):
        for threads, times in taken.items():
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                num_edges = sum(pool.map(lambda batch: sample(batch[1], batch[0]), batches))
                times.append(time.perf_counter() - start)
    seconds = {threads: median(times[1:]) for threads, times in taken.items()}
    gain = seconds[1] / seconds[num_threads]
    report.rows.append(
        {
            "sampler": OURS,
            "version": "",
            "threads": num_threads,
            "ms/batch": 1e3 * seconds[num_threads] / len(batches),
            "edges/batch": num_edges // len(batches),
            "seeds/s": len(batches) * len(seeds[0]) / seconds[num_threads],
            "M edges/s": num_edges / seconds[num_threads] / 1e6,
            "ours / this": None,
        }
    )
    bar = num_threads * THREADS_BAR / 2
    report.at_least(f"edges/s on {num_threads} threads against one", gain, bar)


def _sampler(graph: Any) -> "NumbaSampler":
    from mtl.graphs.cache import open_graph
    from mtl.graphs.folder import Folder
    from mtl.loaders.samplers.numba import NumbaSampler

    return NumbaSampler(open_graph(Folder(path=graph.folder())).topology(), NUM_NEIGHBORS)


def _ours(sampler: "NumbaSampler") -> "Sample":
    return lambda seeds, key: len(sampler.sample({NODE: seeds}, key).row)


def _tensors(topology: "Topology") -> "dict[str, Sample]":
    """Return the sampler of tensor operations on each device that there is."""
    import torch

    from mtl.loaders.samplers.cuda import CudaSampler

    devices = {ON_CPU: "cpu"} | ({ON_GPU: "cuda"} if torch.cuda.is_available() else {})
    samplers = {
        name: CudaSampler(topology, NUM_NEIGHBORS).to(device) for name, device in devices.items()
    }

    def on(sampler: CudaSampler) -> "Sample":
        def sample(seeds: "np.ndarray", key: int) -> int:
            drawn = len(sampler.sample({NODE: seeds}, key).row)
            if sampler.device.type == "cuda":
                torch.cuda.synchronize()
            return drawn

        return sample

    return {name: on(sampler) for name, sampler in samplers.items()}


def _peers(csc: "Csc") -> "dict[str, Sample]":
    """Return the compiled samplers that are installed, called without PyG around them."""
    import torch
    from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SPARSE

    peers: dict[str, Sample] = {}
    if not (WITH_PYG_LIB or WITH_TORCH_SPARSE):
        return peers
    colptr, row = torch.from_numpy(csc.colptr).clone(), torch.from_numpy(csc.row).long()
    hops = list(NUM_NEIGHBORS)
    if WITH_TORCH_SPARSE:
        draw = torch.ops.torch_sparse.neighbor_sample
        peers["torch-sparse"] = lambda seeds, key: len(
            draw(colptr, row, torch.from_numpy(seeds), hops, False, True)[1]
        )
    if WITH_PYG_LIB:
        import pyg_lib

        sample = pyg_lib.sampler.neighbor_sample
        peers["pyg-lib"] = lambda seeds, key: len(
            sample(colptr, row, torch.from_numpy(seeds), hops, csc=True)[0]
        )
    return peers


def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=int, default=2, metavar="N", help="threads to compare with one (2)"
    )


if __name__ == "__main__":
    run(measure, __doc__, _options)
