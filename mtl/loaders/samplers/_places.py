"""sampler: where each node stands in the subgraph; those that are new are numbered as found.

`places` is either an array with an item for each node of the graph, or a hash table of pairs (key,
item) with open addressing, whose keys are nodes, or nodes of one seed's tree where trees are
disjoint. An item less `base` is the position; what an earlier call left behind is below base.
"""

import numpy as np
from numba import njit

from mtl.loaders.samplers._compile import compiled
from mtl.loaders.samplers._prefetch import prefetch

BLOCK = 2048


@compiled
def place_seeds(seeds, num_nodes, places, base, nodes, tree, first_tree):  # type: ignore[no-untyped-def]
    """Number the seeds; edges lead to the first of those that are the same."""
    for i in range(seeds.shape[0]):
        seed = seeds[i]
        if places.ndim == 1:
            if places[seed] < base:
                places[seed] = base + i
        else:
            key = seed
            if tree.shape[0] > 0:
                tree[i] = first_tree + i
                key += tree[i] * num_nodes
            slot = _slot(places, key, base)
            if places[slot, 1] < base:
                places[slot, 0], places[slot, 1] = key, base + i
        nodes[i] = seed


@njit(nogil=True)
def place(places, row, edge, first, last, ptr, source, target_tree, num_nodes, position):  # type: ignore[no-untyped-def]
    """Place the sources of the edges of the subgraph's nodes `first` to `last`.

    `source` is (base, nodes, tree, size). Returns the number of nodes of the sources' type.
    """
    if places.ndim == 1:  # decided when this is compiled, as `places` is an argument
        return _look_up(places, row, edge, ptr[first], ptr[last], source, num_nodes, position)
    return _search(places, row, edge, first, last, ptr, source, target_tree, num_nodes, position)


@njit(nogil=True)
def _look_up(places, row, edge, first, last, source, num_nodes, position):  # type: ignore[no-untyped-def]
    """Place the sources of edges `first` to `last` by the array of all nodes.

    One pass for each memory access, and each asks for what the next will read, so that the misses
    of many edges overlap.
    """
    base, nodes, _, _ = source
    found, missed = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    for begin in range(first, last, BLOCK):
        n = min(BLOCK, last - begin)
        for j in range(n):
            node = row[edge[begin + j]]
            found[j] = node
            prefetch(places, node)
        m = 0
        for j in range(n):
            at = places[found[j]] - base
            position[begin + j] = at
            missed[m] = j
            m += at < 0
        for q in range(m):
            node = found[missed[q]]
            at = places[node] - base
            if at < 0:
                at = num_nodes
                places[node] = base + at
                nodes[at] = node
                num_nodes += 1
            position[begin + missed[q]] = at
    return num_nodes


@njit(nogil=True)
def _search(places, row, edge, first, last, ptr, source, target_tree, num_nodes, position):  # type: ignore[no-untyped-def]
    """Place the sources of the edges of nodes `first` to `last` by the hash table."""
    base, nodes, tree, size = source
    keys, i = np.empty(BLOCK, np.int64), first
    for begin in range(ptr[first], ptr[last], BLOCK):
        n = min(BLOCK, ptr[last] - begin)
        for j in range(n):
            keys[j] = row[edge[begin + j]]
            if tree.shape[0] > 0:
                while begin + j >= ptr[i + 1]:
                    i += 1
                keys[j] += target_tree[i] * size
            prefetch(places, _home(places, keys[j]))
        for j in range(n):
            slot = _slot(places, keys[j], base)
            if places[slot, 1] < base:
                places[slot, 0], places[slot, 1] = keys[j], base + num_nodes
                nodes[num_nodes] = keys[j] % size
                if tree.shape[0] > 0:
                    tree[num_nodes] = keys[j] // size
                num_nodes += 1
            position[begin + j] = places[slot, 1] - base
    return num_nodes


@njit(inline="always")
def _home(places, key):  # type: ignore[no-untyped-def]
    """Return the first slot where a key may be (Fibonacci hashing; the size is a power of two)."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed >> np.uint64(32)) & np.uint64(places.shape[0] - 1))


@njit(nogil=True)
def _slot(places, key, base):  # type: ignore[no-untyped-def]
    """Return the slot of a key, or the free one that it would get."""
    slot = _home(places, key)
    while places[slot, 1] >= base and places[slot, 0] != key:
        slot = (slot + 1) & (places.shape[0] - 1)
    return slot


@compiled
def fill_table(places, base, nodes, tree, num_nodes, size):  # type: ignore[no-untyped-def]
    """Enter the nodes so far into a new hash table."""
    for at in range(num_nodes):
        key = nodes[at]
        if tree.shape[0] > 0:
            key += tree[at] * size
        slot = _slot(places, key, base)
        if places[slot, 1] < base:
            places[slot, 0], places[slot, 1] = key, base + at
