"""Embeddings whose linear map waits are what they are with the map applied at once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mtl.models.embeddings import Embeddings, linear_sum
from mtl.models.neighborhood import Edges

EXACT = {"atol": 1e-12, "rtol": 0}
FEATURES, DIM, OUTPUTS = 3, 4, 5
TASKS = st.sampled_from([(), (1,), (2,)])
SEEDS = st.integers(0, 99)


def pair(tasks: tuple[int, ...], seed: int, num_nodes: int = 7) -> tuple[Embeddings, Embeddings]:
    """Return the same embeddings, waiting and at once."""
    draw = torch.Generator().manual_seed(seed)
    waiting = Embeddings(
        torch.randn(num_nodes, FEATURES, generator=draw).double(),
        torch.randn(*tasks, DIM, FEATURES, generator=draw).double(),
        torch.randn(*tasks, DIM, generator=draw).double(),
    )
    return waiting, Embeddings(waiting.dense())


def some_edges() -> Edges:
    """Five destinations, one of them without an edge."""
    return Edges(torch.tensor([0, 2, 2, 5, 6, 8]), torch.tensor([6, 1, 0, 0, 3, 2, 5, 4]), None, 5)


def assert_same(one: Embeddings, other: Embeddings) -> None:
    torch.testing.assert_close(one.dense(), other.dense(), **EXACT)


@given(TASKS, SEEDS)
def test_a_waiting_map_is_a_linear_layer_of_the_features(tasks, seed):
    waiting, _ = pair(tasks, seed)
    expected = torch.einsum("...df,nf->n...d", waiting.weight, waiting.x) + waiting.bias
    torch.testing.assert_close(waiting.dense(), expected, **EXACT)


@given(TASKS, SEEDS)
def test_weighted_sums_change_places_with_the_map(tasks, seed):
    weight = torch.randn(8, generator=torch.Generator().manual_seed(seed)).double()
    sums = [embeddings.summed(weight, some_edges()) for embeddings in pair(tasks, seed)]
    assert_same(*sums)
    assert not sums[0].dense()[1].any()


@given(TASKS, SEEDS)
def test_means_over_several_edge_types_are_those_over_each(tasks, seed):
    none = Edges(torch.tensor([0]), torch.tensor([], dtype=torch.long), torch.tensor([]), 4)
    edges = [some_edges(), none, Edges(torch.tensor([0, 3]), torch.tensor([4, 4, 6]), None, 1)]
    for embeddings in pair(tasks, seed):
        for part, mean in zip(edges, embeddings.means(edges), strict=True):
            assert_same(mean, embeddings.summed(part.mean(torch.double), part))


@given(TASKS, SEEDS)
def test_sums_of_sums_factors_and_parts_change_places_with_the_map(tasks, seed):
    factor, edges = torch.randn(5, 1).double(), some_edges()
    assert_same(
        *(
            embeddings.first(5)
            .scaled(factor)
            .plus(embeddings.summed(edges.mean(torch.double), edges))
            for embeddings in pair(tasks, seed)
        )
    )


@given(TASKS, SEEDS, st.booleans())
def test_one_product_is_the_sum_of_linear_layers(tasks, seed, bias):
    waiting, at_once = pair(tasks, seed)
    edges, layers = some_edges(), [nn.Linear(DIM, OUTPUTS, bias).double() for _ in range(4)]
    mean = edges.mean(torch.double)
    parts = [
        waiting.first(5),
        waiting.summed(mean, edges),
        at_once.first(5),
        at_once.summed(mean, edges),
    ]
    expected = sum(layer(part.dense()) for layer, part in zip(layers, parts, strict=True))
    found = linear_sum(list(zip(parts, layers, strict=True)))
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("tasks", [(), (2,)])
def test_the_gradient_reaches_the_map_and_the_layer(tasks):
    waiting, _ = pair(tasks, 0)
    layer, edges = nn.Linear(DIM, OUTPUTS).double(), some_edges()

    def run(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        embeddings = Embeddings(waiting.x, weight, bias)
        return embeddings.summed(edges.mean(torch.double), edges).through(layer)

    inputs = waiting.weight.requires_grad_(), waiting.bias.requires_grad_()
    assert torch.autograd.gradcheck(run, inputs)


def test_no_node_gives_no_row():
    waiting, _ = pair((2,), 0, num_nodes=0)
    assert waiting.through(nn.Linear(DIM, OUTPUTS).double()).shape == (0, 2, OUTPUTS)
