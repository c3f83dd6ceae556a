"""sampler: pairs of nodes that are no edges, drawn from the key alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mtl.graphs.topology import Csc
from mtl.loaders.samplers._compile import compiled
from mtl.loaders.samplers._inputs import Ids
from mtl.loaders.samplers._random import State, fill_units

TRIES = 16
"""Draws of a pair before all partners are looked through."""


@dataclass(frozen=True, eq=False)
class End:
    """The nodes that may be one end of a negative."""

    number: int
    """Nodes of that type."""
    time: Ids | None
    """When the nodes came to be, if that matters."""
    weights: Float[np.ndarray, " nodes"] | None
    """How likely each is drawn; summed up."""

    def draw(self, state: State, count: int) -> Ids:
        """Draw nodes, the same ones again and again if it so happens."""
        units = np.empty(count)
        fill_units(state, units)
        if self.weights is None:
            return np.asarray((1 - units) * self.number, np.int64)
        return np.asarray(np.searchsorted(self.weights, units * self.weights[-1]))

    def all(self) -> Ids:
        """Return the nodes that can be drawn at all."""
        if self.weights is None:
            return np.arange(self.number)
        return np.flatnonzero(np.diff(self.weights, prepend=0))

    def too_late(self, nodes: Ids, limit: Ids | int | None) -> Bool[np.ndarray, " ids"]:
        """Say which nodes came to be after their limit."""
        if self.time is None or limit is None:
            return np.zeros(len(nodes), bool)
        return np.asarray(self.time[nodes] > limit)


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs that may be negatives.

    Args:
        source: nodes that may be the first of a pair.
        target: nodes that may be the second.
        csc: edges that no pair may be.
    """

    source: End
    target: End
    csc: Csc | None

    def draw(
        self, sources: Ids | None, limit: Ids | None, count: int, state: State
    ) -> tuple[Ids, Ids]:
        """Draw pairs.

        Args:
            sources: their first nodes; default: drawn, too.
            limit: the latest time of their nodes.
            count: how many.
            state: of the random numbers.

        Raises:
            ValueError: a source has no partner.
        """
        source = self.source.draw(state, count) if sources is None else sources.copy()
        target = self.target.draw(state, count)
        rows = np.arange(count)
        for attempt in range(TRIES):
            rows = rows[self._wrong(source[rows], target[rows], _rows(limit, rows))]
            if attempt + 1 < TRIES:
                if sources is None:
                    source[rows] = self.source.draw(state, len(rows))
                target[rows] = self.target.draw(state, len(rows))
        for row in rows:
            others = [source[row]] if sources is not None else [source[row], *self.source.all()]
            bound = None if limit is None else limit[row]
            source[row], target[row] = self._search(others, bound, state)
        return source, target

    def _wrong(self, source: Ids, target: Ids, limit: Ids | int | None) -> Bool[np.ndarray, " ids"]:
        """Say which pairs are no negatives."""
        edges = np.zeros(len(source), bool)
        if self.csc is not None:
            are_edges(self.csc.colptr, self.csc.row, source, target, edges)
        late = self.source.too_late(source, limit) | self.target.too_late(target, limit)
        return np.asarray(edges | late)

    def _search(self, sources: list[int], limit: int | None, state: State) -> tuple[int, int]:
        """Look through all partners of these sources; draw one of the first that has any."""
        targets, unit = self.target.all(), np.empty(1)
        for source in sources:
            partners = targets[~self._wrong(np.full(len(targets), source), targets, limit)]
            if len(partners):
                fill_units(state, unit)
                return source, int(partners[int((1 - unit[0]) * len(partners))])
        raise ValueError(
            f"neg_sampling: there is no negative for source {sources[0]}: it has an edge to every "
            "node that is there at its time"
        )


@compiled
def are_edges(colptr, row, source, target, out):  # type: ignore[no-untyped-def]
    """Say which pairs are edges; the sources of each destination are sorted."""
    for i in range(source.shape[0]):
        first, last = colptr[target[i]], colptr[target[i] + 1]
        at = first + np.searchsorted(row[first:last], source[i])
        out[i] = at < last and row[at] == source[i]


@compiled
def is_sorted(colptr, row):  # type: ignore[no-untyped-def]
    """Say whether the sources of each destination are sorted."""
    for i in range(colptr.shape[0] - 1):
        for e in range(colptr[i] + 1, colptr[i + 1]):
            if row[e] < row[e - 1]:
                return False
    return True


def _rows(limit: Ids | None, rows: Ids) -> Ids | None:
    return None if limit is None else limit[rows]
