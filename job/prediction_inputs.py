"""predict: what a prediction is made of beside the run: another graph, listed pairs."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mtl.errors import ConfigError, DataError
from mtl.graphs.schema import GraphInfo, OwnerInfo, text
from mtl.graphs.store import GraphStore


def check_alike(trained: GraphInfo, store: GraphStore) -> None:
    """Check that a model of one graph can read another: the same types and widths.

    Raises:
        ConfigError: names all that differs.
    """
    mistakes = list(_unlike(trained, store.info))
    if mistakes:
        raise ConfigError(
            f"graph.path: {store.folder} is not like the graph that the run was trained on:\n"
            + "\n".join(f"  {mistake}" for mistake in mistakes)
        )


def check_features(kinds: list[str], store: GraphStore) -> None:
    """Check that the model reads features of every node type, which new nodes have, too.

    Raises:
        ConfigError: nodes of a type have learned vectors instead.
    """
    learned = [kind for kind in kinds if store.features(kind) is None]
    if learned:
        raise ConfigError(
            f"graph.path: {', '.join(learned)} has no features: the model learned a vector for each"
            " of its nodes, and knows none for the nodes of another graph"
        )


def _unlike(trained: GraphInfo, found: GraphInfo) -> Iterator[str]:
    types = ({text(edge.edge_type) for edge in info.edges} for info in (trained, found))
    for what, (there, here) in {
        "node types": (set(trained.nodes), set(found.nodes)),
        "edge types": tuple(types),
        "collections": (set(trained.collections), set(found.collections)),
    }.items():
        if there != here:
            yield f"{what}: {_list(there)} there, {_list(here)} here"
    for kind in sorted(trained.nodes.keys() & found.nodes.keys()):
        yield from _widths(kind, trained.nodes[kind], found.nodes[kind])
    edges = {edge.edge_type: edge for edge in found.edges}
    for edge in trained.edges:
        if (other := edges.get(edge.edge_type)) is not None:
            yield from _widths(text(edge.edge_type), edge, other)
            if edge.reverse != other.reverse:
                name, back = text(edge.edge_type), (edge.reverse, other.reverse)
                yield f"reverse of {name}: {back[0]} there, {back[1]} here"


def _widths(name: str, trained: OwnerInfo, found: OwnerInfo) -> Iterator[str]:
    there, here = _width(trained), _width(found)
    if there != here:
        yield f"features of {name}: {there} columns there, {here} here"


def _width(info: OwnerInfo) -> int:
    return 0 if info.features is None else info.features.shape[1]


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def read_pairs(
    path: Path, store: GraphStore, ends: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Read the nodes of listed pairs.

    Args:
        path: Parquet or CSV: columns `src` and `dst`, or two columns.
        store: the graph.
        ends: node types of both.

    Raises:
        DataError: it cannot be read, or names nodes that are not there.
    """
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else _csv(path, store, ends)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    names = table.column_names
    if {"src", "dst"} <= set(names):
        names = ["src", "dst"]
    if len(names) != 2:
        raise DataError(f"{path}: expected columns src and dst, found {', '.join(names) or 'none'}")
    src, dst = (
        rows_of(table[name], f"{path}: column {name!r}", store, kind)
        for name, kind in zip(names, ends, strict=True)
    )
    return src, dst


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _csv(path: Path, store: GraphStore, ends: tuple[str, str]) -> pa.Table:
    """Read a CSV file; ids that are strings stay as they are written."""
    header = pyarrow.csv.open_csv(path).schema.names
    wanted = ["src", "dst"] if {"src", "dst"} <= set(header) else header[:2]
    words = {
        name: pa.string()
        for name, kind in zip(wanted, ends, strict=False)
        if (ids := store.ids(kind)) is not None and ids.offsets is not None
    }
    return pyarrow.csv.read_csv(
        path, convert_options=pyarrow.csv.ConvertOptions(column_types=words)
    )


def rows_of(column: pa.ChunkedArray, where: str, store: GraphStore, kind: str) -> np.ndarray:
    """Return the rows of nodes by their ids; by their rows where they have none.

    Raises:
        DataError: there is no such node; names the column and the value.
    """
    ids = store.ids(kind)
    values = column.to_pylist()
    if ids is not None:
        try:
            return ids.rows(values)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
    num_nodes = store.num_nodes(kind)
    for line, value in enumerate(values):
        if type(value) is not int or not 0 <= value < num_nodes:
            raise DataError(
                f"{where}, row {line}: {value!r}; allowed: 0 to {num_nodes - 1}, the rows of "
                f"{kind}, which have no ids"
            )
    return np.array(values, np.int64)
