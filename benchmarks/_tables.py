"""Tables as a company has them: people with gaps in what is known of them, and who knows whom."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

VERSION = 1
EDGES_PER_FILE = 5_000_000
COUNTRIES = np.array([f"country_{i}" for i in range(20)])
SEGMENTS = np.array([f"segment_{i}" for i in range(8)])


def tables(num_nodes: int, num_edges: int) -> Path:
    """Return a folder with `people.parquet` and `edges/*.parquet`, made where it is missing."""
    from mtl.graphs.cache import cache_home  # torch: seconds that --help does not wait for

    final = cache_home() / "benchmarks" / f"tables-{VERSION}-{num_nodes}-{num_edges}"
    if final.exists():
        return final
    print(f"making {final} (once)", flush=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        _write(aside, num_nodes, num_edges)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final


def section(folder: Path) -> dict[str, Any]:
    """Return the `graph:` section that describes these tables."""
    people = {
        "files": "people.parquet",
        "id": "id",
        "features": {
            "age": {"kind": "numeric"},
            "spend": {"kind": "numeric", "transform": "log"},
            "country": {"kind": "categorical"},
            "premium": {"kind": "boolean"},
        },
        "labels": {"segment": {"kind": "class"}},
        "split": {"kind": "column", "column": "split"},
    }
    edges = {"files": "edges/*.parquet", "src": "src", "dst": "dst"}
    nodes, relations = {"person": people}, {"person__knows__person": edges}
    return {
        "type": "tables",
        "name": "benchmark",
        "root": str(folder),
        "nodes": nodes,
        "edges": relations,
    }


def _write(folder: Path, num_nodes: int, num_edges: int) -> None:
    rng = np.random.default_rng(0)
    ids = np.unique(rng.integers(0, 2**40, 2 * num_nodes))[:num_nodes]
    rng.shuffle(ids)
    missing = rng.random(num_nodes) < 0.1
    columns = {
        "id": ids,
        "age": pa.array(rng.normal(45, 15, num_nodes), mask=missing),
        "spend": rng.lognormal(3, 2, num_nodes),
        "country": rng.choice(COUNTRIES, num_nodes),
        "premium": rng.random(num_nodes) < 0.2,
        "segment": pa.array(rng.choice(SEGMENTS, num_nodes), mask=np.roll(missing, 1)),
        "split": rng.choice(np.array(["train", "val", "test"]), num_nodes, p=[0.6, 0.2, 0.2]),
    }
    pq.write_table(pa.table(columns), folder / "people.parquet")
    (folder / "edges").mkdir()
    cumulated = np.cumsum(rng.lognormal(0, 1.2, num_nodes))
    for first in range(0, num_edges, EDGES_PER_FILE):
        number = min(EDGES_PER_FILE, num_edges - first)
        ends = [
            ids[np.searchsorted(cumulated, rng.random(number) * cumulated[-1])] for _ in range(2)
        ]
        table = pa.table(ends, names=["src", "dst"])
        pq.write_table(table, folder / "edges" / f"{first // EDGES_PER_FILE:03d}.parquet")
