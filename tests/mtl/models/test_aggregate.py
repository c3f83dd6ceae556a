"""Sums over neighbours: right, differentiable, in a promised type."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.models.aggregate import weighted_sum


def csr(num_destinations: int, num_sources: int, seed: int, num_edges: int = 12):
    """Draw weight, colptr and row of a bipartite graph, some of its edges double."""
    random = torch.Generator().manual_seed(seed)
    row = torch.randint(num_sources, (num_edges,), generator=random)
    col = torch.randint(num_destinations, (num_edges,), generator=random).sort().values
    colptr = torch.searchsorted(col, torch.arange(num_destinations + 1))
    return torch.randn(num_edges, generator=random).double(), colptr, row


def dense(weight, colptr, row, num_sources: int) -> torch.Tensor:
    matrix = weight.new_zeros(len(colptr) - 1, num_sources)
    col = torch.repeat_interleave(colptr.diff())
    return matrix.index_put((col, row), weight, accumulate=True)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 99))
def test_it_is_the_dense_product(num_destinations, num_sources, seed):
    edges, x = csr(num_destinations, num_sources, seed), torch.randn(num_sources, 3).double()
    expected = dense(*edges, num_sources) @ x
    torch.testing.assert_close(weighted_sum(x, *edges), expected, atol=1e-12, rtol=0)


def test_tasks_side_by_side_are_each_alone():
    edges, x = csr(4, 7, 0), torch.randn(7, 2, 3).double()
    alone = [weighted_sum(x[:, task], *edges) for task in range(2)]
    torch.testing.assert_close(weighted_sum(x, *edges), torch.stack(alone, 1), atol=1e-12, rtol=0)


def test_the_gradient_is_right():
    edges, x = csr(4, 7, 1), torch.randn(7, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: weighted_sum(x, *edges), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bf16_autocast_rounds_the_sum_once_and_sums_in_float32(dtype):
    ones, colptr = torch.full((1000, 2), 1 / 1024).to(dtype), torch.tensor([0, 1000])
    x, edges = ones.requires_grad_(), (torch.ones(1000), colptr, torch.arange(1000))
    with torch.autocast("cpu", torch.bfloat16):
        out = weighted_sum(x, *edges)
    out.sum().backward()
    assert (out.dtype, x.grad.dtype) == (torch.bfloat16, dtype)
    assert out[0, 0] == torch.tensor(1000 / 1024).bfloat16()  # summed in bfloat16: 0.25


def test_without_autocast_the_sum_keeps_its_type():
    edges, x = csr(4, 7, 2), torch.randn(7, 3)
    assert weighted_sum(x, *edges).dtype == torch.float32
    assert weighted_sum(x.double(), *edges).dtype == torch.float64


def test_without_an_edge_sum_and_gradient_are_zero():
    x = torch.randn(5, 3, requires_grad=True)
    out = weighted_sum(x, torch.empty(0), torch.zeros(4, dtype=torch.long), torch.tensor([]).long())
    out.sum().backward()
    assert out.shape == (3, 3)
    assert not out.any()
    assert not x.grad.any()


def test_no_node_at_all_gives_no_row():
    empty = torch.empty(0, dtype=torch.long)
    assert weighted_sum(torch.empty(0, 3), torch.empty(0), torch.zeros(1).long(), empty).shape == (
        0,
        3,
    )
