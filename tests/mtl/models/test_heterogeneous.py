"""Several types of nodes and edges: the textbook's sums, and weights for what reaches a seed."""

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import SAGEConv

from mtl.errors import ConfigError
from mtl.models.encoders import Encoder
from mtl.models.modules import key
from mtl.models.projection import Projection
from mtl.models.trunk import Trunk

DIM = 8
EXACT = {"atol": 1e-12, "rtol": 0}
SEEDS = {"user": [3, 0, 17], "item": [5]}


class Bottom(nn.Module):
    """A projection and a trunk over a heterogeneous graph."""

    def __init__(
        self, graph: HeteroData, seed_types, kind: str = "sage", views=(), num_layers=2
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        encoder = Encoder.read({"type": kind, "num_layers": num_layers, "dropout": 0.0})
        self.trunk = Trunk(encoder, DIM, seed_types, graph.edge_types)
        widths = {kind: graph[kind].num_features for kind in self.trunk.input_types}
        self.projection = Projection(widths, DIM, 0.0, views)

    def forward(self, batch: HeteroData) -> dict[str, Tensor]:
        return self.trunk(self.projection(batch), batch)


def pygs(bottom: Bottom, graph: HeteroData) -> dict[str, Tensor]:
    """Run PyG's convolutions with the same weights over the whole graph."""
    linears = bottom.projection.linears
    x = {k: linears.of(k)(graph[k].x) for k in bottom.trunk.input_types}
    for layer, ours in enumerate(bottom.trunk.convolutions):
        x = {k: h.relu() for k, h in x.items()} if layer else x
        out = {kind: ours.root.of(kind)(x[kind]) for kind in ours.node_types}
        for kind in ours.edge_types:
            source, _, target = kind
            relation = SAGEConv(DIM, DIM, root_weight=False, bias=False).double()
            relation.lin_l.weight = ours.neighbors.of(kind).weight
            out[target] = out[target] + relation((x[source], x[target]), graph[kind].edge_index)
        x = out
    return x


def test_sage_with_all_neighbours_is_pygs_on_the_whole_graph(hetero_graph, hetero_neighborhood):
    bottom = Bottom(hetero_graph, SEEDS).double()
    expected, found = pygs(bottom, hetero_graph), bottom(hetero_neighborhood(SEEDS, [-1, -1]))
    for kind, seeds in SEEDS.items():
        torch.testing.assert_close(found[kind], expected[kind][seeds], **EXACT)


def test_disjoint_trees_of_all_neighbours_say_what_one_subgraph_says(
    hetero_graph, hetero_neighborhood
):
    bottom = Bottom(hetero_graph, SEEDS).double()
    together, apart = (
        bottom(hetero_neighborhood(SEEDS, [-1, -1], disjoint=disjoint))
        for disjoint in (False, True)
    )
    for kind in SEEDS:
        torch.testing.assert_close(apart[kind], together[kind], **EXACT)


@pytest.mark.parametrize("kind", ["sage", "mlp"])
@pytest.mark.parametrize("seeds", [{"shop": range(6)}, {"user": range(30), "item": range(20)}])
def test_the_gradient_reaches_every_weight_whatever_the_seeds(
    kind, seeds, hetero_graph, hetero_neighborhood
):
    bottom = Bottom(hetero_graph, seeds, kind).double()
    out = bottom(hetero_neighborhood(seeds, [-1, -1]))
    torch.stack([h.square().sum() for h in out.values()]).sum().backward()
    unreached = [n for n, p in bottom.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


def test_without_a_seed_the_gradient_of_every_weight_is_exactly_zero(
    hetero_graph, hetero_neighborhood
):
    bottom = Bottom(hetero_graph, SEEDS).double()
    out = bottom(hetero_neighborhood({"user": [], "item": []}, [4, 3]))
    assert [h.shape for h in out.values()] == [(0, DIM), (0, DIM)]
    torch.stack([h.sum() for h in out.values()]).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in bottom.parameters())


def test_views_of_several_tasks_are_each_view_alone(hetero_graph, hetero_neighborhood):
    together = Bottom(hetero_graph, SEEDS, views=("a", "b")).double()
    batch = hetero_neighborhood(SEEDS, [3, 3])
    out = together(batch)
    for view, name in enumerate(("a", "b")):
        alone = Bottom(hetero_graph, SEEDS).double()
        alone.trunk.load_state_dict(together.trunk.state_dict())
        for kind in alone.trunk.input_types:
            linear = together.projection.linears.of((kind, name))
            alone.projection.linears.of(kind).load_state_dict(linear.state_dict())
        for kind, h in alone(batch).items():
            torch.testing.assert_close(out[kind][:, view], h, **EXACT)


def test_a_projection_that_waits_gives_what_one_at_once_gives(hetero_graph, hetero_neighborhood):
    bottom, batch = Bottom(hetero_graph, SEEDS).double(), hetero_neighborhood(SEEDS, [3, 3])
    lazy = bottom.projection(batch)
    assert {kind: h.weight is None for kind, h in lazy.items()} == {
        "item": False,  # as wide as the embeddings
        "shop": True,  # wider: projected at once
        "user": False,
    }
    at_once = {kind: type(h)(h.dense()) for kind, h in lazy.items()}
    for kind, h in bottom.trunk(at_once, batch).items():
        torch.testing.assert_close(bottom.trunk(lazy, batch)[kind], h, **EXACT)


@pytest.mark.parametrize("kind", ["gcn", "gat"])
def test_an_encoder_of_one_type_refuses_several(kind, hetero_graph):
    with pytest.raises(ConfigError, match=f"model.encoder.type: {kind} takes graphs of one node"):
        Bottom(hetero_graph, SEEDS, kind)


def test_types_may_have_names_that_modules_have_taken():
    assert key("items") != "items"
    names = [key(kind) for kind in ("a.b", "a_b", "a%2Eb", ("a", "b", "c"), ("a", "b.", "c"))]
    modules = nn.ModuleDict({name: nn.Identity() for name in names})
    assert len(modules) == 5
