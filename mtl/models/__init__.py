"""model: input projections, one trunk that the tasks share, a head for each task."""

from dataclasses import dataclass
from pathlib import Path
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
    max_embedding_gib: Annotated[float, Field(gt=0)] = 4.0
    """Nodes without features get a learned vector each; more of them than take so much memory on
    each process (weights, gradients, moments of Adam) are refused."""
    init_from: Path | None = None
    """Run directory whose best weights the model starts with, all that have a place here: a task
    that is new gets a head that starts afresh, the head of one that is gone is left."""
    freeze: tuple[str, ...] = ()
    """Parts that are not trained, by the names that are printed with their sizes at the start, such
    as [projection, trunk, heads/topic]."""

    def __post_init__(self) -> None:
        self.encoder.check_dim(self.dim)
