"""model: input projections, one trunk that the tasks share, a head for each task."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from mtl.models.encoders import Encoder
from mtl.models.sharing import Sharing
from mtl.plugin import Options, Share


@dataclass(frozen=True, kw_only=True)
class Model(Options):
    """What is trained."""

    encoder: Encoder
    """The graph network that turns features into node embeddings."""
    sharing: Sharing
    """What the tasks have in common."""
    dim: Annotated[int, Field(ge=1, le=2**16)] = 128
    """Width of every hidden layer."""
    input_dropout: Share = 0.0
    """Share of the raw features that is dropped in training."""

    def __post_init__(self) -> None:
        self.encoder.check_dim(self.dim)
