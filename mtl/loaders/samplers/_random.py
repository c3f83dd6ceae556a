"""sampler: random numbers that follow from seed and key alone (splitmix64; Steele et al., 2014)."""

import numpy as np
from numba import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(nogil=True, cache=True, inline="always")
def mix(state):  # type: ignore[no-untyped-def]
    """Return the 64 random bits of a state; the next state is `state + GOLDEN`."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True, inline="always")
def below(bits, bound):  # type: ignore[no-untyped-def]
    """Return a number from 0 to bound - 1, made of the upper 32 bits."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


@njit(nogil=True, cache=True)
def start(state):  # type: ignore[no-untyped-def]
    """Mix seed and key into one state, so that neighbouring keys share nothing."""
    state[0] = mix(mix(state[0] + GOLDEN) ^ state[1])


@njit(nogil=True, cache=True)
def fold(values):  # type: ignore[no-untyped-def]
    """Mix an array of numbers into one, below 2^63."""
    state = GOLDEN
    for i in range(values.shape[0]):
        state = mix((state ^ np.uint64(values[i])) + GOLDEN)
    return state >> np.uint64(1)
