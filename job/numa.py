"""step: the cores of a process where a machine's memory has several parts, each near some cores.

Those parts are NUMA nodes. What a core reads from another node comes later and slower, and so does
what it sends to a GPU that hangs on another one.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from job.hardware import Threads, count_cores, describe_threads, share_cores

Nodes = Mapping[int, frozenset[int]]
"""The cores that a process may use, by NUMA node."""


@dataclass(frozen=True)
class Place:
    """Where a process computes."""

    cores: frozenset[int]
    num_processes: int
    """Processes of this machine that share these cores, with this one."""
    node: int | None = None
    """NUMA node of all of these cores; None where there is one, or the process takes several."""


def choose(local_rank: int, nodes: Nodes, homes: Sequence[int | None]) -> Place:
    """Choose the node of a process: that of its GPU, or else nodes in turn, by their cores.

    Fewer processes than nodes take all cores, where nobody knows their GPUs' nodes.

    Args:
        local_rank: of the process.
        nodes: of this machine.
        homes: the node of each process's GPU; None where it has none, or nobody knows.
    """
    everything = frozenset[int]().union(*nodes.values())
    if len(nodes) < 2:
        return Place(everything, len(homes))
    chosen = [home for home in homes if home is not None and home in nodes]
    if len(chosen) < len(homes):
        if len(homes) < len(nodes):
            return Place(everything, len(homes))
        chosen = [_in_turn(rank, len(homes), nodes) for rank in range(len(homes))]
    node = chosen[local_rank]
    return Place(nodes[node], chosen.count(node), node)


def _in_turn(rank: int, num_processes: int, nodes: Nodes) -> int:
    """Return the node of the core in the middle of a process's share of all cores."""
    owners = [node for node in sorted(nodes) for _ in nodes[node]]
    return owners[(2 * rank + 1) * len(owners) // (2 * num_processes)]


def read_nodes(root: Path = Path("/")) -> dict[int, frozenset[int]]:
    """Return the nodes of this machine, with the cores that this process may use."""
    allowed = os.sched_getaffinity(0)
    nodes = {}
    for folder in (root / "sys/devices/system/node").glob("node[0-9]*"):
        cores = _read_list(folder / "cpulist") & allowed
        if cores:
            nodes[int(folder.name.removeprefix("node"))] = frozenset(cores)
    known = frozenset[int]().union(*nodes.values())
    return nodes if known == allowed else {0: frozenset(allowed)}


def read_homes(num_processes: int, *, on_gpu: bool, root: Path = Path("/")) -> list[int | None]:
    """Return the node that the GPU of each process of this machine hangs on."""
    return [_read_home(gpu, root) if on_gpu else None for gpu in range(num_processes)]


def settle(
    local_rank: int, num_processes: int, loader: int | Literal["auto"], *, on_gpu: bool
) -> tuple[Threads, str]:
    """Keep this process, and all threads that it starts from now on, to its cores.

    Returns:
        As of `plan`.
    """
    place, threads, words = plan(local_rank, num_processes, loader, on_gpu=on_gpu)
    if place.node is not None:
        os.sched_setaffinity(0, place.cores)
    return threads, words


def plan(
    local_rank: int, num_processes: int, loader: int | Literal["auto"], *, on_gpu: bool
) -> tuple[Place, Threads, str]:
    """Choose cores and threads.

    Args:
        local_rank: of a process.
        num_processes: on this machine.
        loader: `loader.num_threads`.
        on_gpu: whether each process has a GPU.

    Returns:
        Its place, its threads, and a description of both in words.
    """
    place = choose(local_rank, read_nodes(), read_homes(num_processes, on_gpu=on_gpu))
    quota = count_cores() * place.num_processes // num_processes  # of a container
    num_cores = max(1, min(len(place.cores), quota))
    threads = share_cores(num_cores, place.num_processes, loader)
    where = "" if place.node is None else f" of NUMA node {place.node}"
    return place, threads, describe_threads(threads, place.num_processes, num_cores) + where


def _read_home(gpu: int, root: Path) -> int | None:
    import torch

    of: Any = torch.cuda.get_device_properties(gpu)
    address = f"{of.pci_domain_id:04x}:{of.pci_bus_id:02x}:{of.pci_device_id:02x}.0"
    try:
        node = int((root / "sys/bus/pci/devices" / address / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None  # -1 where the machine does not say


def _read_list(path: Path) -> set[int]:
    """Read a list of cores like 0-3,8-11."""
    try:
        parts = [part.partition("-") for part in path.read_text().split(",") if part.strip()]
    except OSError:
        return set()
    return {core for first, _, last in parts for core in range(int(first), int(last or first) + 1)}
