"""sampler: a graph of one node a type, on which all is compiled that a larger one needs."""

import numpy as np
from jaxtyping import Shaped

from mtl.graphs.topology import Csc, Topology


def tiny(topology: Topology) -> Topology:
    """Return a graph of the same types and dtypes with one node each, and one edge to it."""
    edges = {
        kind: Csc(
            _of(csc.colptr, [0, 1]),
            _of(csc.row, [0]),
            None if csc.weight is None else _of(csc.weight, [1]),
            None if csc.time is None else _of(csc.time, [0]),
        )
        for kind, csc in topology.edges.items()
    }
    time = {name: _of(its, [0]) for name, its in topology.time.items()}
    return Topology(dict.fromkeys(topology.num_nodes, 1), edges, time)


def _of(like: Shaped[np.ndarray, "..."], values: list[int]) -> Shaped[np.ndarray, "..."]:
    """Return an array that is compiled as another is: read-only where that is."""
    array = np.array(values, like.dtype)
    array.flags.writeable = like.flags.writeable
    return array
