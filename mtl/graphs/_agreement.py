"""graph.json agrees with itself: every array has the dtype and the shape that the counts say."""

from pathlib import Path

from mtl.errors import DataError
from mtl.graphs.schema import (
    ArrayInfo,
    CollectionInfo,
    EdgeInfo,
    EdgeType,
    GraphInfo,
    IdsInfo,
    LabelInfo,
    NodeInfo,
    OwnerInfo,
    repeated,
    text,
)

FEATURES = ("float32", "float16", "bfloat16")
LABEL_DTYPES = {"class": "int32", "multilabel": "int8", "regression": "float32"}


def check_agreement(path: Path, info: GraphInfo) -> None:
    """Check what graph.json says, without a look at any other file.

    Raises:
        DataError: names the key, what it says and what is allowed.
    """
    if not info.nodes:
        raise DataError(f"{path}: nodes: a graph has at least one node type")
    for node_type, node in info.nodes.items():
        _check_node(f"{path}: nodes.{node_type}", node)
    edges = {edge.edge_type: edge for edge in info.edges}
    for index, edge in enumerate(info.edges):
        if edges[edge.edge_type] is not edge:
            raise DataError(f"{path}: edges.{index}.edge_type: {edge.edge_type} stands twice")
        _check_edge(f"{path}: edges.{index}", edge, info, edges)
    for name, collection in info.collections.items():
        _check_collection(f"{path}: collections.{name}", name, collection, info)


def row_dtype(num_src: int) -> str:
    """Return the dtype of the sources of edges: int32 where the node count allows."""
    return "int32" if num_src <= 2**31 else "int64"


def _check_node(where: str, node: NodeInfo) -> None:
    _check_owner(where, node, node.num_nodes)
    if node.ids:
        _check_ids(f"{where}.ids", node.ids, node.num_nodes)


def _check_ids(where: str, ids: IdsInfo, num_nodes: int) -> None:
    if (ids.kind == "string") != (ids.offsets is not None):
        needed = "need" if ids.kind == "string" else "have no"
        raise DataError(f"{where}.offsets: ids of kind {ids.kind} {needed} offsets")
    if ids.offsets:
        _check_array(f"{where}.offsets", ids.offsets, ("int64",), (num_nodes + 1,))
        _check_array(f"{where}.values", ids.values, ("uint8",), (ids.values.shape or (0,))[:1])
    else:
        _check_array(f"{where}.values", ids.values, ("int64",), (num_nodes,))


def _check_collection(where: str, name: str, collection: CollectionInfo, info: GraphInfo) -> None:
    if name in info.nodes:
        raise DataError(f"{where}: a node type has this name")
    if collection.node_type not in info.nodes:
        raise DataError(
            f"{where}.node_type: no node type {collection.node_type!r} ({list(info.nodes)})"
        )
    if collection.features or collection.time:
        raise DataError(f"{where}: graphs have neither features nor times of their own")
    _check_array(
        f"{where}.graph_ptr", collection.graph_ptr, ("int64",), (collection.num_graphs + 1,)
    )
    _check_owner(where, collection, collection.num_graphs)


def _check_edge(
    where: str, edge: EdgeInfo, info: GraphInfo, edges: dict[EdgeType, EdgeInfo]
) -> None:
    src, _, dst = edge.edge_type
    for node_type in (src, dst):
        if node_type not in info.nodes:
            raise DataError(f"{where}.edge_type: no node type {node_type!r} ({list(info.nodes)})")
    num_src, num_dst = info.nodes[src].num_nodes, info.nodes[dst].num_nodes
    _check_array(f"{where}.colptr", edge.colptr, ("int64",), (num_dst + 1,))
    _check_array(f"{where}.row", edge.row, (row_dtype(num_src),), (edge.num_edges,))
    if edge.weight:
        _check_array(f"{where}.weight", edge.weight, ("float32",), (edge.num_edges,))
    _check_owner(where, edge, edge.num_edges)
    if edge.reverse:
        _check_reverse(f"{where}.reverse", edge, edges.get(edge.reverse))


def _check_reverse(where: str, edge: EdgeInfo, other: EdgeInfo | None) -> None:
    assert edge.reverse is not None
    name = text(edge.reverse)
    if other is None:
        raise DataError(f"{where}: no edge type {name}")
    if other.edge_type[::2] != edge.edge_type[::-2]:
        raise DataError(f"{where}: {name} does not lead from {edge.edge_type[2]!r} back")
    if other.num_edges != edge.num_edges:
        raise DataError(f"{where}: {name} has {other.num_edges} edges; this has {edge.num_edges}")
    if other.reverse not in (None, edge.edge_type):
        raise DataError(f"{where}: the reverse of {name} is {text(other.reverse)}, not this")


def _check_owner(where: str, owner: OwnerInfo, rows: int) -> None:
    if owner.features:
        width = owner.features.shape[1:2] or (1,)
        _check_array(f"{where}.features", owner.features, FEATURES, (rows, *width))
    if owner.time:
        _check_array(f"{where}.time", owner.time, ("int64",), (rows,))
    for name, label in owner.labels.items():
        _check_label(f"{where}.labels.{name}", label, rows)
    for name, split in owner.splits.items():
        _check_array(f"{where}.splits.{name}", split, ("uint8",), (rows,))


def _check_label(where: str, label: LabelInfo, rows: int) -> None:
    columns = (label.num_classes,) if label.kind == "multilabel" else ()
    _check_array(f"{where}.array", label.array, (LABEL_DTYPES[label.kind],), (rows, *columns))
    if label.kind == "regression" and label.num_classes != 1:
        raise DataError(f"{where}.num_classes: {label.num_classes}; a regression has 1")
    missing = "nan" if label.kind == "regression" else -1
    if label.missing != missing:
        raise DataError(f"{where}.missing: {label.missing!r}; a {label.kind} label has {missing!r}")
    if label.classes is not None:
        _check_classes(f"{where}.classes", label, label.classes)


def _check_classes(where: str, label: LabelInfo, classes: tuple[str, ...]) -> None:
    if label.kind == "regression":
        raise DataError(f"{where}: a regression has none")
    if len(classes) != label.num_classes:
        raise DataError(f"{where}: {len(classes)} names; num_classes is {label.num_classes}")
    twice = repeated(classes)
    if twice is not None:
        raise DataError(f"{where}: {twice!r} stands twice")


def _check_array(
    where: str, array: ArrayInfo, dtypes: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    if array.dtype not in dtypes:
        raise DataError(f"{where}.dtype: {array.dtype}; allowed: {', '.join(dtypes)}")
    if array.shape != shape:
        raise DataError(f"{where}.shape: {list(array.shape)}; the counts say {list(shape)}")
