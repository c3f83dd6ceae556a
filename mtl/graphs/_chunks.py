"""What a source hands to the writer piece by piece: features of nodes, and edges."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mtl.graphs.schema import Kind

FeatureDtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, eq=False)
class Chunks:
    """Features that are written as they come.

    Attributes:
        num_features: columns of every chunk.
        dtype: float32, float16 or bfloat16; chunks of the last are uint16.
        chunks: arrays [rows, num_features], of all nodes together.
    """

    num_features: int
    dtype: FeatureDtype
    chunks: Iterable[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class LabelSpec:
    """A label whose values come with the edges.

    Attributes:
        kind: class, multilabel or regression.
        num_classes: classes, or columns of a multilabel; 1 for a regression.
        classes: their names, where they have some.
        best: metric name -> best reachable score, where the source knows it.
    """

    kind: Kind
    num_classes: int = 1
    classes: tuple[str, ...] | None = None
    best: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class EdgeChunk:
    """Some edges of one type; row i of every array belongs to edge i.

    Attributes:
        src: source of each edge.
        dst: destination of each edge.
        features: [edges, num_features].
        weight: finite, at least 0.
        time: whole numbers.
        labels: by name; -1 is missing, NaN in a regression.
        splits: by name; 0 none, 1 train, 2 val, 3 test.
    """

    src: ArrayLike
    dst: ArrayLike
    features: np.ndarray | None = None
    weight: ArrayLike | None = None
    time: ArrayLike | None = None
    labels: Mapping[str, ArrayLike] = field(default_factory=dict)
    splits: Mapping[str, ArrayLike] = field(default_factory=dict)


EdgeChunks = Callable[[], Iterator[EdgeChunk]]
"""Gives the same edges in the same order each time it is called."""
