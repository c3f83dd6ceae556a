"""Tables written to files, and the graph that they become."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from mtl.graphs import Source
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter

Files = dict[str, Any]


def write(folder: Path, files: Files) -> Path:
    """Write each file: texts as they are, columns as Parquet or CSV."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table(content) if isinstance(content, dict) else content
        if isinstance(table, str):
            path.write_text(table)
        elif path.suffix == ".csv":
            csv.write_csv(table, path)
        else:
            pq.write_table(table, path)
    return folder


def convert(folder: Path, section: dict[str, Any]) -> GraphStore:
    """Convert a `graph` section over the files of a folder."""
    source = Source.read({"type": "tables", "root": str(folder), **section})
    writer = GraphWriter(folder / f"graph-{uuid4().hex}", name=source.name)
    source.write(writer)
    writer.finish()
    return GraphStore(writer.folder)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., GraphStore]:
    """Write files and convert a `graph` section over them, in a new folder."""

    def build(files: Files, **section: Any) -> GraphStore:
        return convert(write(tmp_path_factory.mktemp("tables"), files), section)

    return build


@pytest.fixture(scope="session")
def nodes(build: Callable[..., GraphStore]) -> Callable[..., GraphStore]:
    """Convert one table of nodes `n` alone, in a Parquet file."""
    return lambda columns, **options: build(
        {"n.parquet": columns}, nodes={"n": {"files": "n.parquet", **options}}
    )
