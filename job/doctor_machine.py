"""doctor: what this machine has for the job: cores, memory, limits of the system."""

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from job.doctor_findings import Finding, warning
from job.doctor_job import Job
from job.hardware import count_cores
from job.numa import plan
from mtl import cgroups
from mtl.graphs._memory import memory_bytes

FILES_WANTED = 1024
TASKS_WANTED = 64
"""Threads of one process of the job: torch's, the loader's, gloo's, MLflow's."""
SHARED_WANTED = 1 << 30
SHARED = Path("/dev/shm")


def cores(job: Job) -> Iterator[Finding]:
    """How many cores there are, who gets them."""
    num_cores, num_processes = count_cores(), job.nproc
    loader = job.config.loader.num_threads if job.config else "auto"
    _, _, shared = plan(0, num_processes, loader, on_gpu=False)
    there = os.cpu_count() or num_cores
    limited = f" (of {there}: the rest is not allowed)" * (num_cores < there)
    if num_processes > num_cores:
        yield warning(
            f"{shared}{limited}", f"processes wait for each other; start {num_cores} at most"
        )
    else:
        yield Finding(shared + limited)


def memory(job: Job) -> Iterator[Finding]:
    """How much there is, and how much of it is free."""
    machine, allowed = psutil.virtual_memory(), memory_bytes()
    limit = f", a control group allows {gib(allowed)}" * (allowed < machine.total)
    found = f"{gib(machine.total)}, {gib(machine.available)} free{limit}"
    if machine.available < machine.total / 20:
        yield warning(found, "end what else runs here")
    else:
        yield Finding(found)


def file_descriptors(job: Job) -> Iterator[Finding]:
    """How many files a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{count(soft)} for each process, at most {count(hard)}"
    if soft != resource.RLIM_INFINITY and soft < FILES_WANTED:
        yield warning(found, f"ulimit -n {FILES_WANTED} before the job, or more")
    else:
        yield Finding(found)


def processes(job: Job, root: Path = Path("/")) -> Iterator[Finding]:
    """How many processes and threads there may be."""
    allowed = [*_free_pids(root)]
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY:
        allowed.append(soft)
    least, wanted = min(allowed, default=None), TASKS_WANTED * job.nproc
    if least is not None and least < wanted:
        yield warning(
            f"{least:,} processes and threads may be started, the job may need {wanted:,}",
            "ulimit -u, or pids.max of the control group (podPidsLimit on Kubernetes)",
        )
    else:
        yield Finding("no limit" if least is None else f"{least:,} may be started")


def limits(job: Job) -> Iterator[Finding]:
    """Whether addresses or the size of files are limited."""
    limited = {
        "ulimit -v (addresses; the graph is mapped into them)": resource.RLIMIT_AS,
        "ulimit -f (size of a file; checkpoints end there)": resource.RLIMIT_FSIZE,
    }
    found = {words: resource.getrlimit(name)[0] for words, name in limited.items()}
    found = {words: soft for words, soft in found.items() if soft != resource.RLIM_INFINITY}
    for words, soft in found.items():
        yield warning(f"{words} is {gib(soft)}", "set it to unlimited")
    if not found:
        yield Finding("neither addresses nor the size of files")


def shared_memory(job: Job) -> Iterator[Finding]:
    """How much of /dev/shm is free: batches do not need it, NCCL between GPUs does."""
    import torch

    if not SHARED.is_dir():
        yield Finding(f"{SHARED} is not there")
        return
    free = shutil.disk_usage(SHARED).free
    found = f"{gib(free)} free in {SHARED}"
    if torch.cuda.is_available() and job.nproc > 1 and free < SHARED_WANTED:
        yield warning(
            f"{found}; NCCL passes data between processes through it",
            "docker run --shm-size=1g, or an emptyDir with medium: Memory on Kubernetes",
        )
    else:
        yield Finding(found)


def gib(num_bytes: float) -> str:
    """Return a size as people read it."""
    for unit in ("bytes", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:,.0f} {unit}" if unit == "bytes" else f"{num_bytes:,.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:,.1f} GiB"


def count(limit: int) -> str:
    """Return a limit of the system in words."""
    return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,}"


def _free_pids(root: Path) -> Iterator[int]:
    """Yield how many more the control groups allow that this process is in."""
    for _, folder in cgroups.folders("pids", root):
        try:
            most = int((folder / "pids.max").read_text())
            yield most - int((folder / "pids.current").read_text())
        except (OSError, ValueError):  # no such file; "max" instead of a number
            continue


MACHINE = (cores, memory, file_descriptors, processes, limits, shared_memory)
