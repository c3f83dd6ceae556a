"""stream: the nodes that a microbatch samples around: those that its tasks ask for, each once."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

Nodes = Int[np.ndarray, " nodes"]


class Wanted:
    """Nodes by type, in the order in which they were asked for; as of one time each, or of several.

    Who asks for the same node as of the same time reads the same row.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, list[Nodes]] = {}
        self._times: dict[str, list[Nodes]] = {}
        self._places: dict[str, Nodes] = {}
        self._moments: dict[str, Nodes] = {}

    def add(self, node_type: str, nodes: Nodes, time: Nodes | None = None) -> tuple[str, slice]:
        """Ask for nodes; return what `rows` wants to know.

        Args:
            node_type: of the nodes.
            nodes: any number, the same again and again if need be.
            time: as of when each is looked at, where time plays a part: for all of a type or none.
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
            asked, times = np.concatenate(parts), self._times.get(node_type)
            if times is None:
                first, self._places[node_type] = first_of_each(asked)
            else:
                moments = np.concatenate(times)
                first, self._places[node_type] = first_of_each(numbered(asked, moments))
                self._moments[node_type] = moments[first]
            found[node_type] = asked[first]
        return found

    def times(self) -> Mapping[str, Nodes] | None:
        """Return the time of each of `nodes`, if they have one."""
        return self._moments or None

    def rows(self, asked: tuple[str, slice]) -> Nodes:
        """Return where nodes that were asked for stand among those of their type."""
        node_type, part = asked
        return self._places[node_type][part]


def first_of_each(asked: Nodes) -> tuple[Nodes, Nodes]:
    """Return where each different number stands first, in their order, and which one each is."""
    _, first, which = np.unique(asked, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[which]


def numbered(nodes: Nodes, times: Nodes) -> Nodes:
    """Return a number for each pair of node and time, the same for the same pair."""
    moments, which = np.unique(times, return_inverse=True)
    return nodes.astype(np.int64) * max(len(moments), 1) + which
