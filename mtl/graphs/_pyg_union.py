"""Many graphs of PyG as one: a disjoint union, and what the graphs are labelled with."""

from collections.abc import Mapping

import numpy as np
from torch_geometric.data import HeteroData

from mtl.errors import DataError
from mtl.graphs._categories import one_hot
from mtl.graphs._pyg_graph import EDGE, GRAPH, NODE, Graphs
from mtl.graphs._pyg_reading import Many
from mtl.graphs._pyg_values import columns
from mtl.graphs.schema import Owner
from mtl.graphs.splits import TEST, TRAIN, VAL, random_split

PARTS = {"train": TRAIN, "val": VAL, "test": TEST}
OWNERS: dict[str, tuple[Owner, ...]] = {
    "x": (NODE,),
    "edge_attr": (EDGE,),
    "edge_weight": (EDGE,),
    "y": (GRAPH, NODE, EDGE),
}
"""What each key may have a row of each of; the first that fits all graphs is meant."""


def union(many: Many, seed: int) -> tuple[HeteroData, Graphs]:
    """Return the union of graphs, columns of whole numbers in x and edge_attr as categories.

    Nodes without x get the feature 1.

    Args:
        many: the graphs; their arrays are taken out.
        seed: of the split `random`.

    Raises:
        DataError: what a graph holds has too many or too few rows, a category is none, or an edge
            leaves its graph.
    """
    counts = _counts(many)
    number = {owner: np.repeat(np.arange(len(count)), count) for owner, count in counts.items()}
    data = HeteroData()
    data[NODE].num_nodes = len(number[NODE])
    data[EDGE].edge_index = _edges(many, counts[NODE], number[EDGE])
    labels = {}
    for key in [key for key in OWNERS if key in many.arrays]:
        owner, array = _owner(many, key, counts), many.arrays.pop(key)
        if key in ("x", "edge_attr") and _is_whole(array):
            array = _categories(many, key, array, number[owner])
        if owner == GRAPH:
            labels[key] = array
        else:
            data[owner][key] = array
    if "x" not in data[NODE]:  # a vector learned for each node would say nothing of other graphs
        data[NODE].x = np.ones((data[NODE].num_nodes, 1), np.float32)
    pointer = np.append(0, np.cumsum(counts[NODE]))
    return data, Graphs(pointer, labels, many.others, _splits(many, counts, seed))


def _counts(many: Many) -> dict[Owner, np.ndarray]:
    """Count what each graph has: one graph, nodes, edges."""
    nodes = np.array(many.num_nodes, np.int64)
    edges = np.array(many.num_rows.get("edge_index", np.zeros_like(nodes)), np.int64)
    return {GRAPH: np.ones_like(nodes), NODE: nodes, EDGE: edges}


def _owner(many: Many, key: str, counts: Mapping[Owner, np.ndarray]) -> Owner:
    """Say what a key has a row of each of, in all graphs."""
    owners, rows = OWNERS[key], np.array(many.num_rows[key])
    fits = np.logical_and.accumulate([rows == counts[owner] for owner in owners], 1)
    if fits[:, -1].any():
        return owners[int(np.argmax(fits[:, -1]))]
    wrong = int(np.argmin(fits.any(0)))
    before = fits[:, wrong - 1] if wrong else np.ones(len(owners), bool)
    allowed = [
        f"{counts[owner][wrong]}, one for each {'edge' if owner == EDGE else owner}"
        for owner, fit in zip(owners, before, strict=True)
        if fit
    ]
    before_it = ", as in the graphs before it" * (len(allowed) < len(owners))
    raise many.error(wrong, f"{key} has {rows[wrong]} rows", " or ".join(allowed) + before_it)


def _edges(many: Many, num_nodes: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return the edges, their ends counted over all graphs."""
    edges = np.asarray(many.arrays.pop("edge_index", np.zeros((2, 0))), np.int64)
    wrong = ((edges < 0) | (edges >= num_nodes[number])).any(0)
    if wrong.any():
        column = int(np.argmax(wrong))
        graph = int(number[column])
        found = f"column {_within(number, column)}: {edges[:, column].tolist()}"
        top, total = num_nodes[graph] - 1, np.count_nonzero(wrong)
        allowed = f"0 to {top}, its nodes" if top >= 0 else "no edges, as it has no nodes"
        raise many.error(graph, f"edge_index, {found}", f"{allowed} ({total} such edges in all)")
    return np.asarray(edges + (np.cumsum(num_nodes) - num_nodes)[number])


def _is_whole(array: np.ndarray) -> bool:
    """Say whether columns hold whole numbers; uint16 is bfloat16, as in the graph folder."""
    return array.dtype.kind in "iu" and array.dtype != np.uint16 and array.ndim <= 2


def _categories(many: Many, key: str, array: np.ndarray, number: np.ndarray) -> np.ndarray:
    def error(row: int, column: int, total: int, allowed: str) -> DataError:
        found = f"{key}, row {_within(number, row)}, column {column}: {rows[row, column]}"
        return many.error(int(number[row]), found, f"{allowed} ({total} such in all)")

    rows = columns(array)
    return one_hot(rows, error)


def _splits(
    many: Many, counts: Mapping[Owner, np.ndarray], seed: int
) -> dict[Owner, dict[str, np.ndarray]]:
    """Return the parts as `split`, where there are several, and `random`."""
    splits, total = {}, len(many.num_nodes)
    if len(many.starts) > 1:
        lengths = np.diff([*many.starts.values(), total])
        values = np.array([PARTS[part] for part in many.starts], np.uint8)
        splits["split"] = np.repeat(values, lengths)
    rng = np.random.default_rng([seed, *GRAPH.encode()])
    splits["random"] = random_split(total, 0.6, rng)
    return {
        owner: {name: np.repeat(split, count) for name, split in splits.items()}
        for owner, count in counts.items()
    }


def _within(number: np.ndarray, row: int) -> int:
    """Return which row of its graph a row of all graphs is."""
    return row - int(np.searchsorted(number, number[row]))
