"""task: the features of nodes, hidden from the model: self-supervision, without any label."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mtl.plugin import Share
from mtl.tasks._nodes import OnNodes

if TYPE_CHECKING:
    from mtl.graphs.store import GraphStore
    from mtl.tasks.bound import BoundTask


@dataclass(frozen=True, kw_only=True)
class FeatureReconstruction(OnNodes):
    """Tell the features of nodes from what is around them (GraphMAE: Hou et al., KDD 2022).

    The seeds are a group of their own, `masked__TYPE`. In the step that reads them a learned vector
    stands in for their features, whoever else looks; an epoch masks every node of the training
    split once, or what `loader.rates` says. Evaluation masks them in a pass of its own, which no
    other task's metrics see.
    """

    loss: Literal["sce", "mse"] = "sce"
    """sce: scaled cosine error, (1 - cosine similarity)^gamma (GraphMAE, equation 2), for features
    whose direction matters, such as words. mse: squared error of each feature in standard
    deviations, for measurements."""
    gamma: Annotated[float, Field(ge=1, le=10)] = 2.0
    """Exponent of sce: the higher, the less do nodes matter that are told well already."""
    val_share: Annotated[Share, Field(gt=0)] = 0.05
    """Share of the nodes that validate, where no `split` is named."""
    test_share: Annotated[Share, Field(gt=0)] = 0.1
    """Share of the nodes that test, where no `split` is named."""

    def bind(self, name: str, store: "GraphStore") -> "BoundTask":
        """Look the features and their split up in a graph; see `Task.bind`."""
        from mtl.tasks._masked import bind_masked  # torch is not needed to read a configuration

        return bind_masked(self, name, store, self.find(name, store))
