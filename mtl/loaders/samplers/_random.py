"""sampler: random numbers that follow from seed and key alone (splitmix64; Steele et al., 2014)."""

import numpy as np
from jaxtyping import UInt64
from numba import njit

from mtl.loaders.samplers._compile import compiled

State = UInt64[np.ndarray, " one"]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(inline="always")
def mix(bits):  # type: ignore[no-untyped-def]
    """Return the 64 random bits of a state; the next state is `bits + GOLDEN`."""
    z = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(inline="always")
def below(bits, bound):  # type: ignore[no-untyped-def]
    """Return a number from 0 to bound - 1, made of the upper 32 bits."""
    return np.int64(((mix(bits) >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


@njit(inline="always")
def unit(bits):  # type: ignore[no-untyped-def]
    """Return a number above 0, at most 1."""
    return np.float64((mix(bits) >> np.uint64(11)) + np.uint64(1)) * 2.0**-53


def begin_state(seed: int, key: int, stream: int = 0) -> State:
    """Mix seed and key into one state, so that neighbouring keys share nothing."""
    state = np.array([stream], np.uint64)
    fold(np.array([seed, key], np.uint64), state)
    return state


@compiled
def fold(values, state):  # type: ignore[no-untyped-def]
    """Mix an array of numbers into a state."""
    for i in range(values.shape[0]):
        state[0] = mix((state[0] ^ np.uint64(values[i])) + GOLDEN)


@compiled
def fill_units(state, out):  # type: ignore[no-untyped-def]
    """Fill an array with numbers above 0, at most 1."""
    for i in range(out.shape[0]):
        state[0] += GOLDEN
        out[i] = unit(state[0])
