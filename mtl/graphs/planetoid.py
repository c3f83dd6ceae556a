"""Cora, CiteSeer and PubMed: citation graphs from the raw files PyG reads, unpickled safely."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from mtl.errors import ConfigError, DataError
from mtl.graphs import Source
from mtl.graphs._download import download
from mtl.graphs._planetoid_raw import PARTS, read_raw
from mtl.graphs.splits import random_split
from mtl.graphs.writer import GraphWriter

NODE, EDGE = "node", ("node", "to", "node")
NUM_VAL = 500


@dataclass(frozen=True, kw_only=True)
class Planetoid(Source):
    """Papers with a topic `y`, `log_degree` and `words`; splits public, full and random.

    The 15 papers of CiteSeer that nobody labelled have no topic here; PyG gives them class 0.
    """

    parts: ClassVar[tuple[str, ...]] = ("_csr", "_planetoid_raw", "splits")

    name: Literal["Cora", "CiteSeer", "PubMed"] = "Cora"
    """Which graph."""
    root: Path
    """Raw files are read from ROOT/NAME/raw, downloaded there where they are missing."""
    url: str = "https://github.com/kimiyoung/planetoid/raw/master/data"
    """Where missing files are downloaded from."""
    normalize_features: bool = True
    """Scale each paper's words to a sum of 1, as the literature does."""
    num_word_labels: Annotated[int, Field(ge=0)] = 0
    """So many of the most frequent words are taken out of the features and become the multilabel
    `words`; 0 for none."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the split `random`: 60 % train, 20 % val, 20 % test."""

    def files(self) -> list[Path]:
        """Return the raw files; download those that are missing."""
        folder = self.root / self.name / "raw"
        stem = f"ind.{self.name.lower()}"
        paths = [folder / f"{stem}.{part}" for part in PARTS]
        for path in paths:
            if not path.is_file():
                place = f"the files {stem}... ({', '.join(PARTS)})"
                download(f"{self.url}/{path.name}", path, place)
        return paths

    def write(self, writer: GraphWriter) -> None:
        """Write the graph."""
        features, classes, edges, public = self._load()
        num_nodes = len(features)
        words = np.argsort(-(features > 0).sum(axis=0), kind="stable")[: self.num_word_labels]
        if self.num_word_labels >= features.shape[1]:
            allowed = f"allowed: less than {features.shape[1]}, the words of {self.name}"
            raise ConfigError(f"graph.num_word_labels: {self.num_word_labels}; {allowed}")
        writer.add_nodes(NODE, num_nodes, self._inputs(np.delete(features, words, axis=1)))
        topic = np.where(classes.any(axis=1), classes.argmax(axis=1), -1)
        writer.add_label(NODE, "y", "class", topic, num_classes=classes.shape[1])
        degree = np.bincount(edges[1], minlength=num_nodes)
        writer.add_label(NODE, "log_degree", "regression", np.log1p(degree))
        if self.num_word_labels:
            present = features[:, words] > 0
            writer.add_label(NODE, "words", "multilabel", present, num_classes=len(words))
        writer.add_split(NODE, "public", public)
        writer.add_split(NODE, "full", np.where(public == 0, 1, public))
        split = random_split(num_nodes, 0.6, np.random.default_rng(self.seed))
        writer.add_split(NODE, "random", split)
        both_ways = np.array_equal(edges, np.unique(edges[::-1], axis=1))
        writer.add_edges(EDGE, *edges, reverse=EDGE if both_ways else None)

    def _load(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return features and one-hot classes of all papers, edges [2, num_edges], public split."""
        paths = self.files()
        x, tx, allx, y, ty, ally, pairs, test = (read_raw(path) for path in paths)
        known, num_nodes = len(allx), int(test.max(initial=-1)) + 1
        found = (len(x), len(ally), len(tx), len(ty), len(np.unique(test)))
        fit = len(test) > 0 and allx.shape[1:] + ally.shape[1:] == tx.shape[1:] + ty.shape[1:]
        if found != (len(y), known, *[len(test)] * 3) or not fit or test.min() < known:
            raise DataError(f"{paths[0].parent}: the raw files do not belong together")
        if wrong := pairs[(pairs < 0) | (pairs >= num_nodes)].tolist():
            raise DataError(f"{paths[6]}: paper {wrong[0]}; allowed: 0 to {num_nodes - 1}")
        public = np.zeros(num_nodes, np.uint8)
        public[: len(y)] = 1
        public[len(y) : len(y) + NUM_VAL] = 2
        public[test] = 3
        edges = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)  # once each, no self loops
        features, classes = (_place(num_nodes, test, *rows) for rows in ((allx, tx), (ally, ty)))
        return features, classes, edges, public

    def _inputs(self, features: np.ndarray) -> np.ndarray:
        if not self.normalize_features:
            return features
        scale = np.maximum(features.sum(axis=1, keepdims=True), np.float32(1))
        return np.asarray(features / scale)


def _place(num_nodes: int, test: np.ndarray, known: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Put the known rows first and the tested ones at their ids; ids may be left out (CiteSeer)."""
    rows = np.zeros((num_nodes, known.shape[1]), np.float32)
    rows[: len(known)] = known
    rows[test] = tested
    return rows
