"""sampler: what a call is given, checked against the graph and put in the graph's order."""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Int, Shaped

from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Topology
from mtl.plugin import nearest

Ids = Int[np.ndarray, " ids"]
NO_IDS = np.empty(0, np.int64)


def read_seeds(topology: Topology, seeds: Mapping[str, Ids]) -> dict[str, Ids]:
    """Return the seeds of every node type.

    Raises:
        ValueError: the graph has no such type or node.
    """
    check_type("seeds", seeds, topology.num_nodes)
    read = {name: _ids("seeds", seeds.get(name, NO_IDS)) for name in topology.num_nodes}
    for name, nodes in read.items():
        number = topology.num_nodes[name]
        bad = nodes[(nodes < 0) | (nodes >= number)]
        if len(bad):
            raise ValueError(f"seeds: there is no {name} {bad[0]}: 0 to {number - 1}")
    return read


def read_times(
    topology: Topology, seeds: Mapping[str, Ids], time: Mapping[str, Ids] | None
) -> dict[str, Ids]:
    """Return the time of the seeds of every node type; that of the node where none is given.

    Raises:
        ValueError: a type has no time, or not as many as it has seeds.
    """
    check_type("time", time or {}, topology.num_nodes)
    times = {}
    for name, nodes in seeds.items():
        if time is not None and name in time:
            its = _ids("time", time[name])
        elif name in topology.time:
            its = np.asarray(topology.time[name][nodes], np.int64)
        elif len(nodes):
            raise ValueError(f"time: missing for the seeds of {name}, whose nodes have none either")
        else:
            its = NO_IDS
        if len(its) != len(nodes):
            raise ValueError(f"time: {len(its)} for {len(nodes)} seeds of {name}")
        times[name] = its
    return times


def read_excluded(
    topology: Topology, exclude: Mapping[EdgeType, Ids] | None
) -> dict[EdgeType, Ids]:
    """Return the excluded edges of each type that has some, sorted, each once.

    Raises:
        ValueError: the graph has no such type or edge.
    """
    check_type("exclude", exclude or {}, topology.edges)
    excluded = {}
    for kind, given in (exclude or {}).items():
        edges, number = np.unique(_ids("exclude", given)), len(topology.edges[kind].row)
        if len(edges) and (edges[0] < 0 or edges[-1] >= number):
            bad = edges[0] if edges[0] < 0 else edges[-1]
            raise ValueError(f"exclude: {name_of(kind)} has no edge {bad}: 0 to {number - 1}")
        if len(edges):
            excluded[kind] = edges
    return excluded


def check_type(
    what: str, found: Iterable[str | EdgeType], allowed: Iterable[str | EdgeType]
) -> None:
    """Refuse a type of nodes or edges that the graph has not."""
    names = [name_of(kind) for kind in allowed]
    for kind in found:
        if name_of(kind) not in names:
            raise ValueError(
                f"{what}: the graph has no type {name_of(kind)}{nearest(name_of(kind), names)} "
                f"(it has: {', '.join(names)})"
            )


def name_of(kind: str | EdgeType) -> str:
    """Return how a type is written in texts."""
    return kind if isinstance(kind, str) else "__".join(kind)


def _ids(what: str, values: Shaped[np.ndarray, "..."]) -> Ids:
    ids = np.asarray(values)
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise ValueError(
            f"{what}: must be a list of whole numbers, found {ids.dtype} of shape {ids.shape}"
        )
    return np.ascontiguousarray(ids, np.int64)
