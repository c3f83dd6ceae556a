"""PyG's own sampler as a backend, and as what ours is compared with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric import typing as installed

from mtl.errors import ConfigError
from mtl.graphs.topology import Topology
from mtl.loaders.samplers.cuda import CudaSampler
from mtl.loaders.samplers.numba import NumbaSampler
from mtl.loaders.samplers.pyg import PyGSampler

NODE, EDGE = "node", ("node", "to", "node")
BUYS = ("user", "buys", "item")
any_library = pytest.mark.skipif(
    not (installed.WITH_PYG_LIB or installed.WITH_TORCH_SPARSE),
    reason="neither pyg-lib nor torch-sparse is installed",
)
pyg_lib = pytest.mark.skipif(not installed.WITH_PYG_LIB, reason="pyg-lib is not installed")
GRAPHS = st.integers(0, 999)
SEEDS = st.fixed_dictionaries(
    {
        name: st.lists(st.integers(0, size - 1), unique=True, min_size=1, max_size=4)
        for name, size in {"user": 20, "item": 14}.items()
    }
)


def arrays(seeds: Mapping[str, list[int]]) -> dict[str, np.ndarray]:
    return {name: np.array(its, np.int64) for name, its in seeds.items()}


def parts(part: Any) -> dict[Any, Any]:
    """Return a part of an output by type, whether there are several or not."""
    return part if isinstance(part, dict) else {None: part}


def assert_same_subgraph(one: Any, two: Any) -> None:
    """Compare as sets: nodes by hop, edges by hop, and every edge between the same nodes."""
    assert one.num_sampled_nodes == two.num_sampled_nodes
    assert one.num_sampled_edges == two.num_sampled_edges
    for name, nodes in parts(one.node).items():
        hops = parts(one.num_sampled_nodes)[name]
        theirs = parts(two.node)[name].split(hops)
        for ours, others in zip(nodes.split(hops), theirs, strict=True):
            assert set(ours.tolist()) == set(others.tolist())
    for kind, edges in parts(one.edge).items():
        hops = parts(one.num_sampled_edges)[kind]
        theirs = parts(two.edge)[kind].split(hops)
        for ours, others in zip(edges.split(hops), theirs, strict=True):
            assert sorted(ours.tolist()) == sorted(others.tolist())
        assert ends(one, kind) == ends(two, kind)


def ends(output: Any, kind: Any) -> set[tuple[int, int, int]]:
    """Return edge, source and destination in the whole graph."""
    first, last = (None, None) if kind is None else (kind[0], kind[2])
    row, col = parts(output.row)[kind], parts(output.col)[kind]
    source, target = parts(output.node)[first][row], parts(output.node)[last][col]
    return set(zip(*(t.tolist() for t in (parts(output.edge)[kind], source, target)), strict=True))


@any_library
@given(GRAPHS, st.lists(st.integers(0, 29), unique=True, min_size=1, max_size=5))
def test_all_neighbours_are_pygs_in_a_graph_of_one_type(homogeneous, graph, seeds):
    topology, nodes = homogeneous(graph), arrays({NODE: seeds})
    ours, theirs = (
        kind(topology, [-1, -1]).sample(nodes, 0) for kind in (NumbaSampler, PyGSampler)
    )
    assert_same_subgraph(ours, theirs)
    assert torch.equal(ours.colptr.diff(), theirs.colptr.diff())


@any_library
@given(GRAPHS, SEEDS)
def test_all_neighbours_are_pygs_in_a_graph_of_several_types(heterogeneous, graph, seeds):
    topology = heterogeneous(graph)
    ours, theirs = (
        kind(topology, [-1, -1]).sample(arrays(seeds), 0) for kind in (NumbaSampler, PyGSampler)
    )
    assert_same_subgraph(ours, theirs)
    for kind in topology.edges:
        assert len(ours.colptr[kind]) == len(theirs.colptr[kind])


@any_library
@given(GRAPHS, SEEDS, st.booleans())
def test_as_many_neighbours_are_drawn_as_pyg_draws(heterogeneous, graph, seeds, replace):
    topology = heterogeneous(graph)
    for fanout in ([2, 3], {kind: [1 + i % 2, 2] for i, kind in enumerate(topology.edges)}):
        ours, theirs = (
            kind(topology, fanout, replace=replace).sample(arrays(seeds), 1)
            for kind in (NumbaSampler, PyGSampler)
        )
        for kind in topology.edges:
            first = [output.num_sampled_edges[kind][0] for output in (ours, theirs)]
            assert first[0] == first[1]
            counts = theirs.colptr[kind].diff()
            expanded = sum(theirs.num_sampled_nodes[kind[2]][:-1])
            assert torch.equal(counts, torch.bincount(theirs.col[kind], minlength=expanded))


@any_library
def test_pygs_draws_follow_from_the_key_and_leave_pytorchs_generator_alone(heterogeneous):
    topology, seeds = heterogeneous(3), arrays({"user": [1, 5, 9], "item": [2, 4]})
    sampler = PyGSampler(topology, [2, 2])
    state = torch.get_rng_state()
    draws = []
    for key in (7, 8, 7):
        draws.append({kind: e.tolist() for kind, e in sampler.sample(seeds, key).edge.items()})
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(key)
        state = torch.get_rng_state()
    assert draws[0] == draws[2] != draws[1]


@any_library
@pytest.mark.parametrize(
    ("seeds", "message"),
    [([3, 5, 3], "node 3 is there twice; take numba"), ([30], "there is no node 30")],
)
def test_seeds_that_pygs_libraries_crash_on_are_refused(homogeneous, seeds, message):
    with pytest.raises(ValueError, match=message):
        PyGSampler(homogeneous(0), [1]).sample(arrays({NODE: seeds}), 0)


@any_library
def test_pyg_cannot_exclude_edges(homogeneous):
    sampler = PyGSampler(homogeneous(0), [1])
    with pytest.raises(ConfigError, match="pyg cannot exclude edges; use numba"):
        sampler.sample(arrays({NODE: [1]}), 0, exclude={EDGE: np.array([3])})


@any_library
@pytest.mark.skipif(installed.WITH_PYG_LIB, reason="pyg-lib can do all of this")
@pytest.mark.parametrize("options", [{"disjoint": True}, {"weighted": True}, {"temporal": "last"}])
def test_what_torch_sparse_cannot_do_is_refused(homogeneous, options):
    with pytest.raises(ConfigError, match="need pyg-lib"):
        PyGSampler(homogeneous(0), [1], **options)


@pyg_lib
@given(GRAPHS, SEEDS, st.sampled_from(["uniform", "last", None]))
def test_trees_are_pyg_libs(heterogeneous, graph, seeds, temporal):
    topology = only_node_times(heterogeneous(graph))
    options = {"disjoint": True, "temporal": temporal}
    ours, theirs = (
        kind(topology, [-1, -1], **options).sample(arrays(seeds), 0)
        for kind in (NumbaSampler, PyGSampler)
    )
    assert ours.num_sampled_nodes == theirs.num_sampled_nodes
    for name in topology.num_nodes:
        assert trees(ours, name) == trees(theirs, name)
    for kind in topology.edges:
        assert sorted(ours.edge[kind].tolist()) == sorted(theirs.edge[kind].tolist())


def only_node_times(topology: Topology) -> Topology:
    edges = {
        kind: type(csc)(csc.colptr, csc.row, csc.weight) for kind, csc in topology.edges.items()
    }
    return Topology(topology.num_nodes, edges, topology.time)


def trees(output: Any, name: str) -> set[tuple[int, int]]:
    batch, node = (part[name].tolist() for part in (output.batch, output.node))
    return set(zip(batch, node, strict=True))


def test_without_a_library_the_error_says_what_to_install(homogeneous, monkeypatch):
    monkeypatch.setattr(installed, "WITH_PYG_LIB", False)
    monkeypatch.setattr(installed, "WITH_TORCH_SPARSE", False)
    with pytest.raises(ConfigError, match=r"^backend: pyg needs pyg-lib .* pip install"):
        PyGSampler(homogeneous(0), [1])


def test_several_threads_are_for_the_numba_sampler_alone():
    assert NumbaSampler.max_threads is None
    assert (CudaSampler.max_threads, PyGSampler.max_threads) == (1, 0)
