"""tables: all tables of a graph into a folder, nodes first: edges name their ids."""

from collections.abc import Mapping
from itertools import chain

from mtl.errors import ConfigError
from mtl.graphs._report import Report
from mtl.graphs._tables.edges import EdgeTable
from mtl.graphs._tables.ids import IdMap
from mtl.graphs._tables.nodes import NodeTable
from mtl.graphs._tables.options import Edges, Nodes
from mtl.graphs._tables.reading import Reader
from mtl.graphs._tables.times import Clock
from mtl.graphs.writer import GraphWriter


def write(
    root: str, nodes: Mapping[str, Nodes], edges: Mapping[str, Edges], writer: GraphWriter
) -> None:
    """Write all nodes and edges.

    Args:
        root: where relative names of files start.
        nodes: type -> its table.
        edges: `source__relation__destination` -> its table.
        writer: of the folder.

    Raises:
        ConfigError: files or columns are not there, or SQL is wrong; all such mistakes at once.
        DataError: names file, row, column, value, what is allowed, and how many such rows.
    """
    readers = _readers(root, nodes, edges, writer.report)
    clock, ids = Clock(), dict[str, IdMap]()
    for name, node_table in nodes.items():
        ids[name] = NodeTable(name, readers["nodes", name], node_table, clock).write(writer)
    for key, edge_table in edges.items():
        EdgeTable(key, readers["edges", key], edge_table, clock, ids).write(writer)


def _readers(
    root: str, nodes: Mapping[str, Nodes], edges: Mapping[str, Edges], report: Report
) -> dict[tuple[str, str], Reader]:
    readers, wrong = {}, []
    node_tables = (("nodes", name, table) for name, table in nodes.items())
    edge_tables = (("edges", name, table) for name, table in edges.items())
    for group, name, table in chain(node_tables, edge_tables):
        try:
            readers[group, name] = Reader(f"graph.{group}.{name}", table, root, report)
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError("\n".join(wrong))
    return readers
