"""The sampler of tensor operations: all neighbours are numba's, draws are as likely as they say."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mtl.errors import ConfigError
from mtl.graphs.topology import Csc, Topology, bits_of
from mtl.loaders.samplers._numbers import Numbers
from mtl.loaders.samplers._random import GOLDEN, mix
from mtl.loaders.samplers._tensors import Placing, different
from mtl.loaders.samplers.cuda import CudaSampler
from mtl.loaders.samplers.numba import NumbaSampler

NODE, EDGE = "node", ("node", "to", "node")
NUMBERS = st.integers(0, 999)
SOME = st.lists(NUMBERS, max_size=30)
SEEDS = st.fixed_dictionaries(
    {
        name: st.lists(st.integers(0, size - 1), max_size=4)  # the same one twice, too
        for name, size in {"user": 20, "item": 14, "shop": 5}.items()
    }
)


def drawn_by(sampler_type, topology, num_neighbors, seeds, hidden, excluded, **options):
    """Draw with some edges of each type hidden, and others excluded."""
    with_edges = [(kind, len(csc.row)) for kind, csc in topology.edges.items() if len(csc.row)]
    bits = {kind: bits_of(n, np.array(hidden, np.int64) % n) for kind, n in with_edges}
    exclude = {kind: np.array(excluded, np.int64) % n for kind, n in with_edges}
    sampler = sampler_type(topology, num_neighbors, hidden=bits, **options)
    arrays = {name: np.array(its, np.int64) for name, its in seeds.items()}
    sampler.sample(arrays, 99)  # leaves nothing behind
    return sampler.sample(arrays, 5, exclude=exclude)


@settings(max_examples=30)
@given(NUMBERS, SEEDS, SOME, SOME)
def test_all_neighbours_but_hidden_and_excluded_ones_are_numbas(
    heterogeneous, graph, seeds, hidden, excluded
):
    topology = heterogeneous(graph)
    ours, numbas = (
        drawn_by(kind, topology, [-1, -1], seeds, hidden, excluded)
        for kind in (CudaSampler, NumbaSampler)
    )
    for part in ("node", "row", "col", "edge", "colptr"):
        one, two = getattr(ours, part), getattr(numbas, part)
        assert all(torch.equal(one[kind], two[kind]) for kind in two), part
    assert ours.num_sampled_nodes == numbas.num_sampled_nodes
    assert ours.num_sampled_edges == numbas.num_sampled_edges


@settings(max_examples=30)
@given(NUMBERS, SEEDS, SOME, SOME, st.booleans())
def test_as_many_are_drawn_as_numba_draws_and_none_that_is_not_there(
    heterogeneous, graph, seeds, hidden, excluded, replace
):
    topology = heterogeneous(graph)
    ours, numbas = (
        drawn_by(kind, topology, [2], seeds, hidden, excluded, replace=replace)
        for kind in (CudaSampler, NumbaSampler)
    )
    for kind, csc in topology.edges.items():
        edges, number = ours.edge[kind].tolist(), max(len(csc.row), 1)
        assert torch.equal(ours.colptr[kind], numbas.colptr[kind])
        assert not {e % number for e in [*hidden, *excluded]} & set(edges)
        found = ours.node[kind[2]][ours.col[kind]].numpy()
        assert csc.destination(np.array(edges, np.int64)).tolist() == found.tolist()
        expanded = np.repeat(np.arange(len(ours.colptr[kind]) - 1), ours.colptr[kind].diff())
        pairs = set(zip(expanded.tolist(), edges, strict=True))
        assert replace or len(pairs) == len(edges)


@given(st.data(), st.integers(1, 9))
def test_different_numbers_are_made_as_floyd_makes_them_one_after_the_other(data, k):
    sizes = data.draw(st.lists(st.integers(k, k + 4), max_size=3))
    tops = [[size - k + column for column in range(k)] for size in sizes]
    likely = st.sampled_from([0, -1])  # what is the top of the column before is often taken
    drawn = [[max(t + data.draw(likely | st.integers(-t, 0)), 0) for t in row] for row in tops]
    expected = []
    for row, top in zip(drawn, tops, strict=True):
        its = []
        for number, last in zip(row, top, strict=True):
            its.append(last if number in its else number)
        expected.append(its)
    found = different(*(torch.tensor(its, dtype=torch.long).view(-1, k) for its in (drawn, tops)))
    assert found.tolist() == expected


@given(st.integers(0, 2**64 - 1), st.integers(1, 40))
def test_random_numbers_are_those_of_numba(state, count):
    begin, bounds = np.array([state], np.uint64), torch.arange(1, count + 1)
    states = begin + GOLDEN * np.arange(1, count + 2, dtype=np.uint64)
    *expected, after = [int(mix(bits)) for bits in states]
    one, other = (Numbers(begin, torch.device("cpu")) for _ in range(2))
    assert [bits % 2**64 for bits in one.bits(count).tolist()] == expected
    units = torch.tensor([bits >> 11 for bits in expected]) * 2.0**-53
    assert torch.equal(other.below(bounds), (units * bounds).long())
    assert [numbers.bits(1).item() % 2**64 for numbers in (one, other)] == [after, after]


def test_a_call_that_fails_leaves_nothing_behind(monkeypatch):
    sampler, seeds = CudaSampler(star(5), [-1]), {NODE: np.zeros(1, np.int64)}
    whole = sampler.sample(seeds, 0)
    with monkeypatch.context() as patched:
        patched.setattr(Placing, "settle", fail)
        with pytest.raises(MemoryError):  # the last neighbour, marked as the first
            sampler.sample(seeds, 0, exclude={EDGE: np.arange(4)})
    again = sampler.sample(seeds, 0)
    assert again.node.tolist() == whole.node.tolist()
    assert again.row.tolist() == whole.row.tolist()


def fail(*_):
    raise MemoryError


def star(degree: int) -> Topology:
    """Make a graph whose node 0 has in-edges from others."""
    colptr = np.array([0] + [degree] * (degree + 1))
    csc = Csc(colptr, np.arange(1, degree + 1, dtype=np.int32))
    return Topology({NODE: degree + 1}, {EDGE: csc})


def draws(topology, k, times, exclude=None, **options):
    """Yield what many copies of node 0 draw."""
    sampler = CudaSampler(topology, [k], **options)
    output = sampler.sample({NODE: np.zeros(times, np.int64)}, 3, exclude=exclude)
    yield from output.edge.view(times, k).tolist()


def is_likely(drawn: Counter, expected: list) -> bool:
    """Say whether each may be as likely as the others; the key is fixed: never by chance."""
    assert set(drawn) <= set(expected)
    return chisquare([drawn[which] for which in expected]).pvalue > 0.01


def test_every_subset_is_equally_likely():
    drawn = Counter(frozenset(its) for its in draws(star(7), 3, 7000))
    assert is_likely(drawn, [frozenset(c) for c in combinations(range(7), 3)])


def test_every_sequence_is_equally_likely_with_replacement():
    drawn = Counter(tuple(its) for its in draws(star(4), 2, 8000, replace=True))
    assert is_likely(drawn, [(a, b) for a in range(4) for b in range(4)])


def test_what_is_hidden_or_excluded_leaves_its_place_to_others():
    hidden, exclude = {EDGE: bits_of(9, np.array([1, 8]))}, {EDGE: np.array([4, 1, 0])}
    drawn = Counter(e for its in draws(star(9), 3, 3000, exclude, hidden=hidden) for e in its)
    assert is_likely(drawn, [2, 3, 5, 6, 7])
    assert sum(drawn.values()) == 9000


@pytest.mark.parametrize("options", [{"disjoint": True}, {"weighted": True}, {"temporal": "last"}])
def test_what_it_does_not_know_is_refused(homogeneous, options):
    with pytest.raises(ConfigError, match=r"backend: cuda .* take numba"):
        CudaSampler(homogeneous(0), [1], **options)
