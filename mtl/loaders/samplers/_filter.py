"""sampler: one hop where neighbours differ: by weight, by time, or because some are excluded.

What an edge type or a call has not is an empty array.
"""

import numpy as np
from numba import njit

from mtl.loaders.samplers import _pick as pick
from mtl.loaders.samplers._compile import compiled
from mtl.loaders.samplers._draw import GROUP
from mtl.loaders.samplers._places import place
from mtl.loaders.samplers._prefetch import prefetch


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
    colptr, row, weight, time, node_time, hidden = csc
    bits, e, replace = state[0], ptr[first], rule[0]
    alike = weight.shape[0] + time.shape[0] + node_time.shape[0] + hidden.shape[0] == 0
    before, shift = _summary(out, row.shape[0])
    picked, among = np.empty(max(k, 0), np.int64), np.empty(0, np.int64)
    when = among
    for begin in range(first, last, GROUP):
        end = min(begin + GROUP, last)
        for i in range(end, min(end + GROUP, last)):
            prefetch(colptr, nodes[i])
        for i in range(begin, end):
            a, b = colptr[nodes[i]], colptr[nodes[i] + 1]
            n, all_may = b - a, alike and not _any(out, before, shift, a, b)
            if not all_may:
                if n > among.shape[0]:
                    among, when = np.empty(2 * n, np.int64), np.empty(2 * n, np.int64)
                limit = limits[tree[i]] if limits.shape[0] > 0 else 0
                n = _candidates(csc, a, b, limit, out, among)
            if k <= 0 or n == 0 or (n <= k and not replace):
                n = 0 if k == 0 else n
                for j in range(n):
                    edge[e + j] = a + j if all_may else among[j]
                e += n
            else:
                bits = _choose(row, weight, time, node_time, among, n, k, rule, bits, picked, when)
                for c in range(k):
                    edge[e + c] = a + picked[c] if all_may else among[picked[c]]
                    prefetch(row, edge[e + c])
                e += k
            ptr[i + 1] = e
        found = place(places, row, edge, begin, end, ptr, source, tree, found, position)
    state[0] = bits
    return found


@njit(nogil=True)
def _summary(out, num_edges):  # type: ignore[no-untyped-def]
    """Cut the edges into ranges of 2^shift; return how many are excluded before each, and shift."""
    shift = 0
    while num_edges >> shift > 8 * out.shape[0] + 64:
        shift += 1
    before = np.zeros((num_edges >> shift) + 2, np.int64)
    for x in range(out.shape[0]):
        before[(out[x] >> shift) + 1] += 1
    for r in range(1, before.shape[0]):
        before[r] += before[r - 1]
    return before, shift


@njit(inline="always")
def _any(out, before, shift, first, last):  # type: ignore[no-untyped-def]
    """Say whether any of the edges `first` to `last` is excluded; mostly none is near them."""
    if before[(last >> shift) + 1] == before[first >> shift]:
        return False
    return np.searchsorted(out, first) < np.searchsorted(out, last)


@njit(nogil=True)
def _candidates(csc, first, last, limit, out, among):  # type: ignore[no-untyped-def]
    """Collect those of the edges `first` to `last` that may be drawn; return their number."""
    _, row, weight, time, node_time, hidden = csc
    n, x = 0, np.searchsorted(out, first)
    while first < last:
        until = min(out[x], last) if x < out.shape[0] else last
        for e in range(first, until):
            may = True
            if weight.shape[0] > 0:
                may &= weight[e] > 0
            if time.shape[0] > 0:
                may &= time[e] <= limit
            if node_time.shape[0] > 0:
                may &= node_time[row[e]] <= limit
            if hidden.shape[0] > 0:
                may &= (hidden[e >> 3] >> (e & 7)) & 1 == 0
            among[n] = e
            n += may
        first, x = until + 1, x + 1
    return n


@njit(nogil=True)
def _choose(row, weight, time, node_time, among, n, k, rule, bits, picked, when):  # type: ignore[no-untyped-def]
    """Pick k of the n candidates by the rule; return the next state."""
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
