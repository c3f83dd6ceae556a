"""step: what this machine has for one process: GPUs, precision, cores, threads, memory.

No rank is known here: job/runtime.py says how many processes share the machine.
"""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mtl import cgroups
from mtl.errors import ConfigError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16", "fp16", "fp64"]
FEW_CORES, MANY_CORES = 4, 8


@dataclass(frozen=True)
class Threads:
    """Threads of one process."""

    model: int
    """Threads of each operation of torch."""
    loader: int
    """Threads that prepare batches."""


def share_cores(num_cores: int, num_processes: int, loader: int | Literal["auto"]) -> Threads:
    """Share the cores of a machine out among its processes, and those of a process.

    Below four cores a process, the model takes all: preparing batches needs a core now and then,
    and to give one up for it costs more than to share (the quick start on 2 cores: up to twice the
    steps a second with two threads beside the loader's than with one). From four on, the loader
    has cores of its own: a team of threads is as slow as the one whose core is taken.

    Args:
        num_cores: of all processes of this machine.
        num_processes: on this machine.
        loader: `loader.num_threads`; auto is 1, and 2 from eight cores a process.
    """
    mine = max(1, num_cores // num_processes)
    threads = (2 if mine >= MANY_CORES else 1) if loader == "auto" else loader
    return Threads(mine if mine < FEW_CORES else max(mine // 2, mine - threads), threads)


def describe_threads(threads: Threads, num_processes: int, num_cores: int) -> str:
    """Say in words what `share_cores` returned."""
    processes = "1 process" if num_processes == 1 else f"{num_processes} processes"
    cores = "1 core" if num_cores == 1 else f"{num_cores} cores"
    return f"{processes} x ({threads.model} torch + {threads.loader} loader threads) on {cores}"


def count_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use: by affinity, and by the quota of its cgroups."""
    quota = min(_quotas(root), default=float("inf"))
    return max(1, int(min(len(os.sched_getaffinity(0)), quota)))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the limits, in cores, of the cgroups that this process is in (version 1 and 2)."""
    files = {1: ["cpu.cfs_quota_us", "cpu.cfs_period_us"], 2: ["cpu.max"]}
    for version, folder in cgroups.folders("cpu", root):
        quota = _quota([folder / file for file in files[version]])
        if quota is not None:
            yield quota


def _quota(files: list[Path]) -> float | None:
    """Return quota / period of one cgroup; None where it has no limit."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no such file; "max" instead of a number
        return None


def check_devices(local_world_size: int, num_gpus: int) -> None:
    """Refuse to let several processes share a GPU.

    Raises:
        ConfigError: saying what to start instead.
    """
    if num_gpus and local_world_size > num_gpus:
        raise ConfigError(
            f"--nproc_per_node: {local_world_size} processes, but this machine has {num_gpus} "
            f"GPU{'s' * (num_gpus > 1)}; start at most {num_gpus}, or hide the GPUs with "
            f"CUDA_VISIBLE_DEVICES= to train on the CPU"
        )


def device_name(device: "torch.device") -> str:
    """Return what people call a device."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def choose_precision(precision: Precision, *, on_gpu: bool) -> tuple[Precision, str]:
    """Return the precision that auto stands for on this machine, and why.

    Raises:
        ConfigError: the device does not have the one that was asked for.
    """
    if precision == "fp16" and not on_gpu:
        raise ConfigError(
            "train.precision: fp16 needs a GPU, this machine has none (allowed here: auto, fp32, "
            "bf16, fp64)"
        )
    if precision != "auto":
        return precision, "train.precision"
    instructions = _bf16_of_gpu() if on_gpu else _bf16_of_cpu()
    device = "GPU" if on_gpu else "CPU"
    if instructions is None:
        return "fp32", f"this {device} has no bf16"
    return "bf16", f"this {device} has {instructions}"


def _bf16_of_gpu() -> str | None:
    import torch

    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else None


def _bf16_of_cpu() -> str | None:
    """Return the instructions for bf16; torch's ways to ask differ between its versions."""
    import torch

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    for name in ("amx_bf16", "avx512_bf16"):
        if capabilities.get(name):
            return name
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "avx512_bf16" if supported() else None


def peak_memory(device: "torch.device") -> int:
    """Return the most bytes so far: allocated on a GPU, or resident on the CPU.

    Resident memory counts the pages of the graph that processes share, in each of them.
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    # some sandboxes do not have it; this one may remember a larger parent
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
