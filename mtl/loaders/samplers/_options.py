"""sampler: what a user may ask a sampler for, checked against the graph once."""

from collections.abc import Mapping, Sequence

from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Topology
from mtl.loaders import Temporal
from mtl.plugin import nearest

NumNeighbors = Sequence[int] | Mapping[EdgeType, Sequence[int]]


def fan_outs(num_neighbors: NumNeighbors, topology: Topology) -> dict[EdgeType, tuple[int, ...]]:
    """Return the neighbours of each hop by edge type, in the order of the topology.

    Raises:
        ConfigError: an edge type that there is not, or one that is missing, or not numbers.
    """
    names = {"__".join(kind): kind for kind in topology.edges}
    if not isinstance(num_neighbors, Mapping):
        num_neighbors = dict.fromkeys(topology.edges, num_neighbors)
    for kind, hops in num_neighbors.items():
        name = "__".join(kind)
        if kind not in topology.edges:
            raise ConfigError(
                f"num_neighbors: the graph has no edge type {name}{nearest(name, list(names))} "
                f"(it has: {', '.join(names)})"
            )
        for number in hops:
            if isinstance(number, bool) or not isinstance(number, int) or number < -1:
                raise ConfigError(
                    f"num_neighbors: must be -1 (all) or at least 0, found {number!r} for {name}"
                )
    for name, kind in names.items():
        if kind not in num_neighbors:
            raise ConfigError(f"num_neighbors: edge type {name} is missing")
    if len({len(hops) for hops in num_neighbors.values()}) > 1:
        found = {"__".join(kind): len(hops) for kind, hops in num_neighbors.items()}
        raise ConfigError(f"num_neighbors: must have as many hops everywhere, found {found}")
    return {kind: tuple(num_neighbors[kind]) for kind in topology.edges}


def check_rule(
    topology: Topology, *, replace: bool, weighted: bool, temporal: Temporal | None
) -> None:
    """Check that the graph has what the rule of drawing needs.

    Raises:
        ConfigError: it has not, or the rule contradicts itself.
    """
    if temporal not in (None, "uniform", "last"):
        raise ConfigError(
            f"temporal: must be uniform or last, found {temporal!r}"
            f"{nearest(temporal, ['uniform', 'last'])}"
        )
    if weighted and all(csc.weight is None for csc in topology.edges.values()):
        raise ConfigError("weighted: no edge of the graph has a weight")
    if temporal and not topology.time and all(c.time is None for c in topology.edges.values()):
        raise ConfigError("temporal: neither nodes nor edges of the graph have a time")
    if temporal == "last" and (replace or weighted):
        raise ConfigError(
            "temporal: last takes the latest neighbours and draws none, so it goes with neither "
            "replace nor weighted"
        )
