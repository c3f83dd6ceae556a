"""sampler: a graph of one node a type, on which all is compiled that a larger one needs."""

import numpy as np
from jaxtyping import Shaped

from mtl.graphs.topology import Csc, Topology


def tiny(topology: Topology) -> Topology:
    """Return a graph of the same types and dtypes: of each, one node or edge, if there is any."""
    edges = {
        kind: Csc(
            _one(csc.colptr, [0, min(len(csc.row), 1)]),
            _one(csc.row, [0]),
            None if csc.weight is None else _one(csc.weight, [1]),
            None if csc.time is None else _one(csc.time, [0]),
        )
        for kind, csc in topology.edges.items()
    }
    time = {name: _one(its, [0]) for name, its in topology.time.items()}
    return Topology({name: min(n, 1) for name, n in topology.num_nodes.items()}, edges, time)


def _one(like: Shaped[np.ndarray, "..."], values: list[int]) -> Shaped[np.ndarray, "..."]:
    """Return a short array that is compiled as another is: read-only where that is."""
    array = np.array(values[: len(like)], like.dtype)
    array.flags.writeable = like.flags.writeable
    return array
