"""Each process gets cores of one memory node: its GPU's, or else nodes in turn."""

import os
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from job import numa
from job.hardware import Threads
from job.numa import Place, choose, read_homes, read_nodes, settle

TWO = {0: frozenset(range(8)), 1: frozenset(range(8, 16))}


def node(*cores: int) -> frozenset[int]:
    return frozenset(cores)


def test_the_node_of_the_gpu_is_taken():
    homes = [1, 1, 0, 1]
    assert [choose(rank, TWO, homes).node for rank in range(4)] == homes
    assert choose(0, TWO, homes) == Place(TWO[1], 3, 1)
    assert choose(2, TWO, homes) == Place(TWO[0], 1, 0)


@pytest.mark.parametrize("homes", [[None] * 4, [0, 0, None, 1], [0, 0, 0, 7]])
def test_where_a_gpu_does_not_say_nodes_are_taken_in_turn(homes):
    assert [choose(rank, TWO, homes).node for rank in range(4)] == [0, 0, 1, 1]


def test_nodes_are_taken_by_the_cores_that_are_allowed_there():
    few = {0: node(*range(12)), 1: node(12, 13, 14, 15)}
    assert [choose(rank, few, [None] * 4).node for rank in range(4)] == [0, 0, 0, 1]


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_fewer_processes_than_nodes_take_all_cores(num_processes):
    four = {i: node(2 * i, 2 * i + 1) for i in range(4)}
    assert choose(0, four, [None] * num_processes) == Place(node(*range(8)), num_processes)


@given(st.integers(1, 16))
def test_nothing_changes_on_a_machine_with_one_node(num_processes):
    assert choose(0, {0: TWO[0]}, [0] * num_processes) == Place(TWO[0], num_processes)


TOPOLOGIES = st.dictionaries(st.integers(0, 7), st.integers(1, 9), min_size=1).map(
    lambda sizes: {n: frozenset((n, core) for core in range(size)) for n, size in sizes.items()}
)


@given(TOPOLOGIES, st.lists(st.none() | st.integers(0, 7), min_size=1, max_size=16))
def test_all_cores_of_a_process_are_allowed_and_of_one_node(nodes, homes):
    everything = frozenset().union(*nodes.values())
    places = [choose(rank, nodes, homes) for rank in range(len(homes))]
    for place in places:
        assert place.cores <= everything
        assert place.cores == (everything if place.node is None else nodes[place.node])
        assert place.num_processes == sum(place.cores == other.cores for other in places)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9))
def test_equal_nodes_get_equally_many_processes(num_nodes, per_node, cores):
    nodes = {n: frozenset((n, core) for core in range(cores)) for n in range(num_nodes)}
    homes = [None] * (num_nodes * per_node)
    places = [choose(rank, nodes, homes) for rank in range(len(homes))]
    assert {place.num_processes for place in places} == {per_node}


PAIRED = {"node0": "0-1,4-5", "node1": "2-3,6-7"}


def describe(root, **cpulists):
    """Write the topology of a machine as Linux shows it."""
    for name, cpulist in cpulists.items():
        folder = root / "sys/devices/system/node" / name
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cpulist}\n")


@pytest.mark.parametrize(
    ("cpulists", "allowed", "nodes"),
    [
        ({}, {0, 1}, {0: node(0, 1)}),
        ({"node0": "0-1"}, {0, 1}, {0: node(0, 1)}),
        (PAIRED, range(8), {0: node(0, 1, 4, 5), 1: node(2, 3, 6, 7)}),
        (PAIRED, {1, 5}, {0: node(1, 5)}),
        ({"node0": "0-3", "node1": "4-7", "node2": ""}, {3, 4}, {0: node(3), 1: node(4)}),
        ({"node0": "0-1"}, {0, 1, 2}, {0: node(0, 1, 2)}),
    ],
)
def test_nodes_are_read_within_what_is_allowed(cpulists, allowed, nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(allowed))
    describe(tmp_path, **cpulists)
    assert read_nodes(tmp_path) == nodes


@pytest.mark.parametrize(("text", "home"), [("1\n", 1), ("-1\n", None), (None, None)])
def test_the_node_of_a_gpu_is_read_where_the_machine_says_it(text, home, tmp_path, monkeypatch):
    gpu = SimpleNamespace(pci_domain_id=0, pci_bus_id=0x9D, pci_device_id=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    folder = tmp_path / "sys/bus/pci/devices/0000:9d:00.0"
    folder.mkdir(parents=True)
    if text:
        (folder / "numa_node").write_text(text)
    assert read_homes(2, on_gpu=True, root=tmp_path) == [home, home]
    assert read_homes(2, on_gpu=False, root=tmp_path) == [None, None]


@pytest.mark.parametrize(
    ("quota", "threads", "words"),
    [
        (16, Threads(3, 1), "2 processes x (3 torch + 1 loader threads) on 8 cores of NUMA node 1"),
        (4, Threads(1, 1), "2 processes x (1 torch + 1 loader threads) on 2 cores of NUMA node 1"),
    ],
)
def test_a_process_settles_on_its_node_with_its_share_of_the_quota(
    quota, threads, words, monkeypatch
):
    kept = []
    monkeypatch.setattr(numa, "read_nodes", lambda: TWO)
    monkeypatch.setattr(numa, "count_cores", lambda: quota)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: kept.append(cores))
    assert settle(3, 4, "auto", on_gpu=False) == (threads, words)
    assert kept == [TWO[1]]


def test_a_process_on_one_node_keeps_what_it_has(monkeypatch):
    monkeypatch.setattr(numa, "read_nodes", lambda: {0: TWO[0]})
    monkeypatch.setattr(numa, "count_cores", lambda: 8)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: pytest.fail("it was moved"))
    words = "2 processes x (3 torch + 1 loader threads) on 8 cores"
    assert settle(0, 2, "auto", on_gpu=False) == (Threads(3, 1), words)
