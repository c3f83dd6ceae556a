"""encoder: node features and a sampled neighbourhood to embeddings of the seeds."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from mtl.plugin import Plugin, Share

if TYPE_CHECKING:
    from mtl.graphs.schema import EdgeType
    from mtl.models.trunk import Convolution


@dataclass(frozen=True, kw_only=True)
class Encoder(Plugin):
    """Options that all encoders have; a module adds its convolution."""

    needs_uniform: ClassVar[bool] = False
    """Whether it counts on neighbours drawn uniformly from all there are."""
    reads_edge_features: ClassVar[bool] = False
    """Whether its messages depend on features of the edges."""

    num_layers: PositiveInt = 2
    """Convolutions, one a hop: as many as `loader.num_neighbors` has entries."""
    dropout: Share = 0.5
    """Share of the activations that is dropped between the layers in training."""
    norm: Literal["none", "layer"] = "none"
    """Normalisation between the convolutions. (Batch statistics would differ between processes.)"""

    @property
    def num_hops(self) -> int:
        """How far the encoder looks."""
        return self.num_layers

    def check_dim(self, dim: int) -> None:
        """Refuse a width that the layers cannot have.

        Raises:
            ValueError: naming the option.
        """

    @abstractmethod
    def convolution(
        self,
        dim: int,
        layer: int,
        node_types: Collection[str],
        edge_types: Mapping["EdgeType", int],
    ) -> "Convolution":
        """Make layer 0, 1, ...: embeddings of sources to embeddings of destinations.

        Args:
            dim: width of both.
            layer: number of the layer; what comes into layer 0 has been projected and no more.
            node_types: types of the destinations.
            edge_types: types of the edges into them, with the number of their features.

        Raises:
            ConfigError: the encoder does not take several types, or none of edges.
        """
