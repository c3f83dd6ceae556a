"""What every encoder promises, and that the first of them are what PyG calls so."""

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv, GCNConv, SAGEConv

from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.neighborhood import Edges, Hop
from mtl.models.trunk import Trunk

DIM, NUM_EDGE_FEATURES = 8, 3
NODE, EDGE = "node", ("node", "to", "node")
EXACT = {"atol": 1e-12, "rtol": 0}
EVERY = pytest.mark.parametrize(
    ("kind", "width"),
    [
        (kind, width)
        for kind in Encoder.types()
        for width in (0, NUM_EDGE_FEATURES)
        if not width or Encoder.named(kind).reads_edge_features
    ],
)


def trunk_of(
    kind: str, width: int = 0, num_layers: int = 2, norm: str = "none", dropout: float = 0.0
) -> Trunk:
    torch.manual_seed(1)
    options = {"type": kind, "num_layers": num_layers, "dropout": dropout, "norm": norm}
    return Trunk(Encoder.read(options), DIM, [NODE], {EDGE: width}).double()


def run(trunk: Trunk, x: Tensor, batch: Data) -> Tensor:
    return trunk({NODE: Embeddings(x)}, batch)[NODE]


def untrimmed(trunk: Trunk, x: Tensor, hop: Hop) -> Tensor:
    """Run every layer over the same nodes and edges."""
    for layer, convolution in enumerate(trunk.convolutions):
        x = convolution({NODE: Embeddings(x.relu() if layer else x)}, hop)[NODE]
    return x


@EVERY
def test_seeds_come_out_in_the_shape_in_which_nodes_went_in(kind, width, neighborhood):
    batch, trunk = neighborhood([7, 3, 39], [4, 3]), trunk_of(kind, width)
    assert run(trunk, batch.x, batch).shape == (3, DIM)
    assert run(trunk, batch.x.unsqueeze(1).expand(-1, 5, -1), batch).shape == (3, 5, DIM)


@EVERY
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_the_gradient_reaches_every_parameter(kind, width, norm, neighborhood):
    batch, trunk = neighborhood(range(20), [4, 3]), trunk_of(kind, width, norm=norm)
    run(trunk, batch.x, batch).square().sum().backward()
    unreached = [n for n, p in trunk.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


@EVERY
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_tasks_side_by_side_are_each_task_alone(kind, width, norm, neighborhood):
    batch, trunk = neighborhood([7, 3, 39, 0], [4, 3]), trunk_of(kind, width, norm=norm)
    views = torch.randn(len(batch.x), 3, DIM).double()
    together = run(trunk, views, batch)
    for task in range(3):
        torch.testing.assert_close(together[:, task], run(trunk, views[:, task], batch), **EXACT)


@EVERY
@pytest.mark.parametrize("tasks", [(), (2,)])
def test_an_empty_batch_gives_no_row_and_gradients_of_exactly_zero(
    kind, width, tasks, neighborhood
):
    batch, trunk = neighborhood([], [4, 3]), trunk_of(kind, width)
    out = run(trunk, torch.empty(0, *tasks, DIM).double(), batch)
    assert out.shape == (0, *tasks, DIM)
    out.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in trunk.parameters())


@EVERY
@pytest.mark.parametrize("tasks", [(), (2,)])
def test_a_batch_without_edges_gives_numbers_and_gradients(kind, width, tasks, neighborhood):
    batch, trunk = neighborhood([36, 37, 38, 39], [4, 3]), trunk_of(kind, width)
    assert not batch.num_edges
    out = run(trunk, torch.randn(4, *tasks, DIM).double(), batch)
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trunk.parameters())


@EVERY
def test_trimming_does_not_change_the_seeds(kind, width, neighborhood):
    batch, trunk = neighborhood([7, 3, 39], [3, 3, 3]), trunk_of(kind, width, num_layers=3)
    count, (row, col) = batch.num_nodes, batch.edge_index
    colptr = torch.searchsorted(col.contiguous(), torch.arange(count + 1))
    edges = Edges(colptr, row, None, count, batch.edge_attr)
    expected = untrimmed(trunk, batch.x, Hop({NODE: count}, {EDGE: edges}, batch.in_degree))
    torch.testing.assert_close(run(trunk, batch.x, batch), expected[:3], **EXACT)


@EVERY
def test_all_neighbours_say_what_the_whole_graph_says(kind, width, graph, whole, neighborhood):
    trunk = trunk_of(kind, width)
    assert_same(trunk, untrimmed(trunk, graph.x, whole), neighborhood)


@EVERY
def test_dropout_acts_in_training_alone(kind, width, neighborhood):
    batch = neighborhood([7, 3, 39], [4, 3])
    trunk = trunk_of(kind, width, dropout=0.5)
    assert not torch.equal(run(trunk, batch.x, batch), run(trunk, batch.x, batch))
    trunk.eval()
    assert torch.equal(run(trunk, batch.x, batch), run(trunk, batch.x, batch))


@EVERY
@pytest.mark.parametrize("tasks", [(), (2,)])
def test_fewer_digits_say_the_same_less_precisely(kind, width, tasks, neighborhood):
    batch, trunk = neighborhood(range(20), [4, 3]), trunk_of(kind, width)
    x = torch.randn(len(batch.x), *tasks, DIM).double()
    exact = run(trunk, x, batch)
    trunk, x = trunk.float(), x.float()
    assert distance(run(trunk, x, batch), exact) < 1e-5
    with torch.autocast("cpu", torch.bfloat16):
        out = run(trunk, x, batch)
    assert distance(out, exact) < 0.05
    out.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in trunk.parameters())


def distance(found: Tensor, exact: Tensor) -> float:
    return ((found.double() - exact).norm() / exact.norm()).item()


def stack(layers: list[nn.Module], graph: Data) -> Tensor:
    """Run convolutions of PyG over the whole graph."""
    x = graph.x
    for i, layer in enumerate(layers):
        x = layer(x.relu() if i else x, graph.edge_index)
    return x


def assert_same(trunk: Trunk, expected: Tensor, neighborhood) -> None:
    """All neighbours of some seeds, or of all nodes, give what is expected of the whole graph."""
    for some in ([39, 5, 17, 0, 23], range(40)):
        batch = neighborhood(some, [-1, -1])
        torch.testing.assert_close(run(trunk, batch.x, batch), expected[some], atol=1e-10, rtol=0)


def test_sage_with_all_neighbours_is_pygs_on_the_whole_graph(graph, neighborhood):
    trunk, layers = trunk_of("sage"), [SAGEConv(DIM, DIM).double() for _ in range(2)]
    for layer, ours in zip(layers, trunk.convolutions, strict=True):
        root, neighbors = ours.root.of(NODE), ours.neighbors.of(EDGE)
        weights = {"lin_l.weight": neighbors.weight, "lin_l.bias": root.bias}
        layer.load_state_dict(weights | {"lin_r.weight": root.weight})
    assert_same(trunk, stack(layers, graph), neighborhood)


def test_gcn_with_all_neighbours_is_pygs_on_the_whole_graph(graph, neighborhood):
    trunk, layers = trunk_of("gcn"), [GCNConv(DIM, DIM).double() for _ in range(2)]
    inner = trunk.convolutions[1].weight
    projected = {"lin.weight": torch.eye(DIM), "bias": torch.zeros(DIM)}  # by what comes before
    layers[0].load_state_dict(projected)
    layers[1].load_state_dict({"lin.weight": inner.weight, "bias": inner.bias})
    assert_same(trunk, stack(layers, graph), neighborhood)


def test_gat_with_all_neighbours_is_pygs_on_the_whole_graph(graph, neighborhood):
    trunk, layers = trunk_of("gat"), [GATv2Conv(DIM, 1, heads=DIM).double() for _ in range(2)]
    for layer, ours in zip(layers, trunk.convolutions, strict=True):
        (attention,) = ours.attention.values()
        layer.load_state_dict(attention.state_dict())
    assert_same(trunk, stack(layers, graph), neighborhood)


def test_gcn_over_sampled_neighbours_is_right_on_average(neighborhood):
    trunk, seeds = trunk_of("gcn", num_layers=1), range(40)
    full = neighborhood(seeds, [-1])
    with torch.no_grad():
        batches = [neighborhood(seeds, [2], key) for key in range(300)]
        draws = torch.stack([run(trunk, batch.x, batch) for batch in batches])
        error = (draws.mean(0) - run(trunk, full.x, full)).abs()
    assert (error <= 5 * draws.std(0) / 300**0.5 + 1e-12).all()
    assert draws.std(0).max() > 0.1
