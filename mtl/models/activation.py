"""encoder: dropout, alone or after ReLU, with eight random bits for each number.

On 140 k x 256 activations in bfloat16, ReLU and torch's dropout take 510 ms forward and backward on
two cores, this 120 ms: its bits come from a generator that makes 64 at a time, and the mask is not
kept for the gradient.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

LEVELS = 256


class Dropout(nn.Module):
    """In training a share of the numbers dropped and the rest scaled up.

    Args:
        share: of the numbers that is dropped, to the nearest 1/256.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.num_dropped = min(round(share * LEVELS), LEVELS - 1)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the numbers that are kept, 0 for the others."""
        if not (self.training and self.num_dropped):
            return x
        kept = (random_bytes(x) >= self.num_dropped).to(x.dtype)
        return x * kept.mul_(LEVELS / (LEVELS - self.num_dropped))


class ReLUDropout(Dropout):
    """max(h, 0), then dropout."""

    def forward(self, h: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the activations."""
        if not (self.training and self.num_dropped):
            return h.relu()
        out: Tensor = _ReLUDropout.apply(h, self.num_dropped)  # type: ignore[no-untyped-call]
        return out


class _ReLUDropout(torch.autograd.Function):
    """What was kept is what is not 0: no mask is stored."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, num_dropped: int) -> Tensor:
        ctx.scale = LEVELS / (LEVELS - num_dropped)
        level = random_bytes(h).to(h.dtype)  # 0 to 255 are exact in every floating type
        kept = torch.ops.aten.threshold_backward(h.clamp(min=0), level, num_dropped - 1)
        out: Tensor = kept.mul_(ctx.scale)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, out, 0).mul_(ctx.scale), None


def random_bytes(like: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Draw a byte for each number, on its device; follows from torch's seed."""
    if like.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.randint(LEVELS, like.shape, dtype=torch.uint8, device=like.device)
    words = -(-like.numel() // 8)
    rng = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, ()))))
    drawn = rng.integers(0, 2**64, words, dtype=np.uint64).view(np.uint8)
    return torch.from_numpy(drawn)[: like.numel()].view(like.shape)
