"""sampler: one hop where neighbours differ: by weight, by time, or because some are excluded.

What an edge type or a call has not is an empty array.
"""

import numpy as np
from numba import njit

from mtl.loaders.samplers import _pick as pick
from mtl.loaders.samplers._compile import compiled
from mtl.loaders.samplers._draw import GROUP
from mtl.loaders.samplers._places import place


@compiled
def expand_filtered(  # type: ignore[no-untyped-def]
    csc,
    nodes,
    first,
    last,
    k,
    rule,
    state,
    ptr,
    edge,
    places,
    source,
    tree,
    found,
    position,
    limits,
    out,
):
    """Draw in-edges of nodes `first` to `last` among those that may be, and place their sources.

    `rule` is (with replacement, the latest only), `limits` the time of each tree's seed, `out` the
    sorted edges that are excluded. Returns the number of nodes of the sources' type.
    """
    colptr, row, weight, time, node_time = csc
    bits, e, replace = state[0], ptr[first], rule[0]
    alike = weight.shape[0] + time.shape[0] + node_time.shape[0] == 0
    picked, among, when = (
        np.empty(max(k, 0), np.int64),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
    )
    for begin in range(first, last, GROUP):
        end = min(begin + GROUP, last)
        for i in range(begin, end):
            a, b = colptr[nodes[i]], colptr[nodes[i] + 1]
            n, all_may = b - a, alike and np.searchsorted(out, a) == np.searchsorted(out, b)
            if not all_may:
                if n > among.shape[0]:
                    among, when = np.empty(2 * n, np.int64), np.empty(2 * n, np.int64)
                limit = limits[tree[i]] if limits.shape[0] > 0 else 0
                n = _candidates(csc, a, b, limit, out, among)
            if k < 0 or n == 0 or (n <= k and not replace):
                for j in range(n):
                    edge[e + j] = a + j if all_may else among[j]
                e += n
            else:
                bits = _choose(csc, among, n, k, rule, bits, picked, when)
                for c in range(k):
                    edge[e + c] = a + picked[c] if all_may else among[picked[c]]
                e += k
            ptr[i + 1] = e
        found = place(places, row, edge, begin, end, ptr, source, tree, found, position)
    state[0] = bits
    return found


@njit(nogil=True)
def _candidates(csc, first, last, limit, out, among):  # type: ignore[no-untyped-def]
    """Collect those of the edges `first` to `last` that may be drawn; return their number."""
    _, row, weight, time, node_time = csc
    n, x = 0, np.searchsorted(out, first)
    for e in range(first, last):
        if x < out.shape[0] and out[x] == e:
            x += 1
            continue
        if weight.shape[0] > 0 and not weight[e] > 0:
            continue
        if time.shape[0] > 0 and time[e] > limit:
            continue
        if node_time.shape[0] > 0 and node_time[row[e]] > limit:
            continue
        among[n] = e
        n += 1
    return n


@njit(nogil=True)
def _choose(csc, among, n, k, rule, bits, picked, when):  # type: ignore[no-untyped-def]
    """Pick k of the n candidates by the rule; return the next state."""
    _, row, weight, time, node_time = csc
    replace, latest = rule
    if latest:
        for j in range(n):
            when[j] = time[among[j]] if time.shape[0] > 0 else node_time[row[among[j]]]
        pick.largest(when, n, k, picked)
        return bits
    if weight.shape[0] > 0:
        share = np.empty(n)
        for j in range(n):
            share[j] = weight[among[j]]
        if replace:
            return pick.weighted_with_replacement(share, n, k, bits, picked)
        return pick.weighted(share, n, k, bits, picked)
    if replace:
        return pick.with_replacement(n, k, bits, picked)
    return pick.uniform(n, k, bits, picked)
