"""tables: the compiled hash tables from ids to rows: open addressing, linear probing.

A slot holds a row or -1; there are at least twice as many slots as ids, a power of two.
"""

import numpy as np
from numba import njit

PRIME = np.uint64(1099511628211)
BASIS = np.uint64(14695981039346656037)
A, B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S27, S30, S31 = np.uint64(27), np.uint64(30), np.uint64(31)


@njit(nogil=True, cache=True, inline="always")
def mix(x):  # type: ignore[no-untyped-def]
    """Scatter 64 bits (splitmix64's finish)."""
    x = (x ^ (x >> S30)) * A
    x = (x ^ (x >> S27)) * B
    return x ^ (x >> S31)


@njit(nogil=True, cache=True)
def hash_integers(values, out):  # type: ignore[no-untyped-def]
    """Hash int64 to uint64."""
    for i in range(values.shape[0]):
        out[i] = mix(np.uint64(values[i]))


@njit(nogil=True, cache=True)
def hash_texts(offsets, data, out):  # type: ignore[no-untyped-def]
    """Hash each text (FNV-1a, mixed) to uint64."""
    for i in range(offsets.shape[0] - 1):
        x = BASIS
        for at in range(offsets[i], offsets[i + 1]):
            x = (x ^ np.uint64(data[at])) * PRIME
        out[i] = mix(x)


@njit(nogil=True, cache=True)
def insert_integers(slots, hashes, keys, again):  # type: ignore[no-untyped-def]
    """Put every row into the table; mark the rows whose id stands before."""
    mask = np.uint64(slots.shape[0] - 1)
    for row in range(keys.shape[0]):
        slot = hashes[row] & mask
        while slots[slot] >= 0 and keys[slots[slot]] != keys[row]:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] >= 0:
            again[row] = True
        else:
            slots[slot] = row


@njit(nogil=True, cache=True)
def find_integers(slots, keys, hashes, wanted, out):  # type: ignore[no-untyped-def]
    """Look rows up; -1 where there is none."""
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(wanted.shape[0]):
        slot = hashes[i] & mask
        while slots[slot] >= 0 and keys[slots[slot]] != wanted[i]:
            slot = (slot + np.uint64(1)) & mask
        out[i] = slots[slot]


@njit(nogil=True, cache=True)
def same(offsets, data, row, other_offsets, other_data, other):  # type: ignore[no-untyped-def]
    """Say whether two texts are the same."""
    start, at = offsets[row], other_offsets[other]
    length = offsets[row + 1] - start
    if other_offsets[other + 1] - at != length:
        return False
    for i in range(length):  # noqa: SIM110
        if data[start + i] != other_data[at + i]:
            return False
    return True


@njit(nogil=True, cache=True)
def insert_texts(slots, hashes, offsets, data, again):  # type: ignore[no-untyped-def]
    """Put every row into the table; mark the rows whose id stands before."""
    mask = np.uint64(slots.shape[0] - 1)
    for row in range(hashes.shape[0]):
        slot = hashes[row] & mask
        while slots[slot] >= 0:
            found = slots[slot]
            if hashes[found] == hashes[row] and same(offsets, data, found, offsets, data, row):
                break
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] >= 0:
            again[row] = True
        else:
            slots[slot] = row


@njit(nogil=True, cache=True)
def find_texts(  # type: ignore[no-untyped-def]
    slots, hashes, offsets, data, wanted, wanted_offsets, wanted_data, out
):
    """Look rows up; -1 where there is none."""
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(wanted.shape[0]):
        slot = wanted[i] & mask
        while slots[slot] >= 0:
            found = slots[slot]
            if hashes[found] == wanted[i] and same(
                offsets, data, found, wanted_offsets, wanted_data, i
            ):
                break
            slot = (slot + np.uint64(1)) & mask
        out[i] = slots[slot]
