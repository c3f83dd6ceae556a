"""A graph as large as papers100M, written as a graph folder in a minute: nothing is sorted.

In-degrees are log-normal; the source of each edge is drawn by a power law and scattered over the
nodes. Features repeat after a million rows. It needs the memory of one array of edges in pieces of
64 M, beside the page cache; the folder takes 37 GB. Checksums are not computed, so only GraphStore
opens it, which does not read what it maps.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _graphs import EDGE, NODE
from numpy.lib.format import open_memmap

from mtl.graphs.cache import cache_home
from mtl.graphs.schema import (
    MANIFEST,
    ArrayInfo,
    EdgeInfo,
    GraphInfo,
    LabelInfo,
    NodeInfo,
    file_name,
)

PIECE, REPEATED = 1 << 26, 1 << 20
SCATTER = 0x9E3779B1
"""A prime: multiplied by it, modulo the number of nodes, hubs lie anywhere."""
NO_CHECKSUM = "0" * 64
UP_TO = (0.985, 0.997, 0.998)
"""Nodes without a label, then those of training, validation and test; papers100M has 1.2 M."""


@dataclass(frozen=True, kw_only=True)
class BigGraph:
    """Sizes of the graph; labels and the split are drawn at random."""

    num_nodes: int
    num_edges: int
    num_features: int = 128
    num_classes: int = 172

    def folder(self, home: Path | None = None) -> Path:
        """Return the graph folder, made where it is missing.

        Args:
            home: where it lies; default: the cache.
        """
        name = f"scattered-1-{self.num_nodes}-{self.num_edges}-{self.num_features}"
        final = (home or cache_home() / "benchmarks") / name
        if final.exists():
            return final
        print(f"making {final} (once)", flush=True)
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=final.parent))
        try:
            self._write(aside)
            aside.rename(final)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return final

    def _write(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        degrees = _degrees(rng, self.num_nodes, self.num_edges)
        colptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(degrees)])
        info = GraphInfo(
            name="scattered",
            source={},
            source_fingerprint="",
            nodes={NODE: self._nodes(folder, rng)},
            edges=[
                EdgeInfo(
                    edge_type=EDGE,
                    num_edges=self.num_edges,
                    colptr=_saved(folder, ("edge", *EDGE, "colptr"), colptr),
                    row=self._sources(folder, rng),
                )
            ],
        )
        (folder / MANIFEST).write_text(info.to_json())

    def _nodes(self, folder: Path, rng: np.random.Generator) -> NodeInfo:
        block = rng.standard_normal((min(REPEATED, self.num_nodes), self.num_features), np.float32)
        bits = (block.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16, rounded towards 0
        features = _array(("node", NODE, "features"), "bfloat16", (self.num_nodes, bits.shape[1]))
        out = open_memmap(folder / features.file, "w+", np.uint16, features.shape)
        for start in range(0, self.num_nodes, len(bits)):
            out[start : start + len(bits)] = bits[: self.num_nodes - start]
        classes = rng.integers(0, self.num_classes, self.num_nodes, np.int32)
        drawn = rng.random(self.num_nodes, np.float32)
        split = np.digitize(drawn, UP_TO).astype(np.uint8)
        label = LabelInfo(
            kind="class",
            num_classes=self.num_classes,
            missing=-1,
            best={},
            array=_saved(folder, ("node", NODE, "label", "y0"), classes),
        )
        return NodeInfo(
            num_nodes=self.num_nodes,
            features=features,
            labels={"y0": label},
            splits={"random": _saved(folder, ("node", NODE, "split", "random"), split)},
        )

    def _sources(self, folder: Path, rng: np.random.Generator) -> ArrayInfo:
        row = _array(("edge", *EDGE, "row"), "int32", (self.num_edges,))
        out = open_memmap(folder / row.file, "w+", np.int32, row.shape)
        for start in range(0, self.num_edges, PIECE):
            drawn = rng.random(min(PIECE, self.num_edges - start), np.float32)
            drawn *= drawn  # small numbers come often
            rank = (drawn * self.num_nodes).astype(np.int64)
            out[start : start + len(drawn)] = rank * SCATTER % self.num_nodes
        return row


def _degrees(rng: np.random.Generator, num_nodes: int, num_edges: int) -> np.ndarray:
    """Return in-degrees that add up to the number of edges."""
    weights = rng.lognormal(0, 1.2, num_nodes)
    degrees: np.ndarray = (weights * (num_edges / weights.sum())).astype(np.int64)
    degrees[: num_edges - degrees.sum()] += 1
    return degrees


def _array(name: tuple[str, ...], dtype: str, shape: tuple[int, ...]) -> ArrayInfo:
    return ArrayInfo(file=file_name(*name), dtype=dtype, shape=shape, sha256=NO_CHECKSUM)


def _saved(folder: Path, name: tuple[str, ...], values: np.ndarray) -> ArrayInfo:
    np.save(folder / file_name(*name), values)
    return _array(name, values.dtype.name, values.shape)
