"""model: a learned vector for each node without features, or a refusal that says how large."""

from collections import Counter

import torch

from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.models import Model
from mtl.models.projection import Projection
from mtl.models.sharing import Parts

COPIES = 4  # weights, gradients and the two moments of Adam, in float32


def check_learned(options: Model, store: GraphStore, parts: Parts) -> None:
    """Refuse learned vectors that would not fit, those that tasks have for themselves included.

    How many there are says a bottom that is built without memory: no way of sharing has to.

    Raises:
        ConfigError: saying how large they would be.
    """
    with torch.device("meta"):
        bottom = options.sharing.build(parts)
    vectors: Counter[str] = Counter()
    for module in bottom.modules():
        vectors.update(module.num_nodes if isinstance(module, Projection) else {})
    gib = COPIES * 4 * options.dim * vectors.total() / 2**30
    if gib > options.max_embedding_gib:
        num_nodes = sum(map(store.num_nodes, vectors))
        own = f", {vectors.total():,} vectors as model.sharing gives tasks their own,"
        raise ConfigError(
            f"graph: {', '.join(vectors)} have no features, and a learned vector of model.dim "
            f"{options.dim} for each of {num_nodes:,} nodes"
            f"{own if vectors.total() > num_nodes else ''} takes {gib:,.1f} GiB on every process, "
            f"more than model.max_embedding_gib {options.max_embedding_gib:g}; give the nodes "
            "features, or lower model.dim, or raise that limit"
        )
