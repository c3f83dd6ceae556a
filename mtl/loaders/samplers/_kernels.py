"""sampler: the compiled passes of one hop; each does one thing to all of its edges.

One pass for each memory access pattern lets the processor overlap the cache misses of many edges.
"""

import numpy as np
from numba import njit

from mtl.loaders.samplers._random import GOLDEN, below, mix

BLOCK = 2048


@njit(nogil=True, cache=True)
def place_seeds(seeds, local, base, nodes):  # type: ignore[no-untyped-def]
    """Number the seeds; return the index of the first that is out of range or double, or -1."""
    for i in range(seeds.shape[0]):
        seed = seeds[i]
        if seed < 0 or seed >= local.shape[0] or local[seed] >= base:
            return i
        local[seed] = base + i
        nodes[i] = seed
    return -1


@njit(nogil=True, cache=True)
def spans(colptr, nodes, first, last, k, start, size, ptr):  # type: ignore[no-untyped-def]
    """Look up where the in-edges of nodes `first` to `last` are, and count those to draw.

    Node i gets the edges `ptr[i]` to `ptr[i + 1]` of the subgraph. Returns `ptr[last]`.
    """
    total = ptr[first]
    for i in range(first, last):
        a = colptr[nodes[i]]
        d = colptr[nodes[i] + 1] - a
        start[i - first], size[i - first] = a, d
        total += d if k < 0 else min(d, k)
        ptr[i + 1] = total
    return total


@njit(nogil=True, cache=True)
def draw_uniform(start, size, first, last, k, state, edge, e):  # type: ignore[no-untyped-def]
    """Draw k different in-edges of each node (Floyd's algorithm), or take all there are."""
    pick, bits = np.empty(max(k, 1), np.int64), state[0]
    for i in range(last - first):
        a, d = start[i], size[i]
        if k < 0 or d <= k:
            for j in range(d):
                edge[e + j] = a + j
            e += d
            continue
        for c in range(k):
            bits += GOLDEN
            top = d - k + c
            drawn = below(mix(bits), top + 1)
            taken = False
            for q in range(c):
                taken |= pick[q] == drawn
            pick[c] = top if taken else drawn
            edge[e + c] = a + pick[c]
        e += k
    state[0] = bits


@njit(nogil=True, cache=True)
def relabel(row, edge, first, last, local, base, nodes, num_nodes, position):  # type: ignore[no-untyped-def]
    """Look up the sources of edges `first` to `last`, and number those that are new.

    `local[node] - base` is where a node stands in the subgraph; negative where it does not.
    Returns the number of nodes.
    """
    found, missed = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    for begin in range(first, last, BLOCK):
        n = min(BLOCK, last - begin)
        for j in range(n):
            found[j] = row[edge[begin + j]]
        m = 0
        for j in range(n):
            at = local[found[j]] - base
            position[begin + j] = at
            missed[m] = j
            m += at < 0
        for q in range(m):
            node = found[missed[q]]
            at = local[node] - base
            if at < 0:
                at = num_nodes
                local[node] = base + at
                nodes[at] = node
                num_nodes += 1
            position[begin + missed[q]] = at
    return num_nodes


@njit(nogil=True, cache=True)
def expand(ptr, num_destinations, col):  # type: ignore[no-untyped-def]
    """Write the destination of each edge."""
    for i in range(num_destinations):
        for e in range(ptr[i], ptr[i + 1]):
            col[e] = i
