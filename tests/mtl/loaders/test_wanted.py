"""Nodes that several tasks ask for, and what a microbatch shows of degrees."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.graphs.topology import Csc, bits_of
from mtl.loaders.degrees import VisibleDegrees
from mtl.loaders.wanted import Wanted

PARTS = st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=4)


@given(PARTS)
def test_everybody_finds_the_nodes_that_he_asked_for(parts):
    wanted = Wanted()
    asked = [wanted.add("a", np.array(part, np.int64)) for part in parts]
    nodes = wanted.nodes().get("a", np.empty(0, np.int64))
    for part, its in zip(parts, asked, strict=True):
        assert nodes[wanted.rows(its)].tolist() == part
    assert nodes.tolist() == list(dict.fromkeys(node for part in parts for node in part))
    assert wanted.times() is None


@given(st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), max_size=8), max_size=4))
def test_a_node_as_of_two_times_stands_there_twice(parts):
    wanted, asked = Wanted(), []
    for part in parts:
        pairs = np.array(part, np.int64).reshape(-1, 2)
        asked.append(wanted.add("a", pairs[:, 0], pairs[:, 1]))
    nodes = wanted.nodes().get("a", np.empty(0, np.int64))
    times = (wanted.times() or {}).get("a", np.empty(0, np.int64))
    there = list(zip(nodes.tolist(), times.tolist(), strict=True))
    for part, its in zip(parts, asked, strict=True):
        assert [there[row] for row in wanted.rows(its)] == part
    assert there == list(dict.fromkeys(pair for part in parts for pair in part))


@given(st.data())
def test_degrees_do_not_count_what_is_hidden(data):
    degrees = np.array(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=6)))
    colptr = np.append(0, np.cumsum(degrees))
    some = st.lists(st.integers(0, max(colptr[-1] - 1, 0)), max_size=6 if colptr[-1] else 0)
    never, now = (np.array(data.draw(some), np.int64) for _ in range(2))
    csc = Csc(colptr, np.zeros(colptr[-1], np.int32))
    bits = bits_of(colptr[-1], never) if data.draw(st.booleans()) else None
    gone = set(now.tolist()) | (set() if bits is None else set(never.tolist()))
    left = [sum(e not in gone for e in range(a, b)) for a, b in pairwise(colptr)]
    nodes = torch.arange(len(degrees)).flip(0)
    count = torch.from_numpy(np.diff(colptr))
    degrees_of = VisibleDegrees(csc, bits, count.__getitem__, torch.device("cpu")).of
    assert degrees_of(nodes, now).tolist() == left[::-1]
