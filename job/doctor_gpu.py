"""doctor: the GPUs, and whether torch can use them; or plainly that there are none."""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from job.doctor_findings import Finding, problem, warning
from job.doctor_job import Job
from job.doctor_machine import gib
from job.hardware import check_devices
from mtl.errors import ConfigError

DRIVER = Path("/proc/driver/nvidia/version")
FREE = 0.9
"""Share of a GPU's memory below which somebody else seems to use it."""

Version = tuple[int, int]


@dataclass(frozen=True)
class Gpu:
    """One GPU, as torch sees it: name, (major, minor) of its capability, memory in bytes."""

    name: str
    capability: Version
    free: int
    total: int


def gpus(job: Job) -> Iterator[Finding]:
    """Which GPUs there are, and whether each process has one."""
    import torch

    driver, built_for = driver_cuda(), torch.version.cuda
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if num_gpus:
        found = [_gpu(number) for number in range(num_gpus)]
        for number, gpu in enumerate(found):
            yield look_at(f"GPU {number}", gpu, torch.cuda.get_arch_list())
    else:
        yield without_gpu(DRIVER.exists(), built_for, driver)
    if num_gpus and built_for:
        yield versions(built_for, driver)
    check_devices(job.nproc, num_gpus)
    if 0 < job.nproc < num_gpus:
        yield warning(
            f"{job.nproc} of {num_gpus} GPUs will work",
            f"torchrun --nproc_per_node={num_gpus}, or hide the others",
        )


def look_at(what: str, gpu: Gpu, architectures: list[str]) -> Finding:
    """Say whether this build of torch computes on a GPU, and whether that is free."""
    major, minor = gpu.capability
    found = f"{gpu.name}, capability {major}.{minor}, {gib(gpu.free)} of {gib(gpu.total)} free"
    built = [a.rpartition("_")[2].rstrip("af") for a in architectures]
    numbers = [(int(a[:-1]), int(a[-1])) for a in built]
    # code for 8.0 runs on 8.6; PTX (compute_*) of any older one is compiled for a newer
    ptx = [n for n, a in zip(numbers, architectures, strict=True) if a.startswith("compute_")]
    runs = any(m == major and n <= minor for m, n in numbers) or any(
        n <= (major, minor) for n in ptx
    )
    if numbers and not runs:
        names = ", ".join(architectures)
        return problem(
            f"{found}; this torch has code for {names} alone",
            "install a build of torch for this GPU",
            ConfigError,
            what,
        )
    if gpu.free < FREE * gpu.total:
        return warning(found, "nvidia-smi shows who uses it", what)
    return Finding(found, what=what)


def versions(built_for: str, driver: Version | None) -> Finding:
    """Compare the CUDA version of torch with what the driver can do."""
    what = "CUDA and driver"
    if driver is None:
        return Finding(f"torch for CUDA {built_for}; the driver's version is not known", what=what)
    major = int(built_for.split(".")[0])
    found = f"torch for CUDA {built_for}, the driver for CUDA {driver[0]}.{driver[1]}"
    if major > driver[0]:
        advice = "update the driver, or install torch for an older CUDA"
        return problem(found, advice, ConfigError, what)
    return Finding(found, what=what)


def without_gpu(has_driver: bool, built_for: str | None, driver: Version | None) -> Finding:
    """Say why torch sees no GPU."""
    if not has_driver:
        return Finding("no GPU: CPU")
    if built_for is None:
        return warning(
            "there is an NVIDIA driver, but this torch is built for the CPU: the job trains on it",
            "install a build of torch for CUDA",
        )
    can = "an unknown CUDA" if driver is None else f"CUDA {driver[0]}.{driver[1]}"
    return warning(
        f"there is an NVIDIA driver (for {can}), but torch (for CUDA {built_for}) sees no GPU: the "
        "job trains on the CPU",
        "nvidia-smi; CUDA_VISIBLE_DEVICES; a container needs --gpus all",
    )


def driver_cuda() -> Version | None:
    """Return the newest CUDA that the driver can do; None without a driver."""
    number = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return None if failed else (number.value // 1000, number.value % 1000 // 10)


def _gpu(number: int) -> Gpu:
    import torch

    free, total = torch.cuda.mem_get_info(number)
    capability = torch.cuda.get_device_capability(number)
    return Gpu(torch.cuda.get_device_name(number), capability, free, total)


GPUS = (gpus,)
