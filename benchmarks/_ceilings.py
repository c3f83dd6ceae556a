"""What a device can do at most: measured, not looked up."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

ROUNDS = 5


@dataclass(frozen=True)
class Ceilings:
    """Rates of one device.

    Attributes:
        copied: bytes a second where memory is copied, read and written ones together.
        gathered: the same where whole rows of features are read at random.
        reads: single numbers of 32 bits a second, read at random.
        flops: floating-point operations a second of products of large matrices, by type.
    """

    copied: float
    gathered: float
    reads: float
    flops: dict[str, float]


def ceilings(
    device: torch.device, num_features: int, dtype: torch.dtype, *, quick: bool = False
) -> Ceilings:
    """Measure a device.

    Args:
        device: a GPU, or the CPU.
        num_features: width of the rows that are gathered.
        dtype: of these features.
        quick: so small that caches hold it: shows that it runs.
    """
    size = 1 << (16 if quick else 28)  # numbers of 32 bits: a GiB, which no cache holds
    numbers = torch.ones(size, device=device)
    rows = torch.ones(size // num_features, num_features, dtype=dtype, device=device)
    some = torch.randint(len(rows), (len(rows) // 8,), device=device)
    single = torch.randint(size, (size // 8,), device=device)
    return Ceilings(
        copied=2 * numbers.nbytes / seconds(numbers.clone, device),
        gathered=2 * rows[some].nbytes / seconds(partial(rows.index_select, 0, some), device),
        reads=len(single) / seconds(partial(numbers.index_select, 0, single), device),
        flops={
            str(kind).removeprefix("torch."): _flops(device, kind, quick=quick)
            for kind in (torch.float32, torch.bfloat16)
        },
    )


def _flops(device: torch.device, dtype: torch.dtype, *, quick: bool) -> float:
    side = 256 if quick else 8192 if device.type == "cuda" else 2048
    a = torch.ones(side, side, dtype=dtype, device=device)
    return 2 * side**3 / seconds(partial(torch.mm, a, a), device)


def seconds(run: Callable[[], object], device: torch.device, rounds: int = ROUNDS) -> float:
    """Return how long the device takes: the median, after a first time that does not count."""
    taken = []
    for _ in range(rounds + 1):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        taken.append(time.perf_counter() - start)
    return median(taken[1:])


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
