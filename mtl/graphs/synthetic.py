"""A seeded community graph of any size whose labels a graph network can learn, and how well.

Customers in communities: degrees follow a power law, most edges stay inside the community. A
label follows from the community or from own and neighbours' features, then noise hides a known
share of it; so the best reachable score is known, and a model without the graph falls short.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from mtl.graphs import Source
from mtl.graphs._made_up import (
    NUM_INTERESTS,
    Crowd,
    Draws,
    distinct,
    heavy_tailed,
    mean_of,
    mix,
    project,
    stray,
)
from mtl.graphs.splits import random_split
from mtl.graphs.writer import GraphWriter

NODE, EDGE = "node", ("node", "to", "node")

Edges = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Synthetic(Source):
    """Customers with a segment, churn, value and interests; the best reachable scores are known."""

    parts: ClassVar[tuple[str, ...]] = ("_made_up", "splits")

    num_nodes: Annotated[int, Field(ge=2)] = 10_000
    """Customers."""
    avg_degree: Annotated[float, Field(gt=0)] = 12.0
    """Mean number of neighbours; a few customers have dozens of times more."""
    num_communities: Annotated[int, Field(ge=2)] = 8
    """Classes of `segment`."""
    num_features: Annotated[int, Field(ge=1)] = 32
    """Width of the features."""
    homophily: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of edges inside a community; at 1 / num_communities the graph does not show it."""
    noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Share of classes replaced, and of the regression's variance that is noise: the best reachable
    accuracy and r2 are 1 - noise."""
    missing: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of every label that is not known, drawn for each label and column by itself."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The same seed gives the same folder, byte for byte."""

    def write(self, writer: GraphWriter) -> None:
        """Write the graph."""
        draws = Draws(self.seed, self.noise, self.missing)
        community = draws.rng("communities").integers(self.num_communities, size=self.num_nodes)
        features = draws.features("features", community, self.num_communities, self.num_features)
        edges = self._edges(community, draws)
        writer.add_nodes(NODE, self.num_nodes, features)
        best = {"accuracy": 1 - self.noise}
        segment = draws.flip("segment", community, self.num_communities)
        writer.add_label(
            NODE, "segment", "class", segment, num_classes=self.num_communities, best=best
        )
        churn = self._from_neighbours("churn", features, edges, draws)
        churn = draws.flip("churn", churn > np.quantile(churn, 0.8), 2)
        writer.add_label(NODE, "churn", "class", churn, num_classes=2, best=best)
        value = draws.blur("value", self._from_neighbours("value", features, edges, draws))
        euros = np.round(120 + 60 * value, 2)
        writer.add_label(NODE, "value", "regression", euros, best={"r2": 1 - self.noise})
        likes = draws.flip("interests", draws.likes(community, features, self.num_communities), 2)
        writer.add_label(
            NODE, "interests", "multilabel", likes, num_classes=NUM_INTERESTS, best=best
        )
        for split, train in (("random", 0.6), ("few", 0.1)):
            writer.add_split(NODE, split, random_split(self.num_nodes, train, draws.rng(split)))
        writer.add_edges(EDGE, *edges, reverse=EDGE)

    def _edges(self, community: np.ndarray, draws: Draws) -> Edges:
        """Draw distinct pairs until there are enough; each stands in both directions."""
        rng, num_nodes = draws.rng("edges"), self.num_nodes
        wanted = min(round(num_nodes * self.avg_degree / 2), num_nodes * (num_nodes - 1) // 2)
        cap = np.sqrt(num_nodes * self.avg_degree) / self.avg_degree  # fewer double edges of hubs
        weights = heavy_tailed(num_nodes, 3 * cap, rng)
        crowd = Crowd(community, self.num_communities, weights)

        def draw(count: int) -> np.ndarray:
            src = crowd.draw(count, rng)
            target = stray(community[src], self.num_communities, self.homophily, rng)
            dst = crowd.draw_of(target, rng)
            pairs = np.minimum(src, dst) * num_nodes + np.maximum(src, dst)
            return np.asarray(pairs[src != dst])

        low, high = np.divmod(distinct(draw, wanted), num_nodes)
        return np.concatenate([low, high]), np.concatenate([high, low])

    def _from_neighbours(
        self, name: str, features: np.ndarray, edges: Edges, draws: Draws
    ) -> np.ndarray:
        """Mix own features with the mean of the neighbours': linear, mean 0, deviation 1."""
        own, heard = project(features, draws.rng(name).standard_normal((self.num_features, 2))).T
        return mix(own, mean_of(heard, *edges, self.num_nodes))
