"""A seeded marketplace of any size: users, items and shops with labels of every kind on them.

Users have a taste, items a category, shops a speciality; most purchases, follows and sales stay
within one. A label follows from it or from own and neighbours' features, then noise hides a known
share of it; so the best reachable score is known, and a model without the graph falls short.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from mtl.graphs import Source
from mtl.graphs._made_up import NUM_INTERESTS, Draws, standard
from mtl.graphs._market import Edges, Market
from mtl.graphs.schema import EdgeType
from mtl.graphs.splits import random_split
from mtl.graphs.writer import GraphWriter

BUYS: EdgeType = ("user", "buys", "item")
BOUGHT_BY: EdgeType = ("item", "bought_by", "user")
FOLLOWS: EdgeType = ("user", "follows", "user")
FOLLOWED_BY: EdgeType = ("user", "followed_by", "user")
SOLD_BY: EdgeType = ("item", "sold_by", "shop")
SELLS: EdgeType = ("shop", "sells", "item")
OPENING, DAYS, SECONDS = 1_704_067_200, 730, 86_400  # of the first purchase: 1 January 2024
RARE = 0.8  # quantile: a fifth of the users leave, a fifth of the purchases come back


@dataclass(frozen=True, kw_only=True)
class Marketplace(Source):
    """Users with churn, value and interests, items with a category, shops with a quality.

    A purchase is an edge with a time, a quantity as its weight and the label `returned`. Every
    relation has its reverse: buys and bought_by, follows and followed_by, sold_by and sells.
    """

    parts: ClassVar[tuple[str, ...]] = ("_made_up", "_market", "splits")

    num_users: Annotated[int, Field(ge=2)] = 10_000
    """Users; a few buy and follow dozens of times more than most."""
    num_items: Annotated[int, Field(ge=2)] = 4_000
    """Items, each sold by one shop."""
    num_shops: Annotated[int, Field(ge=2)] = 400
    """Shops."""
    avg_purchases: Annotated[float, Field(gt=0)] = 10.0
    """Mean number of items that a user buys."""
    avg_follows: Annotated[float, Field(gt=0)] = 5.0
    """Mean number of users that a user follows."""
    num_communities: Annotated[int, Field(ge=2)] = 8
    """Tastes of users, which are the categories of items and the specialities of shops."""
    num_features: Annotated[int, Field(ge=1)] = 32
    """Width of the features of users and items; shops have a quarter of it."""
    homophily: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of edges inside a community; at 1 / num_communities the graph does not show it."""
    noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Share of classes replaced, and of the regressions' variance that is noise: the best reachable
    accuracy and r2 are 1 - noise."""
    missing: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of every label that is not known, drawn for each label and column by itself."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The same seed gives the same folder, byte for byte."""

    def write(self, writer: GraphWriter) -> None:
        """Write the graph."""
        draws = Draws(self.seed, self.noise, self.missing)
        width = self.num_features
        market = Market(
            {"user": self.num_users, "item": self.num_items, "shop": self.num_shops},
            {"user": width, "item": width, "shop": max(width // 4, 1)},
            self.num_communities,
            self.homophily,
            draws,
        )
        purchases = market.edges(*BUYS, self.avg_purchases)
        follows = market.edges(*FOLLOWS, self.avg_follows)
        sales = market.one_edge(*SOLD_BY)
        for node_type, features in market.features.items():
            writer.add_nodes(node_type, len(features), features)
        self._label_users(writer, market, draws, purchases, follows)
        self._label_goods(writer, market, draws, sales)
        for node_type, features in market.features.items():
            split = random_split(len(features), 0.6, draws.rng(f"{node_type} split"))
            writer.add_split(node_type, "random", split)
        self._add_purchases(writer, market, draws, purchases)
        for edge_type, reverse, (src, dst) in (
            (FOLLOWS, FOLLOWED_BY, follows),
            (SOLD_BY, SELLS, sales),
        ):
            writer.add_edges(edge_type, src, dst, reverse=reverse)
            writer.add_edges(reverse, dst, src, reverse=edge_type)

    def _label_users(
        self, writer: GraphWriter, market: Market, draws: Draws, purchases: Edges, follows: Edges
    ) -> None:
        """Add churn and value, of what users buy and whom they follow, and interests, of taste."""
        bought, followed = ("item", purchases[::-1]), ("user", follows[::-1])
        churn = market.mixed("churn", "user", bought)
        leaves = draws.flip("churn", churn > np.quantile(churn, RARE), 2)
        writer.add_label("user", "churn", "class", leaves, num_classes=2, best=self._accuracy)
        value = draws.blur("value", market.mixed("value", "user", bought, followed))
        euros = np.round(120 + 60 * value, 2)
        writer.add_label("user", "value", "regression", euros, best=self._r2)
        taste, features = market.community["user"], market.features["user"]
        likes = draws.flip("interests", draws.likes(taste, features, self.num_communities), 2)
        writer.add_label(
            "user",
            "interests",
            "multilabel",
            likes,
            num_classes=NUM_INTERESTS,
            best=self._accuracy,
        )

    def _label_goods(self, writer: GraphWriter, market: Market, draws: Draws, sales: Edges) -> None:
        """Add the category of items, and the quality of shops, of what they sell."""
        num_classes = self.num_communities
        category = draws.flip("category", market.community["item"], num_classes)
        writer.add_label(
            "item", "category", "class", category, num_classes=num_classes, best=self._accuracy
        )
        quality = draws.blur("quality", market.mixed("quality", "shop", ("item", sales)))
        stars = np.round(3 + quality, 2)
        writer.add_label("shop", "quality", "regression", stars, best=self._r2)

    def _add_purchases(
        self, writer: GraphWriter, market: Market, draws: Draws, purchases: Edges
    ) -> None:
        """Add purchases, and which come back: of both ends, and more of those against the taste."""
        users, items = purchases
        rng = draws.rng("purchases")
        quantity = rng.integers(1, 6, size=len(users)).astype(np.float32)
        time = OPENING + rng.integers(DAYS * SECONDS, size=len(users))
        writer.add_edges(BUYS, users, items, weight=quantity, time=time, reverse=BOUGHT_BY)
        writer.add_edges(BOUGHT_BY, items, users, weight=quantity, time=time, reverse=BUYS)
        odd = market.community["user"][users] != market.community["item"][items]
        own = market.own("returns", "user")[users] + market.own("returned", "item")[items]
        score = standard(own) + 1.5 * odd
        returned = draws.flip("returned", score > np.quantile(score, RARE), 2)
        writer.add_label(BUYS, "returned", "class", returned, num_classes=2, best=self._accuracy)
        writer.add_split(BUYS, "time", 1 + np.searchsorted(np.quantile(time, (0.6, 0.8)), time))
        writer.add_split(BUYS, "random", random_split(len(users), 0.6, draws.rng("buys split")))

    @property
    def _accuracy(self) -> dict[str, float]:
        return {"accuracy": 1 - self.noise}

    @property
    def _r2(self) -> dict[str, float]:
        return {"r2": 1 - self.noise}
