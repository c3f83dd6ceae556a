"""step: numbers on their way to the device and back, while nobody waits for them."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def send(numbers: Tensor, device: torch.device) -> Tensor:
    """Start a copy to the device: a GPU fetches it from pinned memory, behind its other work."""
    host = numbers.pin_memory() if device.type == "cuda" else numbers
    return host.to(device, non_blocking=True)


def read_later(numbers: Float[Tensor, " numbers"]) -> Callable[[], list[float]]:
    """Start a copy to the host; what is returned waits for that alone, not for later work."""
    host = numbers.to("cpu", non_blocking=True)
    if not numbers.is_cuda:
        return host.tolist
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def read() -> list[float]:
        copied.synchronize()
        values: list[float] = host.tolist()
        return values

    return read
