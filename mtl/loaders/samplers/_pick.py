"""sampler: which of n neighbours are drawn; picks are positions, 0 to n - 1.

Each takes the state of the random numbers and returns the next.
"""

import numpy as np
from numba import njit

from mtl.loaders.samplers._random import GOLDEN, below, unit

FEW = 32


@njit(nogil=True)
def uniform(n, k, bits, pick):  # type: ignore[no-untyped-def]
    """Pick k different ones of n, every subset equally likely; k is less than n."""
    if k > FEW and k * k > 8 * n:
        return _one_pass(n, k, bits, pick)
    for c in range(k):  # Floyd's algorithm (Bentley and Floyd, 1987)
        bits += GOLDEN
        top = n - k + c
        drawn = below(bits, top + 1)
        taken = False
        for q in range(c):
            taken |= pick[q] == drawn
        pick[c] = top if taken else drawn
    return bits


@njit(nogil=True)
def _one_pass(n, k, bits, pick):  # type: ignore[no-untyped-def]
    """Do the same in n steps (Knuth, volume 2, algorithm S): Floyd's take k^2."""
    c = 0
    for i in range(n):
        bits += GOLDEN
        if below(bits, n - i) < k - c:
            pick[c] = i
            c += 1
    return bits


@njit(nogil=True)
def with_replacement(n, k, bits, pick):  # type: ignore[no-untyped-def]
    """Pick k times one of n."""
    for c in range(k):
        bits += GOLDEN
        pick[c] = below(bits, n)
    return bits


@njit(nogil=True)
def weighted(weight, n, k, bits, pick):  # type: ignore[no-untyped-def]
    """Pick k different ones of n, one after the other by weight (Efraimidis and Spirakis, 2006).

    Each gets the key log(random) / weight, and the k largest win. Their algorithm A-ExpJ draws how
    much weight loses until the next one wins, not a key for each. The weights are above 0, and
    overwritten.
    """
    for i in range(k):
        bits += GOLDEN
        weight[i] = np.log(unit(bits)) / weight[i]
    _heap(weight, k, pick)
    loses = -1.0
    for i in range(k, n):
        smallest = weight[pick[0]]
        if loses < 0:
            bits += GOLDEN
            loses = np.log(unit(bits)) / smallest
        loses -= weight[i]
        if loses < 0:
            bits += GOLDEN
            floor = np.exp(smallest * weight[i])
            weight[i] = np.log(floor + (1 - floor) * unit(bits)) / weight[i]
            pick[0] = i
            _sink(weight, pick, 0, k)
    return bits


@njit(nogil=True)
def weighted_with_replacement(weight, n, k, bits, pick):  # type: ignore[no-untyped-def]
    """Pick k times one of n by weight; the weights are overwritten by their sums."""
    for i in range(1, n):
        weight[i] += weight[i - 1]
    for c in range(k):
        bits += GOLDEN
        # Above 0 and at most the whole sum: always one of the n.
        pick[c] = np.searchsorted(weight[:n], unit(bits) * weight[n - 1])
    return bits


@njit(nogil=True)
def largest(keys, n, k, pick):  # type: ignore[no-untyped-def]
    """Pick the k largest of n keys; of equal ones the later."""
    _heap(keys, k, pick)
    for i in range(k, n):
        if keys[i] >= keys[pick[0]]:
            pick[0] = i
            _sink(keys, pick, 0, k)


@njit(nogil=True)
def _heap(keys, k, pick):  # type: ignore[no-untyped-def]
    """Pick the first k, as a heap whose first has the smallest key."""
    for i in range(k):
        pick[i] = i
    for i in range(k // 2 - 1, -1, -1):
        _sink(keys, pick, i, k)


@njit(nogil=True)
def _sink(keys, heap, i, k):  # type: ignore[no-untyped-def]
    """Move a pick down to where its key belongs in a heap whose first is the smallest."""
    moved = heap[i]
    while True:
        child = 2 * i + 1
        if child >= k:
            break
        if child + 1 < k and _less(keys, heap[child + 1], heap[child]):
            child += 1
        if _less(keys, moved, heap[child]):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = moved


@njit(inline="always")
def _less(keys, a, b):  # type: ignore[no-untyped-def]
    return keys[a] < keys[b] or (keys[a] == keys[b] and a < b)
