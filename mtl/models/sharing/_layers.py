"""sharing: trunks one layer at a time, for what happens between their layers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.embeddings import Embeddings
from mtl.models.neighborhood import Hop

if TYPE_CHECKING:
    from mtl.models.trunk import Trunk


def convolved(
    trunk: nn.Module, layer: int, x: Mapping[str, Embeddings], hop: Hop
) -> dict[str, Float[Tensor, "destinations dim"]]:
    """Return what a layer of a trunk hands on: activated, unless it is the last."""
    trunk = cast("Trunk", trunk)
    out = trunk.layer(layer, x, hop)
    if layer + 1 == trunk.num_layers:
        return out
    return {kind: h.dense() for kind, h in trunk.activated(layer + 1, out).items()}


def taken(out: Mapping[str, Float[Tensor, "nodes dim"]]) -> dict[str, Embeddings]:
    """Return what the next layer takes in."""
    return {kind: Embeddings(h) for kind, h in out.items()}
