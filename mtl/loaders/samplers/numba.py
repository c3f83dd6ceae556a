"""sampler: uniform neighbours without replacement, compiled by numba, one thread a call."""

import threading
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from numba import njit
from torch import Tensor
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)

Ids = Int[np.ndarray, " ids"]


class NumbaSampler(BaseSampler):
    """Draw neighbours hop by hop; the draw is a pure function of seeds, key and fan-out.

    Callable from many threads at once: the compiled parts release the GIL, and each thread keeps a
    map of its own from node to position in the subgraph (4 bytes a node of the graph).

    Args:
        colptr: where the in-neighbours of each node start in `row`; [nodes + 1].
        row: the in-neighbours, all nodes' one after the other; [edges].
        num_neighbors: neighbours drawn per hop, without replacement; -1 takes all.
        seed: makes the draws of this run.
    """

    def __init__(
        self,
        colptr: Int[np.ndarray, " nodes_and_one"],
        row: Int[np.ndarray, " edges"],
        num_neighbors: Sequence[int],
        seed: int = 0,
    ) -> None:
        self.num_neighbors = tuple(num_neighbors)
        self._colptr, self._row, self._seed = colptr, row, seed
        self._thread = threading.local()

    def sample(self, seeds: Int[np.ndarray, " seeds"], key: int) -> SamplerOutput:
        """Return the subgraph around seeds, in PyG's contract.

        Nodes stand in the order in which they were found, seeds first; edges are sorted by
        destination, so that each hop's edges and each layer's destinations are a prefix.
        """
        local = self._local_id()
        state = np.array([self._seed, key], np.uint64)
        _start(state)
        frontier = seeds.astype(np.int64, copy=False)
        local[frontier] = np.arange(len(frontier))
        nodes = [frontier]
        rows: list[Ids] = []
        cols: list[Ids] = []
        edges: list[Ids] = []
        num_nodes, first = len(frontier), 0
        for k in self.num_neighbors:
            row, col, edge, fresh = _hop(
                self._colptr, self._row, frontier, k, local, num_nodes, first, state
            )
            first, num_nodes, frontier = num_nodes, num_nodes + len(fresh), fresh
            for kept, new in ((nodes, fresh), (rows, row), (cols, col), (edges, edge)):
                kept.append(new)
        node = np.concatenate(nodes)
        local[node] = -1
        return SamplerOutput(
            node=torch.from_numpy(node),
            row=_join(rows),
            col=_join(cols),
            edge=_join(edges),
            num_sampled_nodes=[len(part) for part in nodes],
            num_sampled_edges=[len(part) for part in rows],
        )

    def sample_from_nodes(self, index: NodeSamplerInput) -> SamplerOutput:
        """Serve a plain `NeighborLoader(..., neighbor_sampler=...)`; the seeds make the key."""
        seeds = index.node.numpy()
        output = self.sample(seeds, key=int(_fold(seeds.astype(np.uint64))))
        output.metadata = (index.input_id, index.time)
        return output

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> SamplerOutput:
        """Refuse: seeds are nodes so far."""
        raise NotImplementedError("NumbaSampler samples around nodes; edges as seeds are to come")

    def _local_id(self) -> Int[np.ndarray, " nodes"]:
        if not hasattr(self._thread, "local_id"):
            self._thread.local_id = np.full(len(self._colptr) - 1, -1, np.int32)
        return self._thread.local_id  # type: ignore[no-any-return]


def _join(parts: list[Ids]) -> Int[Tensor, " edges"]:
    return torch.from_numpy(np.concatenate(parts) if parts else np.empty(0, np.int64))


@njit(nogil=True, cache=True, inline="always")
def _next(state):  # type: ignore[no-untyped-def]
    """Advance a splitmix64 generator (Steele et al., 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True)
def _start(state):  # type: ignore[no-untyped-def]
    """Mix seed and key into one state, so that neighbouring keys share nothing."""
    key = state[1]
    state[0] = _next(state) ^ key
    state[0] = _next(state)


@njit(nogil=True, cache=True)
def _fold(seeds):  # type: ignore[no-untyped-def]
    state = np.zeros(1, np.uint64)
    for i in range(seeds.shape[0]):
        state[0] ^= seeds[i]
        state[0] = _next(state)
    return state[0] >> np.uint64(1)


@njit(nogil=True, cache=True)
def _hop(colptr, row, frontier, k, local, num_nodes, first, state):  # type: ignore[no-untyped-def]
    """Expand the frontier, whose nodes stand at `first` and after; number new nodes as found.

    One pass for each memory access pattern lets the processor overlap the cache misses of many
    edges: 20 M edges/s where one pass over everything reaches 13 M.
    """
    n = frontier.shape[0]
    start, degree = np.empty(n, np.int64), np.empty(n, np.int64)
    total = 0
    for i in range(n):
        a, b = colptr[frontier[i]], colptr[frontier[i] + 1]
        start[i], degree[i] = a, b - a
        total += b - a if k < 0 else min(k, b - a)
    col, edge = np.empty(total, np.int64), np.empty(total, np.int64)
    pick = np.empty(max(k, 0), np.int64)
    e = 0
    for i in range(n):
        a, d = start[i], degree[i]
        if k < 0 or d <= k:
            for j in range(d):
                col[e], edge[e] = first + i, a + j
                e += 1
            continue
        for c in range(k):  # Floyd's algorithm: k distinct numbers below d
            top = d - k + c
            drawn = np.int64(
                ((_next(state) >> np.uint64(32)) * np.uint64(top + 1)) >> np.uint64(32)
            )
            taken = False
            for q in range(c):
                taken |= pick[q] == drawn
            pick[c] = top if taken else drawn
            col[e], edge[e] = first + i, a + pick[c]
            e += 1
    found, position = np.empty(total, np.int64), np.empty(total, np.int64)
    for e in range(total):
        found[e] = row[edge[e]]
    for e in range(total):
        position[e] = local[found[e]]
    fresh = np.empty(total, np.int64)
    num_fresh = 0
    for e in range(total):
        if position[e] < 0:
            node = found[e]
            if local[node] < 0:
                local[node] = num_nodes + num_fresh
                fresh[num_fresh] = node
                num_fresh += 1
            position[e] = local[node]
    return position, col, edge, fresh[:num_fresh].copy()
