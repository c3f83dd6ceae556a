"""Several types of nodes and edges: the textbook's sums, and weights for what reaches a seed."""

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import SAGEConv

from mtl.errors import ConfigError
from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.modules import key
from mtl.models.projection import Projection
from mtl.models.trunk import Trunk

DIM = 8
EXACT = {"atol": 1e-12, "rtol": 0}
SEEDS = {"user": [3, 0, 17], "item": [5]}
BUYS = {("user", "buys", "item"): 0}
EVERY = pytest.mark.parametrize("kind", [kind for kind in Encoder.types() if kind != "gcn"])


class Bottom(nn.Module):
    """A projection and a trunk over a heterogeneous graph."""

    def __init__(
        self, graph: HeteroData, seed_types, kind: str = "sage", views=(), num_layers=2
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        encoder = Encoder.read({"type": kind, "num_layers": num_layers, "dropout": 0.0})
        edge_types = {edges: graph[edges].num_edge_features for edges in graph.edge_types}
        self.trunk = Trunk(encoder, DIM, seed_types, edge_types)
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


@EVERY
def test_all_neighbours_say_what_the_whole_graph_says(
    kind, hetero_graph, hetero_whole, hetero_neighborhood
):
    bottom = Bottom(hetero_graph, SEEDS, kind).double()
    first, second = bottom.trunk.convolutions
    out = first(bottom.projection(hetero_graph), hetero_whole)
    out = second(bottom.trunk.activated(1, out), hetero_whole)
    found = bottom(hetero_neighborhood(SEEDS, [-1, -1]))
    for target, seeds in SEEDS.items():
        torch.testing.assert_close(found[target], out[target][seeds], atol=1e-10, rtol=0)


@EVERY
def test_disjoint_trees_of_all_neighbours_say_what_one_subgraph_says(
    kind, hetero_graph, hetero_neighborhood
):
    bottom = Bottom(hetero_graph, SEEDS, kind).double()
    together, apart = (
        bottom(hetero_neighborhood(SEEDS, [-1, -1], disjoint=disjoint))
        for disjoint in (False, True)
    )
    for target in SEEDS:
        torch.testing.assert_close(apart[target], together[target], atol=1e-10, rtol=0)


@EVERY
@pytest.mark.parametrize("seeds", [{"shop": range(6)}, {"user": range(30), "item": range(20)}])
def test_the_gradient_reaches_every_weight_whatever_the_seeds(
    kind, seeds, hetero_graph, hetero_neighborhood
):
    bottom = Bottom(hetero_graph, seeds, kind).double()
    out = bottom(hetero_neighborhood(seeds, [-1, -1]))
    torch.stack([h.square().sum() for h in out.values()]).sum().backward()
    unreached = [n for n, p in bottom.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


@EVERY
def test_without_a_seed_the_gradient_of_every_weight_is_exactly_zero(
    kind, hetero_graph, hetero_neighborhood
):
    bottom = Bottom(hetero_graph, SEEDS, kind).double()
    out = bottom(hetero_neighborhood({"user": [], "item": []}, [4, 3]))
    assert [h.shape for h in out.values()] == [(0, DIM), (0, DIM)]
    torch.stack([h.sum() for h in out.values()]).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in bottom.parameters())


@EVERY
def test_views_of_several_tasks_are_each_view_alone(kind, hetero_graph, hetero_neighborhood):
    together = Bottom(hetero_graph, SEEDS, kind, views=("a", "b")).double()
    batch = hetero_neighborhood(SEEDS, [3, 3])
    out = together(batch)
    for view, name in enumerate(("a", "b")):
        alone = Bottom(hetero_graph, SEEDS, kind).double()
        alone.trunk.load_state_dict(together.trunk.state_dict())
        for of_type in alone.trunk.input_types:
            linear = together.projection.linears.of((of_type, name))
            alone.projection.linears.of(of_type).load_state_dict(linear.state_dict())
        for target, h in alone(batch).items():
            torch.testing.assert_close(out[target][:, view], h, **EXACT)


@EVERY
def test_a_projection_that_waits_gives_what_one_at_once_gives(
    kind, hetero_graph, hetero_neighborhood
):
    bottom, batch = Bottom(hetero_graph, SEEDS, kind).double(), hetero_neighborhood(SEEDS, [3, 3])
    lazy = bottom.projection(batch)
    at_once = {"item": False, "shop": True, "user": False}  # what is wider than the embeddings
    assert all((h.weight is None) == at_once[of_type] for of_type, h in lazy.items())
    dense = {of_type: Embeddings(h.dense()) for of_type, h in lazy.items()}
    for target, h in bottom.trunk(dense, batch).items():
        torch.testing.assert_close(bottom.trunk(lazy, batch)[target], h, **EXACT)


@EVERY
def test_a_type_that_no_relation_leads_to_has_embeddings_all_the_same(kind, hetero_neighborhood):
    batch = hetero_neighborhood({"item": range(20)}, [-1, -1])
    trunk = Trunk(Encoder.read({"type": kind, "dropout": 0.0}), DIM, ["item"], BUYS).double()
    sizes = {of_type: batch[of_type].num_nodes for of_type in ("user", "item")}
    x = {of_type: Embeddings(torch.randn(size, DIM).double()) for of_type, size in sizes.items()}
    trunk(x, batch)["item"].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in trunk.parameters())


@EVERY
def test_fewer_digits_say_the_same_less_precisely(kind, hetero_graph, hetero_neighborhood):
    bottom, batch = Bottom(hetero_graph, SEEDS, kind).double(), hetero_neighborhood(SEEDS, [3, 3])
    exact = torch.cat(list(bottom(batch).values()))
    bottom.float()
    for of_type in batch.node_types:
        batch[of_type].x = batch[of_type].x.float()
    single = torch.cat(list(bottom(batch).values()))
    with torch.autocast("cpu", torch.bfloat16):
        half = torch.cat(list(bottom(batch).values())).float()
    errors = [((found - exact).norm() / exact.norm()).item() for found in (single, half)]
    assert errors[0] < 1e-5
    assert errors[1] < 0.05
    half.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in bottom.parameters())


def test_an_encoder_of_one_type_refuses_several(hetero_graph):
    message = "model.encoder.type: gcn takes graphs of one node type .* 3 and 5; take rgcn"
    with pytest.raises(ConfigError, match=message):
        Bottom(hetero_graph, SEEDS, "gcn")
    with pytest.raises(ConfigError, match="this one has 2 and 1"):  # from users to items alone
        Encoder.read({"type": "gcn"}).convolution(DIM, 0, ["item"], BUYS)


@pytest.mark.parametrize("kind", ["gcn", "rgcn", "hgt"])
def test_an_encoder_that_is_nothing_without_edges_says_so(kind):
    with pytest.raises(ConfigError, match=f"{kind} passes messages .* lead to user in this graph"):
        Trunk(Encoder.read({"type": kind}), DIM, ["user"], BUYS)


def test_types_may_have_names_that_modules_have_taken():
    assert key("items") != "items"
    names = [key(kind) for kind in ("a.b", "a_b", "a%2Eb", ("a", "b", "c"), ("a", "b.", "c"))]
    modules = nn.ModuleDict({name: nn.Identity() for name in names})
    assert len(modules) == 5
