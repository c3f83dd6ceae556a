"""task: which pairs of nodes have an edge."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from mtl.plugin import Share
from mtl.tasks._edges import OnEdges

if TYPE_CHECKING:
    from mtl.graphs.store import GraphStore
    from mtl.tasks.bound import BoundTask


@dataclass(frozen=True, kw_only=True)
class LinkPrediction(OnEdges):
    """Tell the edges of a type from pairs of nodes without one.

    Edges of the validation and the test split carry no message, ever; those of the training split
    carry none in the step that scores them. With each goes its reverse, and every other edge of the
    type between the same two nodes. An undirected edge counts once.
    """

    loss: Literal["binary", "ranking"] = "binary"
    """binary: cross-entropy against pairs drawn at random. ranking: Bayesian personalised ranking
    (Rendle et al., 2009, equation 4) against other destinations of the same source."""
    num_negatives: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Negatives drawn for each edge in training, new ones each time."""
    num_candidates: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Destinations that each edge is ranked against in evaluation, the same for all; those that
    its source has an edge to are left out."""
    hits: tuple[PositiveInt, ...] = (1, 10)
    """Ranks k that `hits_at_k` is reported for."""
    val_share: Annotated[Share, Field(gt=0)] = 0.05
    """Share of the edges that validate, where no `split` is named."""
    test_share: Annotated[Share, Field(gt=0)] = 0.1
    """Share of the edges that test, where no `split` is named."""

    def __post_init__(self) -> None:
        for k in self.hits:
            if k > self.num_candidates:
                raise ValueError(
                    f"hits: {k} is more than num_candidates ({self.num_candidates}): every edge "
                    "would be a hit"
                )

    def bind(self, name: str, store: "GraphStore") -> "BoundTask":
        """Look the edges and their split up in a graph; see `Task.bind`."""
        from mtl.tasks._links import bind_links  # torch is not needed to read a configuration

        return bind_links(self, name, store, self.find(name, store))
