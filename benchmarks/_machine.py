"""Which machine this is: a number without it says little."""

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
LIBRARIES = ("torch", "torch_geometric", "numba", "numpy", "pyarrow", "duckdb")
PEERS = ("pyg-lib", "torch-sparse", "pandas")


def describe() -> dict[str, Any]:
    """Return cores, instructions, memory, and versions of libraries and peers."""
    cpu = _cpu()
    flags = cpu.get("flags", cpu.get("Features", "")).split()
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "physical_cores": len(set(_siblings())),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "peers": {name: version(name) for name in PEERS},
    }


def version(library: str) -> str:
    """Return the version of a library, or `not installed`."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def has_bf16() -> bool:
    """Return whether the CPU computes in bfloat16, as `train.precision: auto` asks."""
    return "avx512_bf16" in describe()["flags"]


def separate_cores(number: int) -> list[int] | None:
    """Return so many cores that share no execution units, or None where there are not enough."""
    cores = {group: cpu for cpu, group in zip(_cpus(), _siblings(), strict=True)}
    return sorted(cores.values())[:number] if len(cores) >= number else None


def _cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0), reverse=True)


def _siblings() -> Iterator[str]:
    """Yield for each CPU which ones are threads of the same core."""
    for cpu in _cpus():
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        yield path.read_text().strip() if path.exists() else str(cpu)


def _cpu() -> dict[str, str]:
    first = Path("/proc/cpuinfo").read_text().split("\n\n", maxsplit=1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
