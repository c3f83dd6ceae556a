"""sampler: a subgraph that grows hop by hop, in memory that was lent to it."""

from collections.abc import Mapping

from mtl.graphs.schema import EdgeType
from mtl.loaders.samplers._columns import NO_TIMES, Columns
from mtl.loaders.samplers._draw import count, expand
from mtl.loaders.samplers._filter import expand_filtered
from mtl.loaders.samplers._inputs import Ids
from mtl.loaders.samplers._places import place_seeds
from mtl.loaders.samplers._random import State
from mtl.loaders.samplers._scratch import Scratch

CHEAP = 2**22
"""Edges that room is made for without counting them first."""


class Growth:
    """One call of a sampler.

    Args:
        scratch: memory that no other call uses.
        columns: the edges of each type.
        rule: whether the same neighbour is drawn again, and whether only the latest are.
        state: of the random numbers.
        limits: the time of every seed; empty where time plays no part.
        excluded: edges that are not there, sorted.
    """

    def __init__(
        self,
        scratch: Scratch,
        columns: Mapping[EdgeType, Columns],
        rule: tuple[bool, bool],
        state: State,
        limits: Ids,
        excluded: Mapping[EdgeType, Ids],
    ) -> None:
        self.nodes, self.edges, self.columns = scratch.nodes, scratch.edges, columns
        self.replace, self.latest = rule
        self.state, self.limits, self.excluded = state, limits, excluded
        self.trees = 0

    def start(self, name: str, seeds: Ids) -> None:
        """Begin with the seeds of a type."""
        its = self.nodes[name]
        its.reserve(len(seeds), 0)
        place_seeds(
            seeds, its.num_nodes, its.places, its.base, its.nodes.array, its.tree, self.trees
        )
        its.hops.append(len(seeds))
        self.trees += len(seeds)

    def hop(self, num_neighbors: Mapping[EdgeType, int]) -> None:
        """Draw neighbours of the nodes that the hop before found."""
        last = {name: its.count for name, its in self.nodes.items()}
        found = dict(last)
        for kind, k in num_neighbors.items():
            target, edges = self.nodes[kind[2]], self.edges[kind]
            first, end = last[kind[2]] - target.hops[-1], last[kind[2]]
            edges.ptr.reserve(end + 1, first + 1)
            if first < end:
                found[kind[0]] = self._expand(kind, k, first, end, found[kind[0]])
            edges.hops.append(int(edges.ptr.array[end]) - edges.count)
        for name, its in self.nodes.items():
            its.hops.append(found[name] - its.count)

    def _expand(self, kind: EdgeType, k: int, first: int, end: int, found: int) -> int:
        """Draw along one type of edges; return how many nodes of its source's type there are."""
        columns, edges = self.columns[kind], self.edges[kind]
        source, target = self.nodes[kind[0]], self.nodes[kind[2]]
        room = (end - first) * k
        if k < 0 or room > CHEAP:
            room = count(columns.colptr, target.nodes.array, first, end, k, self.replace)
        source.reserve(found + room, found)
        edge = edges.edge.reserve(edges.count + room, edges.count)
        position = edges.position.reserve(edges.count + room, edges.count)
        nodes, to = target.nodes.array, (self.state, edges.ptr.array, edge)
        where = (source.places, source.source, target.tree, found, position)
        if columns.alike and kind not in self.excluded:
            plain = (columns.colptr, columns.row)
            return int(expand(plain, nodes, first, end, k, self.replace, *to, *where))
        rule = (self.replace, self.latest and columns.is_timed)
        limits = self.limits if columns.is_timed else NO_TIMES
        out = self.excluded.get(kind, NO_TIMES)
        csc = tuple(columns)
        return int(expand_filtered(csc, nodes, first, end, k, rule, *to, *where, limits, out))
