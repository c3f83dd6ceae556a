"""The made-up marketplace itself: who buys, follows and sells what; labels are marketplace.py's."""

from collections.abc import Mapping

import numpy as np

from mtl.graphs._made_up import (
    Crowd,
    Draws,
    distinct,
    heavy_tailed,
    mean_of,
    mix,
    project,
    stray,
)

Edges = tuple[np.ndarray, np.ndarray]


class Market:
    """Users, items and shops in communities, with features that show them weakly.

    Args:
        counts: nodes of each type.
        widths: features of each type.
        num_communities: tastes, categories and specialities.
        homophily: share of edges inside a community.
        draws: everything random.
    """

    def __init__(
        self,
        counts: Mapping[str, int],
        widths: Mapping[str, int],
        num_communities: int,
        homophily: float,
        draws: Draws,
    ) -> None:
        self._num, self._homophily, self._draws = num_communities, homophily, draws
        self.community = {
            kind: draws.rng(kind).integers(num_communities, size=count)
            for kind, count in counts.items()
        }
        self.features = {
            kind: draws.features(f"{kind} features", self.community[kind], num_communities, width)
            for kind, width in widths.items()
        }
        self._crowds = {kind: self._crowd(kind) for kind in counts}

    def edges(self, src_type: str, relation: str, dst_type: str, avg: float) -> Edges:
        """Draw about `avg` distinct edges of each source; nobody meets himself."""
        rng, same = self._draws.rng(relation), src_type == dst_type
        num_src, num_dst = len(self.community[src_type]), len(self.community[dst_type])
        wanted = min(max(round(num_src * avg), 1), num_src * (num_dst - same))

        def draw(count: int) -> np.ndarray:
            src = self._crowds[src_type].draw(count, rng)
            dst = self._meet(self.community[src_type][src], dst_type, rng)
            pairs = src * num_dst + dst
            return np.asarray(pairs[src != dst] if same else pairs)

        src, dst = np.divmod(distinct(draw, wanted), num_dst)
        return src, dst

    def one_edge(self, src_type: str, relation: str, dst_type: str) -> Edges:
        """Draw one edge of each source."""
        community = self.community[src_type]
        return np.arange(len(community)), self._meet(community, dst_type, self._draws.rng(relation))

    def own(self, name: str, node_type: str) -> np.ndarray:
        """Return a fixed linear function of each node's features."""
        features = self.features[node_type]
        weights = self._draws.rng(name).standard_normal((features.shape[1], 1))
        return project(features, weights)[:, 0]

    def mixed(self, name: str, node_type: str, *heard: tuple[str, Edges]) -> np.ndarray:
        """Mix own features with the means of neighbours': linear, mean 0, deviation 1.

        Args:
            name: of the function.
            node_type: of the nodes.
            heard: (source type, edges from it) of each kind of neighbours.
        """
        means = [
            mean_of(self.own(f"{name} {i}", kind), *edges, len(self.community[node_type]))
            for i, (kind, edges) in enumerate(heard)
        ]
        return mix(self.own(name, node_type), *means)

    def _meet(self, community: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
        return self._crowds[kind].draw_of(stray(community, self._num, self._homophily, rng), rng)

    def _crowd(self, kind: str) -> Crowd:
        community = self.community[kind]
        cap = np.sqrt(len(community))  # fewer double edges of hubs
        weights = heavy_tailed(len(community), cap, self._draws.rng(f"{kind} weights"))
        return Crowd(community, self._num, weights)
