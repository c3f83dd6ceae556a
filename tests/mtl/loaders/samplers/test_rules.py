"""What is drawn under each rule: among which edges, how many, and how likely each is."""

from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from mtl.errors import ConfigError
from mtl.graphs.topology import Csc, Topology
from mtl.loaders.samplers.numba import NumbaSampler

NODE, EDGE = "node", ("node", "to", "node")
BUYS = ("user", "buys", "item")
RULES = st.fixed_dictionaries(
    {
        "replace": st.booleans(),
        "disjoint": st.booleans(),
        "weighted": st.booleans(),
        "temporal": st.sampled_from([None, "uniform", "last"]),
    }
).filter(lambda r: r["temporal"] != "last" or not (r["replace"] or r["weighted"]))
SEEDS = st.fixed_dictionaries(
    {
        name: st.lists(st.integers(0, size - 1), unique=True, max_size=3)
        for name, size in {"user": 20, "item": 14, "shop": 5}.items()
    }
)
FANOUTS = st.lists(st.sampled_from([-1, 0, 1, 2, 5]), min_size=2, max_size=2)
NUMBERS = st.integers(0, 999)
EXCLUDED = st.just([]) | st.lists(NUMBERS, min_size=1, max_size=30)


def draw_under(topology, rule, seeds, fanout, key, excluded=(), **options):
    """Draw a subgraph whose seeds have times, where they need them."""
    arrays = {name: np.array(its, np.int64) for name, its in seeds.items()}
    times = {name: 3 + its % 5 for name, its in arrays.items()}
    exclude = {kind: np.array(excluded) % len(csc.row) for kind, csc in edges_of(topology)}
    return NumbaSampler(topology, fanout, **rule, **options).sample(
        arrays, key, exclude=exclude, time=times if rule["temporal"] else None
    ), np.concatenate([times[name] for name in topology.num_nodes if name in times])


def edges_of(topology):
    return [(kind, csc) for kind, csc in topology.edges.items() if len(csc.row)]


@given(NUMBERS, RULES, SEEDS, FANOUTS, EXCLUDED)
def test_a_node_draws_from_the_edges_that_may_be_and_as_many_as_it_should(
    heterogeneous, graph, rule, seeds, fanout, excluded
):
    topology = heterogeneous(graph)
    output, limits = draw_under(topology, rule, seeds, fanout, graph, excluded)
    for kind, csc in edges_of(topology):
        out = {e % len(csc.row) for e in excluded}
        node_time = topology.time.get(kind[0])
        hop = np.repeat([0, 1, 2], output.num_sampled_nodes[kind[2]])
        for i, (first, last) in enumerate(
            zip(output.colptr[kind], output.colptr[kind][1:], strict=False)
        ):
            v, k = output.node[kind[2]][i], fanout[hop[i]]
            may = [e for e in range(csc.colptr[v], csc.colptr[v + 1]) if e not in out]
            if rule["weighted"]:
                may = [e for e in may if csc.weight[e] > 0]
            if rule["temporal"]:
                limit = limits[output.batch[kind[2]][i]]
                may = [e for e in may if csc.time[e] <= limit]
                may = [e for e in may if node_time is None or node_time[csc.row[e]] <= limit]
            drawn = output.edge[kind][first:last].tolist()
            if k < 0 or (len(may) <= k and not rule["replace"]):
                assert drawn == may
                continue
            assert len(drawn) == (k if may else 0)
            assert set(drawn) <= set(may)
            assert rule["replace"] or len(set(drawn)) == k
            if rule["temporal"] == "last":
                assert set(drawn) == set(
                    sorted(may, key=lambda e: (csc.time[e], e))[len(may) - k :]
                )


@given(NUMBERS, RULES, SEEDS, FANOUTS, EXCLUDED)
def test_a_hash_table_finds_what_the_array_of_all_nodes_finds(
    heterogeneous, graph, rule, seeds, fanout, excluded
):
    topology = heterogeneous(graph)
    dense, small, mixed = (
        draw_under(topology, rule, seeds, fanout, 1, excluded, map_bytes=map_bytes)[0]
        for map_bytes in (1 << 20, 0, 4 * 15)
    )
    for part in ("node", "row", "col", "edge", "colptr", "batch"):
        for other in (small, mixed):
            one, two = getattr(dense, part), getattr(other, part)
            assert (one is two is None) or all(torch.equal(one[kind], two[kind]) for kind in one)
    assert dense.num_sampled_nodes == small.num_sampled_nodes == mixed.num_sampled_nodes


@given(NUMBERS, RULES, SEEDS, FANOUTS)
def test_trees_of_seeds_are_disjoint(heterogeneous, graph, rule, seeds, fanout):
    rule = rule | {"disjoint": True}
    topology = heterogeneous(graph)
    output, limits = draw_under(topology, rule, seeds, fanout, graph)
    for name, nodes in output.node.items():
        pairs = list(zip(output.batch[name].tolist(), nodes.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
    for kind in topology.edges:
        source = output.batch[kind[0]][output.row[kind]]
        assert torch.equal(source, output.batch[kind[2]][output.col[kind]])
    numbers = [output.batch[name][: len(seeds.get(name, ()))] for name in topology.num_nodes]
    assert torch.cat(numbers).tolist() == list(range(len(limits)))


def test_disjoint_trees_are_those_of_each_seed_alone(homogeneous):
    topology, seeds = homogeneous(3), np.array([4, 9, 4])
    sampler = NumbaSampler(topology, [-1, -1], disjoint=True)
    together = sampler.sample({NODE: seeds}, 0)
    for tree, seed in enumerate(seeds):
        alone = sampler.sample({NODE: np.array([seed])}, 0)
        assert torch.equal(together.node[together.batch == tree], alone.node)
        edges = together.edge[together.batch[together.col] == tree]
        assert torch.equal(edges, alone.edge)


def test_a_hash_table_grows_with_the_subgraph(homogeneous):
    topology, seeds = homogeneous(5, 20_000, 90_000), {NODE: np.arange(0, 20_000, 100)}
    one, two = (NumbaSampler(topology, [-1, 3, -1], map_bytes=n) for n in (1 << 20, 0))
    for key in range(3):
        dense, hashed = one.sample(seeds, key), two.sample(seeds, key)
        assert torch.equal(dense.node, hashed.node)
        assert torch.equal(dense.row, hashed.row)


@given(NUMBERS, st.integers(33, 90))
def test_many_neighbours_of_many_are_drawn_without_repeating_any(homogeneous, graph, k):
    topology = homogeneous(graph, 5, 600)
    output = NumbaSampler(topology, [k]).sample({NODE: np.arange(5)}, graph)
    assert len(output.edge.unique()) == len(output.edge)
    degree = np.diff(topology.edges[EDGE].colptr)
    assert output.colptr.diff().tolist() == np.minimum(degree, k).tolist()


@given(NUMBERS, st.integers(1, 400))
def test_no_excluded_edge_of_a_larger_graph_is_there_and_every_other_is(homogeneous, key, count):
    topology, rng = homogeneous(5, 2000, 20_000), np.random.default_rng(key)
    seeds = {NODE: rng.choice(2000, 200, replace=False)}
    sampler = NumbaSampler(topology, [-1])
    everything = sampler.sample(seeds, 0).edge.numpy()
    out = rng.choice(everything, min(count, len(everything)), replace=False)
    left = sampler.sample(seeds, 0, exclude={EDGE: out}).edge.numpy()
    assert left.tolist() == everything[~np.isin(everything, out)].tolist()


def star(degree: int, weight: list[float] | None = None) -> Topology:
    """Make a graph whose node 0 has in-edges from others."""
    colptr = np.array([0, degree] + [degree] * degree)
    csc = Csc(
        colptr,
        np.arange(1, degree + 1, dtype=np.int32),
        None if weight is None else np.array(weight, np.float32),
    )
    return Topology({NODE: degree + 1}, {EDGE: csc})


def draws(topology, k, times, **options):
    """Yield what node 0 draws under one key after the other."""
    sampler, seeds = NumbaSampler(topology, [k], **options), {NODE: np.array([0])}
    for key in range(times):
        yield sampler.sample(seeds, key).edge.tolist()


def is_likely(drawn: Counter, expected: dict) -> bool:
    """Say whether counts may come from these probabilities; the keys are fixed: never by chance."""
    total = sum(drawn.values())
    assert set(drawn) <= set(expected)
    counts = [drawn[which] for which in expected]
    return chisquare(counts, [total * p for p in expected.values()]).pvalue > 0.01


def test_every_subset_of_neighbours_is_equally_likely():
    drawn = Counter(frozenset(its) for its in draws(star(7), 3, 7000))
    assert is_likely(drawn, {frozenset(c): 1 / 35 for c in combinations(range(7), 3)})


def test_every_neighbour_is_equally_likely_where_many_are_drawn_of_many():
    drawn = Counter(e for its in draws(star(60), 40, 1500) for e in its)
    assert is_likely(drawn, dict.fromkeys(range(60), 1 / 60))


def test_every_sequence_is_equally_likely_with_replacement():
    drawn = Counter(tuple(its) for its in draws(star(4), 2, 8000, replace=True))
    assert is_likely(drawn, {(a, b): 1 / 16 for a in range(4) for b in range(4)})


def test_weighted_draws_without_replacement_are_like_drawing_one_after_the_other():
    weight = [0.5, 1, 0, 2.5, 4]
    expected = Counter()
    for first, second in permutations([0, 1, 3, 4], 2):
        p = weight[first] / 8 * weight[second] / (8 - weight[first])
        expected[frozenset((first, second))] += p
    drawn = Counter(frozenset(its) for its in draws(star(5, weight), 2, 8000, weighted=True))
    assert is_likely(drawn, expected)


def test_weighted_draws_with_replacement_are_in_proportion():
    weight = [0.5, 0, 1, 2.5, 0]
    options = {"weighted": True, "replace": True}
    drawn = Counter(tuple(its) for its in draws(star(5, weight), 2, 8000, **options))
    assert is_likely(
        drawn, {(a, b): weight[a] * weight[b] / 16 for a in (0, 2, 3) for b in (0, 2, 3)}
    )


def test_what_is_excluded_leaves_its_place_to_others():
    sampler, seeds = NumbaSampler(star(9), [3]), {NODE: np.array([0])}
    exclude = {EDGE: np.array([8, 1, 4, 1])}
    drawn = Counter(
        e for key in range(3000) for e in sampler.sample(seeds, key, exclude=exclude).edge.tolist()
    )
    assert is_likely(drawn, dict.fromkeys([0, 2, 3, 5, 6, 7], 1 / 6))
    assert sum(drawn.values()) == 9000


def test_seeds_without_a_time_of_their_own_have_that_of_their_node(homogeneous):
    topology, seeds = homogeneous(1), np.array([2, 7])
    sampler = NumbaSampler(topology, [3, 3], temporal="uniform")
    default = sampler.sample({NODE: seeds}, 0)
    given_times = sampler.sample({NODE: seeds}, 0, time={NODE: topology.time[NODE][seeds]})
    assert torch.equal(default.edge, given_times.edge)


def test_times_that_large_are_told_apart():
    time = 2**62 + np.arange(4)
    csc = Csc(np.array([0, 4, 4, 4, 4, 4]), np.arange(1, 5), time=time[::-1].copy())
    topology = Topology({NODE: 5}, {EDGE: csc})
    sampler = NumbaSampler(topology, [2], temporal="last")
    output = sampler.sample({NODE: np.array([0])}, 0, time={NODE: time[2:3]})
    assert sorted(output.edge.tolist()) == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal": "latest"}, "temporal: must be uniform or last, found 'latest'; did you mean"),
        ({"temporal": "last"}, "temporal: neither nodes nor edges of the graph have a time"),
        ({"weighted": True}, "weighted: no edge of the graph has a weight"),
    ],
)
def test_a_rule_that_the_graph_cannot_follow_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        NumbaSampler(star(3), [1], **options)


@pytest.mark.parametrize("other", ["replace", "weighted"])
def test_the_latest_neighbours_are_not_drawn_at_all(homogeneous, other):
    with pytest.raises(ConfigError, match="last takes the latest neighbours and draws none"):
        NumbaSampler(homogeneous(0), [1], temporal="last", **{other: True})


@pytest.mark.parametrize(
    ("options", "seeds", "time", "message"),
    [
        ({}, [1], {NODE: [1]}, "time: given, but the sampler is not temporal"),
        ({"temporal": "uniform"}, [1, 2], {NODE: [1]}, "time: 1 for 2 seeds of node"),
        ({"temporal": "uniform"}, [1], {"nod": [1]}, "time: the graph has no type nod; did you"),
    ],
)
def test_times_of_seeds_that_do_not_fit_are_refused(homogeneous, options, seeds, time, message):
    sampler = NumbaSampler(homogeneous(0), [1], **options)
    times = {name: np.array(its) for name, its in time.items()}
    with pytest.raises(ValueError, match=message):
        sampler.sample({NODE: np.array(seeds)}, 0, time=times)


def test_a_seed_whose_type_has_no_time_needs_one(heterogeneous):
    sampler = NumbaSampler(heterogeneous(0), [1], temporal="uniform")
    with pytest.raises(ValueError, match="time: missing for the seeds of shop"):
        sampler.sample({"shop": np.array([1])}, 0)
