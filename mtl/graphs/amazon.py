"""Photo and Computers: goods bought together, from the raw file that PyG reads, never unpickled."""

from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from mtl.errors import DataError
from mtl.graphs import Source
from mtl.graphs._csr import Csr
from mtl.graphs._download import download
from mtl.graphs._npz import read_npz
from mtl.graphs.splits import random_split
from mtl.graphs.writer import GraphWriter

NODE, EDGE = "node", ("node", "to", "node")
NUM_TRAIN, NUM_VAL = 20, 30  # of each class (Shchur et al., 2018)


@dataclass(frozen=True, kw_only=True)
class Amazon(Source):
    """Goods with a category `y` and `log_degree`; splits `random` and `random_60_20_20`.

    `random` is the literature's: 20 goods of each category train, 30 validate, the rest test.
    """

    parts: ClassVar[tuple[str, ...]] = ("_csr", "_npz", "splits")

    name: Literal["Photo", "Computers"] = "Photo"
    """Which graph."""
    root: Path
    """The raw file is read from ROOT/NAME/raw, downloaded there where it is missing."""
    url: str = "https://github.com/shchur/gnn-benchmark/raw/master/data/npz"
    """Where a missing file is downloaded from."""
    normalize_features: bool = False
    """Scale the words of each good's reviews to a sum of 1, instead of 0 and 1. A good has hundreds
    of words, so the inputs get small and training slow."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of both splits."""

    def files(self) -> list[Path]:
        """Return the raw file; download it if it is missing."""
        file = f"amazon_electronics_{self.name.lower()}.npz"
        path = self.root / self.name / "raw" / file
        if not path.is_file():
            download(f"{self.url}/{file}", path, file)
        return [path]

    def write(self, writer: GraphWriter) -> None:
        """Write the graph."""
        features, classes, edges = _read(self.files()[0])
        num_nodes, num_classes = len(features), int(classes.max(initial=0)) + 1
        if self.normalize_features:
            features /= np.maximum(features.sum(axis=1, keepdims=True), np.float32(1))
        writer.add_nodes(NODE, num_nodes, features)
        writer.add_label(NODE, "y", "class", classes, num_classes=num_classes)
        degree = np.bincount(edges[1], minlength=num_nodes)
        writer.add_label(NODE, "log_degree", "regression", np.log1p(degree))
        rng = np.random.default_rng(self.seed)
        writer.add_split(NODE, "random", _split_classes(classes, rng))
        writer.add_split(NODE, "random_60_20_20", random_split(num_nodes, 0.6, rng))
        writer.add_edges(EDGE, *edges, reverse=EDGE)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features [nodes, words] of 0 and 1, classes, edges both ways, once each, no loops.

    Raises:
        DataError: the file is broken.
    """
    try:
        arrays = read_npz(path)
        words, adjacency = (_matrix(arrays, name) for name in ("attr", "adj"))
        classes = arrays["labels"]
        num_nodes = len(classes)
        if words.shape[0] != num_nodes or adjacency.shape != (num_nodes, num_nodes):
            shapes = f"{words.shape}, {adjacency.shape}"
            raise ValueError(f"{num_nodes} labels, but features and edges of {shapes}")
        if classes.dtype.kind not in "iu" or classes.min(initial=0) < 0:
            raise ValueError("labels: expected whole numbers from 0")
        features, pairs = words.dense(), adjacency.places()
    except Exception as error:  # a broken file may raise any exception
        raise DataError(f"{path}: cannot be read as gnn-benchmark's .npz: {error}") from error
    features[features > 0] = 1
    one_way = np.stack(pairs)
    one_way = one_way[:, one_way[0] != one_way[1]]
    return features, classes, np.unique(np.hstack([one_way, one_way[::-1]]), axis=1)


def _matrix(arrays: dict[str, np.ndarray], name: str) -> Csr:
    data, indices, indptr, shape = (
        arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr", "shape")
    )
    rows, columns = (index(size) for size in shape.tolist())
    return Csr(data, indices, indptr, (rows, columns))


def _split_classes(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw uint8 [nodes]: of each class 20 train and 30 val, the rest test."""
    split = np.full(len(classes), 3, np.uint8)
    for kind in np.unique(classes):
        drawn = rng.permutation(np.flatnonzero(classes == kind))
        split[drawn[:NUM_TRAIN]] = 1
        split[drawn[NUM_TRAIN : NUM_TRAIN + NUM_VAL]] = 2
    return split
