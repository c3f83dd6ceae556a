"""A seeded community graph of any size whose labels a graph network can learn, and how well.

Customers in communities: degrees follow a power law, most edges stay inside the community. A
label follows from the community or from own and neighbours' features, then noise hides a known
share of it; so the best reachable score is known, and a model without the graph falls short.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from mtl.graphs import Source
from mtl.graphs.splits import random_split
from mtl.graphs.writer import GraphWriter

NODE = "node"
NUM_INTERESTS = 6
SIGNAL = 0.25  # of the community in own features: weak in one node, clear in a mean of neighbours

Edges = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Synthetic(Source):
    """Customers with a segment, churn, value and interests; the best reachable scores are known."""

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
        community = self._rng("communities").integers(self.num_communities, size=self.num_nodes)
        features = self._features(community)
        edges = self._edges(community)
        writer.add_nodes(NODE, self.num_nodes, features)
        best = {"accuracy": 1 - self.noise}
        segment = self._flip("segment", community, self.num_communities)
        writer.add_label(
            NODE, "segment", "class", segment, num_classes=self.num_communities, best=best
        )
        churn = self._from_neighbours("churn", features, edges)
        churn = self._flip("churn", churn > np.quantile(churn, 0.8), 2)
        writer.add_label(NODE, "churn", "class", churn, num_classes=2, best=best)
        value = self._blur("value", self._from_neighbours("value", features, edges))
        euros = np.round(120 + 60 * value, 2)
        writer.add_label(NODE, "value", "regression", euros, best={"r2": 1 - self.noise})
        likes = self._flip("interests", self._likes(community, features), 2)
        writer.add_label(
            NODE, "interests", "multilabel", likes, num_classes=NUM_INTERESTS, best=best
        )
        for split, train in (("random", 0.6), ("few", 0.1)):
            writer.add_split(NODE, split, random_split(self.num_nodes, train, self._rng(split)))
        writer.add_edges((NODE, "to", NODE), *edges)

    def _features(self, community: np.ndarray) -> np.ndarray:
        rng = self._rng("features")
        centres = rng.normal(scale=SIGNAL, size=(self.num_communities, self.num_features))
        features = rng.standard_normal((self.num_nodes, self.num_features), np.float32)
        features += centres.astype(np.float32)[community]
        return features

    def _edges(self, community: np.ndarray) -> Edges:
        """Draw distinct pairs until there are enough; each stands in both directions."""
        rng, num_nodes = self._rng("edges"), self.num_nodes
        wanted = min(round(num_nodes * self.avg_degree / 2), num_nodes * (num_nodes - 1) // 2)
        cap = np.sqrt(num_nodes * self.avg_degree) / self.avg_degree  # fewer double edges of hubs
        weights = np.minimum(1 + rng.pareto(1.5, num_nodes), 3 * cap)
        pairs = np.empty(0, np.int64)
        for _ in range(20):  # each fills most of what the one before left open
            ends = self._draw(community, weights, wanted - len(pairs), rng)
            pairs = np.concatenate([pairs, np.minimum(*ends) * num_nodes + np.maximum(*ends)])
            pairs = pairs[pairs // num_nodes != pairs % num_nodes]
            pairs.sort()
            pairs = pairs[np.diff(pairs, prepend=-1) != 0]
            if wanted - len(pairs) <= wanted // 1000:
                break
        low, high = np.divmod(pairs, num_nodes)
        return np.concatenate([low, high]), np.concatenate([high, low])

    def _draw(
        self, community: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator
    ) -> Edges:
        """Draw `count` pairs in proportion to their weights, a share `homophily` inside."""
        order = np.argsort(community, kind="stable")
        heap = np.concatenate([[0.0], np.cumsum(weights[order])])
        bounds = heap[np.searchsorted(community[order], np.arange(self.num_communities + 1))]

        def pick(low: np.ndarray, high: np.ndarray) -> np.ndarray:
            place = np.searchsorted(heap, low + (high - low) * rng.random(count), side="right")
            picked: np.ndarray = order[np.clip(place - 1, 0, len(order) - 1)]
            return picked

        src = pick(heap[:1], heap[-1:])
        jump = rng.integers(1, self.num_communities, size=count)
        jump *= rng.random(count) >= self.homophily
        target = (community[src] + jump) % self.num_communities
        return src, pick(bounds[target], bounds[target + 1])

    def _from_neighbours(self, name: str, features: np.ndarray, edges: Edges) -> np.ndarray:
        """Mix own features with the mean of the neighbours': linear, mean 0, deviation 1."""
        src, dst = edges
        own, heard = _project(features, self._rng(name).standard_normal((self.num_features, 2))).T
        degree = np.bincount(dst, minlength=self.num_nodes)
        mean = np.bincount(dst, heard[src], self.num_nodes) / np.maximum(degree, 1)
        return _standard(_standard(own) + 1.5 * _standard(mean))

    def _likes(self, community: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Decide interests mostly by what the community likes, a little by own features."""
        rng = self._rng("interests")
        half = np.arange(self.num_communities) < self.num_communities / 2
        liked = np.stack([rng.permutation(half) for _ in range(NUM_INTERESTS)], axis=1)
        own = _project(features, rng.standard_normal((self.num_features, NUM_INTERESTS)))
        return np.asarray(_standard(own) + 3.0 * liked[community] > 1.5)

    def _flip(self, name: str, values: np.ndarray, num_classes: int) -> np.ndarray:
        """Replace a share `noise` by another class, hide a share `missing`."""
        rng = self._rng(name + " noise")
        other = rng.integers(1, num_classes, size=values.shape)
        flipped = (values + other * (rng.random(values.shape) < self.noise)) % num_classes
        return np.where(self._hidden(name, values), -1, flipped)

    def _blur(self, name: str, values: np.ndarray) -> np.ndarray:
        """Mix in Gaussian noise, the variance staying 1; hide a share `missing`."""
        noise = self._rng(name + " noise").standard_normal(values.shape)
        mixed = np.sqrt(1 - self.noise) * values + np.sqrt(self.noise) * noise
        return np.where(self._hidden(name, values), np.nan, mixed)

    def _hidden(self, name: str, values: np.ndarray) -> np.ndarray:
        return self._rng(name + " missing").random(values.shape) < self.missing

    def _rng(self, purpose: str) -> np.random.Generator:
        """Return a generator of its own for each purpose: noise and missing change only labels."""
        return np.random.default_rng([self.seed, *purpose.encode()])


def _project(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Multiply without BLAS, whose last bit depends on the processor and the threads."""
    total = np.zeros((len(features), weights.shape[1]))
    for column, weight in zip(features.T, weights, strict=True):
        total += np.multiply.outer(column.astype(np.float64), weight)
    return total


def _standard(values: np.ndarray) -> np.ndarray:
    spread = np.maximum(values.std(axis=0), 1e-12)
    scaled: np.ndarray = (values - values.mean(axis=0)) / spread
    return scaled
