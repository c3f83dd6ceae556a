"""What a graph folder must hold before anything is sampled from it: PyG segfaults otherwise.

Files are checked at every opening; what the arrays hold, and their SHA-256, once per machine.
"""

from pathlib import Path

from mtl.graphs._contents import Contents
from mtl.graphs._edge_checks import check_edges, check_pointer
from mtl.graphs._id_checks import check_ids
from mtl.graphs._report import Report, silent
from mtl.graphs._rules import SPLIT, TIME, WEIGHT, finite, label_rule
from mtl.graphs.files import check_files
from mtl.graphs.schema import GraphInfo, OwnerInfo


def validate(folder: Path, report: Report = silent) -> GraphInfo:
    """Check all of a graph folder: graph.json, the files, their SHA-256 and what they hold.

    Raises:
        DataError: names the file, the row, the value and what is allowed, and counts the rows.
    """
    info = check_files(folder)
    _check(Contents(folder, info, hashed=True, report=report), info)
    return info


def validate_written(folder: Path, report: Report = silent) -> GraphInfo:
    """Check all but the SHA-256, which were just taken while the files were written.

    Raises:
        DataError: as `validate`.
    """
    info = check_files(folder)
    _check(Contents(folder, info, hashed=False, report=report), info)
    return info


def _check(contents: Contents, info: GraphInfo) -> None:
    for node in info.nodes.values():
        _check_owner(contents, node)
        if node.ids:
            check_ids(contents, node.ids)
    for collection in info.collections.values():
        _check_owner(contents, collection)
        num_nodes = info.nodes[collection.node_type].num_nodes
        check_pointer(contents, collection.graph_ptr, num_nodes)
    check_edges(contents, info)
    for edge in info.edges:
        _check_owner(contents, edge)
        if edge.weight:
            contents.check(edge.weight, WEIGHT)


def _check_owner(contents: Contents, owner: OwnerInfo) -> None:
    if owner.features:
        contents.check(owner.features, finite(owner.features.dtype))
    if owner.time:
        contents.check(owner.time, TIME)
    for label in owner.labels.values():
        contents.check(label.array, label_rule(label.kind, label.num_classes))
    for split in owner.splits.values():
        contents.check(split, SPLIT)
