"""What one process gets of its machine."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from job.hardware import (
    Threads,
    choose_precision,
    count_cores,
    describe_threads,
    share_cores,
)


@pytest.mark.parametrize(
    ("num_cores", "num_processes", "loader", "model", "loaders"),
    [
        (1, 1, "auto", 1, 1),
        (2, 1, "auto", 2, 1),
        (2, 2, "auto", 1, 1),
        (2, 4, "auto", 1, 1),
        (4, 1, "auto", 3, 1),
        (7, 1, "auto", 6, 1),
        (8, 1, "auto", 6, 2),
        (16, 4, "auto", 3, 1),
        (64, 4, "auto", 14, 2),
        (16, 1, 6, 10, 6),
        (16, 1, 16, 8, 16),
        (2, 1, 4, 2, 4),
    ],
)
def test_cores_are_shared_out(num_cores, num_processes, loader, model, loaders):
    assert share_cores(num_cores, num_processes, loader) == Threads(model, loaders)


@given(st.integers(1, 512), st.integers(1, 64))
def test_no_core_has_two_threads_of_the_model(num_cores, num_processes):
    threads = share_cores(num_cores, num_processes, "auto")
    assert threads.model >= 1
    assert threads.loader >= 1
    assert num_processes * threads.model <= max(num_cores, num_processes)
    if num_cores // num_processes >= 4:
        assert num_processes * (threads.model + threads.loader) <= num_cores


def test_one_line_says_who_has_which_threads():
    assert describe_threads(Threads(3, 1), 4, 16) == (
        "4 processes x (3 torch + 1 loader threads) on 16 cores"
    )


def write(root, **files):
    """Write files whose names have `__` for `/` and the value for content."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


V2, V1 = "0::/jobs/mine\n", "7:memory:/a\n4:cpu,cpuacct:/jobs/mine\n0::/\n"
CPU = "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 32),
        ({"proc/self/cgroup": V2}, 32),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/jobs/mine/cpu.max": "max 100000\n"}, 32),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/jobs/mine/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/jobs/cpu.max": "50000 100000\n"}, 1),
        (
            {
                "proc/self/cgroup": V2,
                "sys/fs/cgroup/jobs/cpu.max": "600000 100000\n",
                "sys/fs/cgroup/jobs/mine/cpu.max": "900000 100000\n",
            },
            6,
        ),
        (
            {
                "proc/self/cgroup": V1,
                f"{CPU}/cpu.cfs_quota_us": "300000\n",
                f"{CPU}/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": V1,
                f"{CPU}/jobs/mine/cpu.cfs_quota_us": "-1\n",
                f"{CPU}/jobs/mine/cpu.cfs_period_us": "100000\n",
            },
            32,
        ),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 32),
    ],
)
def test_the_quota_of_the_cgroups_bounds_the_cores(files, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(32)))
    write(tmp_path, **files)
    assert count_cores(tmp_path) == cores


def test_this_machine_has_a_core():
    assert 1 <= count_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("capabilities", "precision", "word"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bf16", "amx_bf16"),
        ({"avx512_bf16": True}, "bf16", "avx512_bf16"),
        ({"avx512_bf16": False}, "fp32", "no bf16"),
    ],
)
def test_auto_takes_bf16_where_the_cpu_has_it(capabilities, precision, word, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    chosen, reason = choose_precision("auto", on_gpu=False)
    assert chosen == precision
    assert word in reason


@pytest.mark.parametrize(("old", "precision"), [(True, "bf16"), (False, "fp32"), (None, "fp32")])
def test_a_torch_that_cannot_be_asked_is_safe(old, precision, monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    if old is not None:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: old, raising=False)
    assert choose_precision("auto", on_gpu=False)[0] == precision


def test_what_was_asked_for_is_taken():
    assert choose_precision("fp64", on_gpu=False) == ("fp64", "train.precision")


def test_the_peak_is_of_memory_that_was_touched():
    program = """
import mmap
from types import SimpleNamespace
from job.hardware import peak_memory
cpu = SimpleNamespace(type="cpu")
before = peak_memory(cpu)
block = mmap.mmap(-1, before + 200_000_000)
untouched = peak_memory(cpu)
block[::4096] = b"x" * -(-len(block) // 4096)
print(before, untouched, peak_memory(cpu))
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    before, untouched, peak = map(int, output.stdout.split())
    assert 2_000_000 < before <= untouched < before + 20_000_000
    assert 200_000_000 < peak - before < 230_000_000
