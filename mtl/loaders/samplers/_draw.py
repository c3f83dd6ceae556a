"""sampler: one hop along edges of one type: draw, then place what was found.

`ptr` says which edges of the subgraph belong to each of its nodes: i has `ptr[i]` to `ptr[i + 1]`.
"""

import numpy as np

from mtl.loaders.samplers import _pick as pick
from mtl.loaders.samplers._compile import compiled
from mtl.loaders.samplers._places import place
from mtl.loaders.samplers._prefetch import prefetch

GROUP = 64
"""Nodes whose edges are drawn, and so asked for, before the first is read."""


@compiled
def count(colptr, nodes, first, last, k, replace):  # type: ignore[no-untyped-def]
    """Return how many edges nodes `first` to `last` get at most."""
    total = 0
    for i in range(first, last):
        degree = colptr[nodes[i] + 1] - colptr[nodes[i]]
        if k >= 0 and (degree > k or (replace and degree > 0)):
            degree = k
        total += degree
    return total


@compiled
def expand(  # type: ignore[no-untyped-def]
    csc, nodes, first, last, k, replace, state, ptr, edge, places, source, tree, found, position
):  # type: ignore[no-untyped-def]
    """Draw in-edges of nodes `first` to `last`, each as likely, and place their sources.

    Returns the number of nodes of the sources' type, `found` before.
    """
    colptr, row = csc
    start, degree = np.empty(GROUP, np.int64), np.empty(GROUP, np.int64)
    picked, bits, e = np.empty(max(k, 0), np.int64), state[0], ptr[first]
    for begin in range(first, last, GROUP):
        end = min(begin + GROUP, last)
        for i in range(end, min(end + GROUP, last)):
            prefetch(colptr, nodes[i])
        for i in range(begin, end):
            start[i - begin] = colptr[nodes[i]]
            degree[i - begin] = colptr[nodes[i] + 1] - colptr[nodes[i]]
        for i in range(begin, end):
            a, d = start[i - begin], degree[i - begin]
            if k < 0 or d == 0 or (d <= k and not replace):
                for j in range(d):
                    edge[e + j] = a + j
                e += d
            else:
                if replace:
                    bits = pick.with_replacement(d, k, bits, picked)
                else:
                    bits = pick.uniform(d, k, bits, picked)
                for c in range(k):
                    edge[e + c] = a + picked[c]
                    prefetch(row, a + picked[c])
                e += k
            ptr[i + 1] = e
        found = place(places, row, edge, begin, end, ptr, source, tree, found, position)
    state[0] = bits
    return found
