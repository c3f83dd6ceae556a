"""stream: the nodes that a microbatch samples around: those that its tasks ask for, each once."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

Nodes = Int[np.ndarray, " nodes"]


class Wanted:
    """Nodes by type, in the order in which they were asked for.

    Args:
        disjoint: whether every node that is asked for gets a tree of its own, even the same one.
    """

    def __init__(self, *, disjoint: bool) -> None:
        self._disjoint = disjoint
        self._nodes: dict[str, list[Nodes]] = {}
        self._times: dict[str, list[Nodes]] = {}
        self._places: dict[str, Nodes] = {}

    def add(self, node_type: str, nodes: Nodes, time: Nodes | None = None) -> tuple[str, slice]:
        """Ask for nodes; return what `rows` wants to know.

        Args:
            node_type: of the nodes.
            nodes: any number, the same again and again if need be.
            time: of each, where trees are disjoint and time plays a part.
        """
        parts = self._nodes.setdefault(node_type, [])
        start = sum(map(len, parts))
        parts.append(nodes)
        if time is not None:
            self._times.setdefault(node_type, []).append(time)
        return node_type, slice(start, start + len(nodes))

    def nodes(self) -> dict[str, Nodes]:
        """Return the nodes to sample around; nothing is asked for afterwards."""
        found = {}
        for node_type, parts in self._nodes.items():
            asked = np.concatenate(parts)
            found[node_type], self._places[node_type] = (
                (asked, np.arange(len(asked))) if self._disjoint else first_of_each(asked)
            )
        return found

    def times(self) -> Mapping[str, Nodes] | None:
        """Return the time of each, if they have one."""
        return {kind: np.concatenate(parts) for kind, parts in self._times.items()} or None

    def rows(self, asked: tuple[str, slice]) -> Nodes:
        """Return where nodes that were asked for stand among those of their type."""
        node_type, part = asked
        return self._places[node_type][part]


def first_of_each(asked: Nodes) -> tuple[Nodes, Nodes]:
    """Return different nodes in the order of their first place, and which one each is."""
    different, first, which = np.unique(asked, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return different[order], place[which]
