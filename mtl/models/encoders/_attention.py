"""encoder: options of those that attend with several heads."""

from dataclasses import dataclass

from pydantic import PositiveInt

from mtl.models.encoders import Encoder


@dataclass(frozen=True, kw_only=True)
class Attention(Encoder):
    """Heads side by side, which share the width among them."""

    num_heads: PositiveInt = 8
    """Attention heads, each `model.dim` / num_heads wide."""

    def check_dim(self, dim: int) -> None:
        """Refuse a width that the heads do not divide."""
        if dim % self.num_heads:
            raise ValueError(f"encoder.num_heads ({self.num_heads}) must divide dim ({dim})")
