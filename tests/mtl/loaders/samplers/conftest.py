"""Small random graphs of one and of several types, and a plain search to compare with."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Csc, Topology

NODE, EDGE = "node", ("node", "to", "node")
NUM_NODES = {"user": 20, "item": 14, "shop": 5, "tag": 0}
EDGE_TYPES = [
    ("user", "follows", "user"),
    ("item", "bought_by", "user"),
    ("user", "buys", "item"),
    ("shop", "sells", "item"),
    ("item", "like", "item"),
    ("tag", "of", "item"),
]
Draw = Callable[..., Topology]
Search = Callable[..., tuple[dict[str, list[int]], dict[EdgeType, list[int]]]]


def random_csc(rng: np.random.Generator, sources: int, targets: int, edges: int) -> Csc:
    """Draw edges with loops, double ones, hubs and nodes without neighbours; some of weight 0."""
    edges = edges if sources else 0
    col = rng.integers(targets, size=edges) ** 2 // targets
    row = rng.integers(max(sources, 1), size=edges)
    order = np.lexsort([row, col])
    return Csc(
        np.searchsorted(col[order], np.arange(targets + 1)),
        row[order].astype(np.int32),
        (rng.integers(4, size=edges) * rng.random(edges)).astype(np.float32),
        rng.integers(10, size=edges),
    )


@pytest.fixture(scope="session")
def homogeneous() -> Draw:
    """Draw a graph of one type, which is the same for the same seed."""

    def draw(seed: int, num_nodes: int = 30, num_edges: int = 120) -> Topology:
        rng = np.random.default_rng(seed)
        csc = random_csc(rng, num_nodes, num_nodes, num_edges)
        return Topology({NODE: num_nodes}, {EDGE: csc}, {NODE: rng.integers(10, size=num_nodes)})

    return draw


@pytest.fixture(scope="session")
def heterogeneous() -> Draw:
    """Draw a graph of several types, which is the same for the same seed."""

    def draw(seed: int) -> Topology:
        rng = np.random.default_rng(seed)
        edges = {
            kind: random_csc(rng, NUM_NODES[kind[0]], NUM_NODES[kind[2]], 5 * NUM_NODES[kind[2]])
            for kind in EDGE_TYPES
        }
        times = {name: rng.integers(10, size=NUM_NODES[name]) for name in ("user", "item")}
        return Topology(NUM_NODES, edges, times)

    return draw


@pytest.fixture(scope="session")
def search() -> Search:
    """Find all neighbours in the plainest way: nodes and edges in the order of a sampler."""

    def find(topology: Topology, seeds: Mapping[str, np.ndarray], num_hops: int):
        nodes = {name: list(seeds.get(name, [])) for name in topology.num_nodes}
        edges = {kind: [] for kind in topology.edges}
        frontier = {name: list(its) for name, its in nodes.items()}
        for _ in range(num_hops):
            before = {name: len(its) for name, its in nodes.items()}
            for kind, csc in topology.edges.items():
                ranges = [range(csc.colptr[v], csc.colptr[v + 1]) for v in frontier[kind[2]]]
                found = [e for its in ranges for e in its]
                edges[kind] += found
                for node in csc.row[found].tolist():
                    if node not in nodes[kind[0]]:
                        nodes[kind[0]].append(node)
            frontier = {name: its[before[name] :] for name, its in nodes.items()}
        return nodes, edges

    return find
