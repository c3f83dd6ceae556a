"""A graph like a shop's: degrees follow a power law; made once, kept in the cache."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mtl.graphs.writer import GraphWriter

VERSION = 1
NODE = "node"
EDGE = (NODE, "to", NODE)


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """A configuration model with log-normal weights: expected in- and out-degree follow them.

    Labels are drawn at random: speed and memory do not ask whether there is anything to learn.

    Attributes:
        num_labels: class labels `y0`, `y1`, ... of every node.
    """

    num_nodes: int
    num_edges: int
    num_features: int = 100
    num_classes: int = 47
    num_labels: int = 16

    @property
    def name(self) -> str:
        """Name of the folder: what the graph is made of."""
        sizes = (self.num_nodes, self.num_edges, self.num_features, self.num_classes)
        return "-".join(map(str, ("powerlaw", VERSION, *sizes, self.num_labels)))

    def folder(self) -> Path:
        """Return the graph folder, made and moved into place where it is missing."""
        from mtl.graphs.cache import cache_home
        from mtl.graphs.writer import GraphWriter  # torch: seconds that --help does not wait for

        final = cache_home() / "benchmarks" / self.name
        if final.exists():
            return final
        print(f"making {final} (once)", flush=True)
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{self.name}.", dir=final.parent))
        try:
            self._write(GraphWriter(aside, name=self.name))
            aside.rename(final)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return final

    def _write(self, writer: "GraphWriter") -> None:
        rng = np.random.default_rng(0)
        writer.add_nodes(NODE, self.num_nodes, self._features(rng))
        for i in range(self.num_labels):
            classes = rng.integers(0, self.num_classes, self.num_nodes)
            writer.add_label(NODE, f"y{i}", "class", classes, num_classes=self.num_classes)
        split = rng.choice(np.array([1, 2, 3], np.uint8), self.num_nodes, p=[0.9, 0.05, 0.05])
        writer.add_split(NODE, "random", split)
        writer.add_edges(EDGE, *self.edges(rng))
        writer.finish()

    def edges(self, rng: np.random.Generator) -> np.ndarray:
        """Draw source and destination of every edge: int32 [2, num_edges]."""
        cumulated = np.cumsum(rng.lognormal(0, 1.2, self.num_nodes))
        shuffled = rng.permutation(self.num_nodes).astype(np.int32)  # degree says nothing of ids
        edges = np.empty((2, self.num_edges), np.int32)
        for ends in edges:
            drawn = rng.random(self.num_edges) * cumulated[-1]
            ends[:] = shuffled[np.searchsorted(cumulated, drawn)]
        return edges

    def _features(self, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((self.num_nodes, self.num_features), dtype=np.float32)


PRODUCTS = PowerLaw(num_nodes=1_000_000, num_edges=50_000_000)
"""The graph of the speed benchmarks: 100 features, 47 classes, as ogbn-products has."""
OGBN_PRODUCTS = PowerLaw(num_nodes=2_400_000, num_edges=124_000_000, num_labels=8)
"""As large as ogbn-products: what a GPU is measured on."""
TINY = PowerLaw(num_nodes=10_000, num_edges=200_000)
"""The same for --quick."""
