"""tasks: feature reconstruction on one graph: which nodes are masked, and what they look like."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from mtl.errors import ConfigError
from mtl.graphs.splits import NONE, TRAIN, hashed_split
from mtl.graphs.store import GraphStore
from mtl.tasks import Statistics
from mtl.tasks._metrics import Cosine, VarianceExplained
from mtl.tasks.bound import SPLITS, BoundTask, Seeds, split_of
from mtl.tasks.feature_reconstruction import FeatureReconstruction

SAMPLE = 100_000


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundMasked(BoundTask):
    """Feature reconstruction on one node type.

    Attributes:
        features: of all nodes of the type.
    """

    task: FeatureReconstruction
    features: Float[Tensor, "nodes features"]

    @property
    def group(self) -> str:
        """Masked nodes are seeds of their own: the same nodes with labels are another group."""
        return f"masked__{self.owner}"

    @property
    def masks(self) -> bool:
        """Whether the model must not see the features of the seeds."""
        return True

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and standard deviation (1 where all are equal) of each feature in training.

        Of 100,000 nodes, evenly spaced, where there are more.
        """
        seeds = self.seeds("train")
        some = self._of(seeds[:: -(-len(seeds) // SAMPLE)]).double()
        scale = some.std(0, correction=0)
        return Statistics(some.mean(0), torch.where(scale > 0, scale, 1.0))

    def seeds(self, split: str) -> Seeds:
        """Return all nodes of a split, in ascending order."""
        return np.flatnonzero(self.split == SPLITS[split])

    def rows(self, seeds: Seeds, split: str) -> Int[np.ndarray, " rows"]:
        """Return the positions of those seeds that this task reads."""
        return np.flatnonzero(self.split[seeds] == SPLITS[split])

    def targets(self, seeds: Seeds, *, training: bool = False) -> Float[Tensor, "seeds features"]:
        """Return the features of seeds, in float32."""
        return self._of(seeds).float()

    def count(self, seeds: Seeds) -> float:
        """Return the number of seeds."""
        return len(seeds)

    def loss_sum(
        self, prediction: Float[Tensor, "seeds features"], target: Float[Tensor, "seeds features"]
    ) -> Float[Tensor, ""]:
        """Return the sum over seeds of the scaled cosine error, or of the mean squared error."""
        if self.task.loss == "sce":
            cosine = F.cosine_similarity(prediction, target.to(prediction), dim=1)
            return (1 - cosine).clamp(min=0).pow(self.task.gamma).sum()
        error = (prediction - target.to(prediction)) / self.statistics_as(prediction).scale
        return error.square().mean(1).sum()

    def scores(self, prediction: Float[Tensor, "seeds features"]) -> Tensor:
        """Return the features as they are predicted."""
        return prediction

    def metrics(self) -> dict[str, Metric]:
        """Return the mean cosine similarity, and R2 where the length of a prediction counts."""
        if self.task.loss == "sce":
            return {"cosine": Cosine()}
        return {"r2": VarianceExplained(), "cosine": Cosine()}

    def _of(self, seeds: Seeds) -> Float[Tensor, "seeds features"]:
        return self.features[torch.from_numpy(seeds.astype(np.int64))]


def bind_masked(
    task: FeatureReconstruction, name: str, store: GraphStore, node_type: str
) -> BoundMasked:
    """Look the features and their split up in a graph.

    Raises:
        ConfigError: naming the YAML path, what was asked for and what the graph has.
    """
    features = store.features(node_type)
    if features is None:
        some = [kind for kind in store.node_types if store.features(kind) is not None]
        raise ConfigError(
            f"tasks.{name}.node_type: {node_type} has no features to reconstruct (with features: "
            f"{', '.join(some) or 'none'})"
        )
    if task.split is not None:
        split = split_of(task, name, store, node_type)
    elif task.val_share + task.test_share >= 1:
        raise ConfigError(f"tasks.{name}.val_share: with test_share it must stay below 1")
    else:
        nodes, train = np.arange(len(features)), 1 - task.val_share - task.test_share
        split = hashed_split(nodes, train, 0, val=task.val_share, test=task.test_share)
        split[split == NONE] = TRAIN  # the shares add up to 1, up to rounding
    for part, number in SPLITS.items():
        if not (split == number).any():
            raise ConfigError(
                f"tasks.{name}: none of the {len(features)} nodes of {node_type} is in the {part} "
                "split (raise val_share and test_share, or name a split)"
            )
    return BoundMasked(
        name=name,
        task=task,
        owner=node_type,
        node_types=(node_type,),
        split=split,
        features=features,
    )
