"""sampler: the arrays of one edge type as the compiled passes take them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Bits, Topology
from mtl.loaders import Temporal

NO_WEIGHTS, NO_TIMES = np.empty(0, np.float32), np.empty(0, np.int64)
NO_BITS = np.empty(0, np.uint8)


class Columns(NamedTuple):
    """In-edges of each node; what plays no part is empty."""

    colptr: Int[np.ndarray, " destinations_and_one"]
    row: Int[np.ndarray, " edges"]
    weight: Float[np.ndarray, " edges"]
    time: Int[np.ndarray, " edges"]
    node_time: Int[np.ndarray, " sources"]
    hidden: Bits
    """A bit for each edge, the lowest first: 1 is never drawn."""

    @property
    def alike(self) -> bool:
        """Whether all edges of a node may be drawn, one as well as the other."""
        return not (len(self.weight) or self.is_timed or len(self.hidden))

    @property
    def is_timed(self) -> bool:
        """Whether edges or their sources have a time."""
        return bool(len(self.time) or len(self.node_time))


def columns_of(
    topology: Topology,
    kind: EdgeType,
    hidden: Bits | None,
    *,
    weighted: bool,
    temporal: Temporal | None,
) -> Columns:
    """Return what a rule of drawing reads of an edge type."""
    csc, node_time = topology.edges[kind], topology.time.get(kind[0])
    given = (
        csc.colptr,
        csc.row,
        csc.weight if weighted and csc.weight is not None else NO_WEIGHTS,
        csc.time if temporal and csc.time is not None else NO_TIMES,
        node_time if temporal and node_time is not None else NO_TIMES,
        NO_BITS if hidden is None else hidden,
    )
    return Columns(*(np.ascontiguousarray(array) for array in given))
