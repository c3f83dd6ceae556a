"""stream: tensors of the host on their way to the device, beside what both do meanwhile."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def moved(tensor: Shaped[Tensor, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    """Copy a tensor to a device; a GPU fetches it from pinned memory while the host goes on."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # kept until the copy is done, by whom torch gets it from
    return tensor.to(device, non_blocking=True)
