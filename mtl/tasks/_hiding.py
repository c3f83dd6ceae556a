"""tasks: which edges carry no message while some are scored: they would give themselves away."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Int

from mtl.graphs.schema import EdgeType, Owner
from mtl.graphs.store import GraphStore
from mtl.graphs.topology import Bits, bits_of

Edges = Int[np.ndarray, " edges"]
Hidden = dict[EdgeType, Edges]


class Hiding:
    """Finds what has to be hidden with edges of one type.

    Args:
        store: the graph.
        kind: type of the scored edges.
        what: `edge`: each and its counterpart in the reverse relation; `relation`: with them those
            of the same type between the same two nodes; `pair`: whatever joins the two nodes.
    """

    def __init__(
        self, store: GraphStore, kind: Owner, what: Literal["edge", "relation", "pair"]
    ) -> None:
        assert not isinstance(kind, str)
        self._edges, self._kind, self._what = store.topology().edges, kind, what
        self._reverse = store.reverse(kind)

    def ends(self, edges: Edges) -> tuple[Edges, Edges]:
        """Return source and destination of edges."""
        csc = self._edges[self._kind]
        return csc.row[edges].astype(np.int64), csc.destination(edges)

    def hidden(self, edges: Edges) -> Hidden:
        """Return what is hidden with these edges, by type; some may stand twice."""
        src, dst = self.ends(edges)
        if self._what == "edge":
            return _merged(self._counterparts(edges, src, dst))
        forward = ((kind, *self._edges[kind].find(src, dst)) for kind in self._others(forward=True))
        back = ((kind, *self._edges[kind].find(dst, src)) for kind in self._others(forward=False))
        return _merged((kind, numbers_in(*r)) for part in (forward, back) for kind, *r in part)

    def bits(self, edges: Edges) -> dict[EdgeType, Bits]:
        """Return the same as a bit for each edge of each type."""
        hidden = self.hidden(edges).items()
        return {kind: bits_of(len(self._edges[kind].row), some) for kind, some in hidden}

    def _counterparts(
        self, edges: Edges, src: Edges, dst: Edges
    ) -> Iterator[tuple[EdgeType, Edges]]:
        """Yield the edges and, of the k-th of several between the same nodes, the k-th reverse."""
        yield self._kind, edges
        if self._reverse is None:
            return
        first, _ = self._edges[self._kind].find(src, dst)
        there, _ = self._edges[self._reverse].find(dst, src)
        yield self._reverse, there + edges - first  # a graph folder has as many there, in order

    def _others(self, *, forward: bool) -> list[EdgeType]:
        """Return the types whose edges between the two nodes are hidden."""
        source, _, target = self._kind
        ends = (source, target) if forward else (target, source)
        if self._what == "pair":
            return [kind for kind in self._edges if (kind[0], kind[2]) == ends]
        if forward:
            return [self._kind]
        return [] if self._reverse is None else [self._reverse]


def numbers_in(first: Edges, last: Edges) -> Edges:
    """Return all numbers of the ranges `first` to `last` - 1, one range after the other."""
    sizes = last - first
    return np.repeat(first - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())


def _merged(parts: Iterator[tuple[EdgeType, Edges]]) -> Hidden:
    hidden: dict[EdgeType, list[Edges]] = {}
    for kind, edges in parts:
        hidden.setdefault(kind, []).append(edges)
    return {kind: np.concatenate(some) for kind, some in hidden.items()}
