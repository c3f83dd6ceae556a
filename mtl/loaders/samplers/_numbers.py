"""sampler: random numbers as operations on whole tensors; on every device the same, and numba's."""

import torch
from jaxtyping import Int
from torch import Tensor

from mtl.loaders.samplers._random import State


def _signed(bits: int) -> int:
    """Return the number that 64 bits are in int64, which wraps as unsigned numbers do."""
    return bits - (bits >> 63 << 64)


GOLDEN = _signed(0x9E3779B97F4A7C15)
FIRST, SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


class Numbers:
    """Random numbers that follow from a state alone: the n-th is splitmix64 of state and n.

    A generator of torch would give others on another GPU: what they are depends on its size there.

    Args:
        state: made of seed and key, see `begin_state`.
        device: where they are wanted.
    """

    def __init__(self, state: State, device: torch.device) -> None:
        self._state, self._device, self._used = _signed(int(state[0])), device, 0

    def bits(self, count: int) -> Int[Tensor, " count"]:
        """Return the next 64 random bits, so many times."""
        state, before = self.skip(count)
        numbers = torch.arange(before + 1, before + 1 + count, device=self._device)
        return mix(numbers.mul_(GOLDEN).add_(state))

    def skip(self, count: int) -> tuple[int, int]:
        """Leave the next numbers to somebody who makes them; return the state, and how many before.

        The first of them is splitmix64 of the state and one more than that.
        """
        before, self._used = self._used, self._used + count
        return self._state, before

    def below(self, bound: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Return a number from 0 to bound - 1 for each, made of the upper 53 bits."""
        unit = _shifted(self.bits(bound.numel()), 11).double().mul_(2.0**-53).view(bound.shape)
        return (unit * bound).long().minimum(bound - 1)


def mix(bits: Int[Tensor, " states"]) -> Int[Tensor, " states"]:
    """Return the 64 random bits of each state, as `_random.mix` does."""
    bits = bits.bitwise_xor(_shifted(bits, 30)).mul_(FIRST)
    bits ^= _shifted(bits, 27)
    bits *= SECOND
    return bits.bitwise_xor_(_shifted(bits, 31))


def _shifted(bits: Int[Tensor, " states"], by: int) -> Int[Tensor, " states"]:
    """Shift to the right and fill with zeros; int64 alone would copy the sign."""
    return (bits >> by).bitwise_and_((1 << (64 - by)) - 1)
