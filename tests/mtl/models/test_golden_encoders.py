"""Convolutions over the whole graph are what the literature (as PyG has it) calls so."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import GATv2Conv, GINConv, GINEConv, HGTConv, PNAConv, RGCNConv

from mtl.graphs.schema import EdgeType
from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.modules import key
from mtl.models.neighborhood import Hop

DIM, DEGREE = 8, 4
NODE, EDGE = "node", ("node", "to", "node")
EXACT = {"atol": 1e-11, "rtol": 0}
WIDTHS = pytest.mark.parametrize("width", [0, 3])
Nodes = dict[str, Tensor]


def layer_of(kind: str, node_types, edge_types, **options) -> nn.Module:
    torch.manual_seed(1)
    encoder = Encoder.read({"type": kind, **options})
    return encoder.convolution(DIM, 1, node_types, edge_types).double()


@pytest.fixture
def nodes(hetero_graph: HeteroData) -> Nodes:
    """Embeddings of all nodes."""
    torch.manual_seed(0)
    counts = {kind: hetero_graph[kind].num_nodes for kind in hetero_graph.node_types}
    return {kind: torch.randn(count, DIM).double() for kind, count in counts.items()}


def hetero_layer_of(kind: str, graph: HeteroData, **options) -> nn.Module:
    widths = {edges: graph[edges].num_edge_features for edges in graph.edge_types}
    return layer_of(kind, graph.node_types, widths, **options)


def run(ours: nn.Module, nodes: Nodes, hop: Hop) -> Nodes:
    return ours({kind: Embeddings(x) for kind, x in nodes.items()}, hop)


def assert_same(found: Nodes, expected: Nodes) -> None:
    assert found.keys() == expected.keys()
    for kind, x in expected.items():
        torch.testing.assert_close(found[kind], x, **EXACT)


def features(store, width: int = 1) -> list[Tensor]:
    """Return the features of the edges where they have some, and shall be read."""
    return [store.edge_attr] if width and store.num_edge_features else []


@WIDTHS
def test_gin_is_pygs_with_and_without_edge_features(width, graph, whole):
    ours = layer_of("gin", [NODE], {EDGE: width})
    nn.init.constant_(ours.eps, 0.25)
    mlp = nn.Sequential(ours.inner.of(NODE), nn.ReLU(), ours.outer.of(NODE))
    options = {"eps": 0.25, "train_eps": True}
    theirs = GINEConv(mlp, edge_dim=width, **options) if width else GINConv(mlp, **options)
    if width:
        theirs.lin.load_state_dict(ours.edges.of(EDGE).state_dict())
    expected = theirs.double()(graph.x, graph.edge_index, *features(graph, width))
    assert_same(run(ours, {NODE: graph.x}, whole), {NODE: expected})


def test_gin_gives_the_sum_of_each_relation_a_matrix(hetero_graph, nodes, hetero_whole):
    ours = hetero_layer_of("gin", hetero_graph)
    total = dict(nodes)  # eps is 0
    for kind in hetero_graph.edge_types:
        (row, col), messages = hetero_graph[kind].edge_index, nodes[kind[0]]
        messages = messages[row]
        for attr in features(hetero_graph[kind]):
            messages = (messages + ours.edges.of(kind)(attr)).relu()
        heard = torch.zeros_like(nodes[kind[2]]).index_add(0, col, messages)
        total[kind[2]] = total[kind[2]] + ours.relations.of(kind)(heard)
    expected = {
        kind: ours.outer.of(kind)(ours.inner.of(kind)(x).relu()) for kind, x in total.items()
    }
    assert_same(run(ours, nodes, hetero_whole), expected)


def pna_of(ours: nn.Module, kind: EdgeType, width: int) -> PNAConv:
    """Return PyG's layer with the weights that ours has for a relation."""
    aggregators, scalers = ["mean", "max", "min", "std"], ["identity", "amplification"]
    histogram = torch.tensor([0, 1])
    theirs = PNAConv(
        DIM, DIM, aggregators, [*scalers, "attenuation"], histogram, edge_dim=width or None
    ).double()
    root, target, source = ours.root.of(kind[2]), ours.target.of(kind), ours.source.of(kind)
    mixed = ours.neighbors.of(kind).weight.view(3, DIM, 4 * DIM).transpose(0, 1).flatten(1)
    eye, none = torch.eye(DIM), torch.zeros(DIM)
    weights = {
        "aggr_module.avg_deg_log": torch.tensor([math.log(DEGREE + 1)]).double(),
        "pre_nns.0.0.weight": torch.cat([target.weight, source.weight, *[eye] * bool(width)], 1),
        "pre_nns.0.0.bias": source.bias,
        "post_nns.0.0.weight": torch.cat([root.weight, mixed], 1),
        "post_nns.0.0.bias": root.bias,
        "lin.weight": eye,
        "lin.bias": none,
    }
    if width:
        edges = ours.edges.of(kind).weight
        weights |= {"edge_encoder.weight": edges, "edge_encoder.bias": none}
    theirs.load_state_dict(theirs.state_dict() | weights)
    theirs.aggr_module.avg_deg_log.fill_(math.log(DEGREE + 1))  # in double precision
    return theirs


@WIDTHS
def test_pna_is_pygs_with_and_without_edge_features(width, graph, whole):
    ours = layer_of("pna", [NODE], {EDGE: width}, typical_degree=DEGREE)
    theirs = pna_of(ours, EDGE, width)
    expected = theirs(graph.x, graph.edge_index, *features(graph, width))
    assert_same(run(ours, {NODE: graph.x}, whole), {NODE: expected})


def test_pna_adds_up_what_pygs_says_of_each_relation(hetero_graph, nodes, hetero_whole):
    ours = hetero_layer_of("pna", hetero_graph, typical_degree=DEGREE)
    expected = root = {kind: ours.root.of(kind)(x) for kind, x in nodes.items()}
    for kind in hetero_graph.edge_types:
        source, _, target = kind
        both, store = torch.cat([nodes[source], nodes[target]]), hetero_graph[kind]
        edge_index = store.edge_index + torch.tensor([[0], [len(nodes[source])]])
        theirs = pna_of(ours, kind, store.num_edge_features)
        heard = theirs(both, edge_index, *features(store))[len(nodes[source]) :] - root[target]
        expected = expected | {target: expected[target] + heard}
    assert_same(run(ours, nodes, hetero_whole), expected)


@pytest.mark.parametrize("num_bases", [None, 2])
def test_rgcn_is_pygs_with_and_without_bases(num_bases, hetero_graph, nodes, hetero_whole):
    ours = hetero_layer_of("rgcn", hetero_graph, num_bases=num_bases)
    kinds = hetero_graph.edge_types
    theirs = RGCNConv(DIM, DIM, len(kinds), num_bases=num_bases).double()
    weights = {
        "weight": ours.matrices.transpose(1, 2),
        "root": ours.root.weight.T,
        "bias": ours.root.bias,
    }
    if num_bases:
        weights["comp"] = ours.shares
    theirs.load_state_dict(weights)
    counts = [len(x) for x in nodes.values()]
    first = dict(zip(nodes, (0, *torch.tensor(counts).cumsum(0).tolist()), strict=False))
    edge_index = torch.cat(
        [
            hetero_graph[kind].edge_index + torch.tensor([[first[kind[0]]], [first[kind[2]]]])
            for kind in kinds
        ],
        1,
    )
    sizes = torch.tensor([hetero_graph[kind].num_edges for kind in kinds])
    edge_type = torch.repeat_interleave(torch.arange(len(kinds)), sizes)
    expected = theirs(torch.cat(list(nodes.values())), edge_index, edge_type).split(counts)
    assert_same(run(ours, nodes, hetero_whole), dict(zip(nodes, expected, strict=True)))


@pytest.mark.parametrize("num_heads", [1, 4])
def test_hgt_is_pygs(num_heads, hetero_graph, nodes, hetero_whole):
    ours = hetero_layer_of("hgt", hetero_graph, num_heads=num_heads)
    theirs = hgt_of(ours, hetero_graph, num_heads)
    edge_index = {kind: hetero_graph[kind].edge_index for kind in hetero_graph.edge_types}
    assert_same(run(ours, nodes, hetero_whole), theirs(nodes, edge_index))


def hgt_of(ours: nn.Module, graph: HeteroData, num_heads: int) -> HGTConv:
    """Return PyG's layer with the weights that ours has, gates and priors drawn anew."""
    theirs = HGTConv(DIM, DIM, graph.metadata(), num_heads).double()
    for kind in graph.node_types:
        both, queries = ours.keys_values.of(kind), ours.queries.of(kind)
        for name in ("weight", "bias"):
            keys, values = getattr(both, name).chunk(2)
            joined = torch.cat([keys, getattr(queries, name), values])
            getattr(theirs.kqv_lin.lins[kind], name).data = joined.data
        theirs.out_lin.lins[kind].load_state_dict(ours.outputs.of(kind).state_dict())
        nn.init.normal_(ours.gates[key(kind)])
        theirs.skip[kind].data.fill_(ours.gates[key(kind)])
    relations = [ours.relations[key(kind)] for kind in graph.edge_types]
    for kind, relation in zip(graph.edge_types, relations, strict=True):
        nn.init.normal_(relation.prior)
        theirs.p_rel["__".join(kind)].data = relation.prior.data.view(1, -1)
    for mine, its in (("attention", theirs.k_rel), ("message", theirs.v_rel)):
        by_head = torch.stack([getattr(relation, mine) for relation in relations], 1)
        its.weight.data = by_head.data.flatten(0, 1)
    return theirs


def test_gat_is_pygs_with_edge_features(graph, whole):
    ours = layer_of("gat", [NODE], {EDGE: 3})
    theirs = GATv2Conv(DIM, 1, heads=DIM, edge_dim=3, fill_value=0.0).double()
    theirs.load_state_dict(ours.attention[key(EDGE)].state_dict())
    expected = theirs(graph.x, graph.edge_index, graph.edge_attr)
    assert_same(run(ours, {NODE: graph.x}, whole), {NODE: expected})


def test_gat_adds_up_what_pygs_says_of_each_relation(hetero_graph, nodes, hetero_whole):
    ours = hetero_layer_of("gat", hetero_graph, num_heads=2)
    expected = {kind: ours.root.of(kind)(nodes[kind]) for kind in ("item", "shop")}
    expected["user"] = torch.zeros_like(nodes["user"])  # has self-loops: user follows user
    for kind in hetero_graph.edge_types:
        source, _, target = kind
        store, looped = hetero_graph[kind], source == target
        edge_index, attr = store.edge_index, features(store)
        if looped:
            loops = torch.arange(len(nodes[target])).expand(2, -1)
            edge_index = torch.cat([edge_index, loops], 1)
            attr = [torch.cat([part, part.new_zeros(loops.shape[1], 2)]) for part in attr]
        width = store.num_edge_features or None
        theirs = GATv2Conv(DIM, 4, heads=2, add_self_loops=False, edge_dim=width).double()
        theirs.load_state_dict(ours.attention[key(kind)].state_dict())
        heard = theirs((nodes[source], nodes[target]), edge_index, *attr)
        expected[target] = expected[target] + heard
    found = run(ours, nodes, hetero_whole)
    assert_same(found, {kind: expected[kind] for kind in found})
