"""What every encoder promises, and that each is what the literature (as PyG has it) calls so."""

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv, GCNConv, SAGEConv

from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.neighborhood import Edges, Hop
from mtl.models.trunk import Trunk

DIM = 8
NODE, EDGE = "node", ("node", "to", "node")
EXACT = {"atol": 1e-12, "rtol": 0}
EVERY = pytest.mark.parametrize("kind", Encoder.types())


def trunk_of(kind: str, num_layers: int = 2, norm: str = "none", dropout: float = 0.0) -> Trunk:
    torch.manual_seed(1)
    options = {"type": kind, "num_layers": num_layers, "dropout": dropout, "norm": norm}
    return Trunk(Encoder.read(options), DIM, [NODE], [EDGE]).double()


def run(trunk: Trunk, x: Tensor, batch: Data) -> Tensor:
    return trunk({NODE: Embeddings(x)}, batch)[NODE]


@EVERY
def test_seeds_come_out_in_the_shape_in_which_nodes_went_in(kind, neighborhood):
    batch, trunk = neighborhood([7, 3, 39], [4, 3]), trunk_of(kind)
    assert run(trunk, batch.x, batch).shape == (3, DIM)
    assert run(trunk, batch.x.unsqueeze(1).expand(-1, 5, -1), batch).shape == (3, 5, DIM)


@EVERY
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_the_gradient_reaches_every_parameter(kind, norm, neighborhood):
    batch, trunk = neighborhood(range(20), [4, 3]), trunk_of(kind, norm=norm)
    run(trunk, batch.x, batch).square().sum().backward()
    unreached = [n for n, p in trunk.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


@EVERY
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_tasks_side_by_side_are_each_task_alone(kind, norm, neighborhood):
    batch, trunk = neighborhood([7, 3, 39, 0], [4, 3]), trunk_of(kind, norm=norm)
    views = torch.randn(len(batch.x), 3, DIM).double()
    together = run(trunk, views, batch)
    for task in range(3):
        torch.testing.assert_close(together[:, task], run(trunk, views[:, task], batch), **EXACT)


@EVERY
@pytest.mark.parametrize("tasks", [(), (2,)])
def test_an_empty_batch_gives_no_row_and_gradients_of_exactly_zero(kind, tasks, neighborhood):
    batch, trunk = neighborhood([], [4, 3]), trunk_of(kind)
    out = run(trunk, torch.empty(0, *tasks, DIM).double(), batch)
    assert out.shape == (0, *tasks, DIM)
    out.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in trunk.parameters())


@EVERY
def test_trimming_does_not_change_the_seeds(kind, neighborhood):
    batch, trunk = neighborhood([7, 3, 39], [3, 3, 3]), trunk_of(kind, num_layers=3)
    count, (row, col) = batch.num_nodes, batch.edge_index
    colptr = torch.searchsorted(col.contiguous(), torch.arange(count + 1))
    everything = Hop({NODE: count}, {EDGE: Edges(colptr, row, None, count)}, batch.in_degree)
    x = batch.x
    for layer, convolution in enumerate(trunk.convolutions):
        x = convolution({NODE: Embeddings(x.relu() if layer else x)}, everything)[NODE]
    torch.testing.assert_close(run(trunk, batch.x, batch), x[:3], **EXACT)


@EVERY
def test_dropout_acts_in_training_alone(kind, neighborhood):
    batch = neighborhood([7, 3, 39], [4, 3])
    trunk = trunk_of(kind, dropout=0.5)
    assert not torch.equal(run(trunk, batch.x, batch), run(trunk, batch.x, batch))
    trunk.eval()
    assert torch.equal(run(trunk, batch.x, batch), run(trunk, batch.x, batch))


def stack(layers: list[nn.Module], graph: Data) -> Tensor:
    """Run convolutions of PyG over the whole graph."""
    x = graph.x
    for i, layer in enumerate(layers):
        x = layer(x.relu() if i else x, graph.edge_index)
    return x


def assert_golden(trunk: Trunk, layers: list[nn.Module], graph: Data, neighborhood) -> None:
    expected, seeds = stack(layers, graph), [39, 5, 17, 0, 23]
    for some in (seeds, range(40)):
        batch = neighborhood(some, [-1, -1])
        torch.testing.assert_close(run(trunk, batch.x, batch), expected[some], atol=1e-10, rtol=0)


def test_sage_with_all_neighbours_is_pygs_on_the_whole_graph(graph, neighborhood):
    trunk, layers = trunk_of("sage"), [SAGEConv(DIM, DIM).double() for _ in range(2)]
    for layer, ours in zip(layers, trunk.convolutions, strict=True):
        root, neighbors = ours.root.of(NODE), ours.neighbors.of(EDGE)
        weights = {"lin_l.weight": neighbors.weight, "lin_l.bias": root.bias}
        layer.load_state_dict(weights | {"lin_r.weight": root.weight})
    assert_golden(trunk, layers, graph, neighborhood)


def test_gcn_with_all_neighbours_is_pygs_on_the_whole_graph(graph, neighborhood):
    trunk, layers = trunk_of("gcn"), [GCNConv(DIM, DIM).double() for _ in range(2)]
    inner = trunk.convolutions[1].weight
    projected = {"lin.weight": torch.eye(DIM), "bias": torch.zeros(DIM)}  # by what comes before
    layers[0].load_state_dict(projected)
    layers[1].load_state_dict({"lin.weight": inner.weight, "bias": inner.bias})
    assert_golden(trunk, layers, graph, neighborhood)


def test_gat_with_all_neighbours_is_pygs_on_the_whole_graph(graph, neighborhood):
    trunk, layers = trunk_of("gat"), [GATv2Conv(DIM, 1, heads=DIM).double() for _ in range(2)]
    for layer, ours in zip(layers, trunk.convolutions, strict=True):
        layer.load_state_dict(ours.attention.state_dict())
    assert_golden(trunk, layers, graph, neighborhood)


def test_gcn_over_sampled_neighbours_is_right_on_average(neighborhood):
    trunk, seeds = trunk_of("gcn", num_layers=1), range(40)
    full = neighborhood(seeds, [-1])
    with torch.no_grad():
        batches = [neighborhood(seeds, [2], key) for key in range(300)]
        draws = torch.stack([run(trunk, batch.x, batch) for batch in batches])
        error = (draws.mean(0) - run(trunk, full.x, full)).abs()
    assert (error <= 5 * draws.std(0) / 300**0.5 + 1e-12).all()
    assert draws.std(0).max() > 0.1
