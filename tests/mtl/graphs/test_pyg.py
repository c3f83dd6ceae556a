"""Data sets of PyG keep what they hold, and what has no place in a graph folder is said."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch_geometric import datasets
from torch_geometric.data import Data, HeteroData

from mtl.errors import ConfigError, DataError
from mtl.graphs import Source
from mtl.graphs._foreign import foreign_reader
from mtl.graphs._pyg_graph import PyGGraph
from mtl.graphs.cache import open_graph
from mtl.graphs.planetoid import Planetoid
from mtl.graphs.pyg import Pyg
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.plugin import explain

NODE, EDGE = "node", ("node", "to", "node")


def opened(dataset: str, **options) -> GraphStore:
    return open_graph(Pyg(dataset=dataset, trust=True, **options))


def drawn(dataset: str, **args):
    """The graph of a data set that is drawn at random, with the seed of the source."""
    with foreign_reader(dataset, 0):
        return getattr(datasets, dataset)(**args)[0]


def written(data: Data | HeteroData, folder: Path) -> GraphStore:
    writer = GraphWriter(folder / "graph", name="test")
    PyGGraph(data, seed=0).write(writer)
    writer.finish()
    return GraphStore(folder / "graph")


def edges_of(store: GraphStore, edge_type=EDGE) -> np.ndarray:
    colptr, row = store.csc(edge_type)
    return np.stack([row, np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))])


def ordered(edge_index: torch.Tensor) -> np.ndarray:
    """Positions of the edges in the order of the folder."""
    return np.lexsort(edge_index.numpy())


def test_a_homogeneous_data_set_keeps_features_labels_and_edges():
    store, data = opened("FakeDataset", args={"edge_dim": 3}), drawn("FakeDataset", edge_dim=3)
    order = ordered(data.edge_index)
    assert (store.node_types, store.edge_types) == ([NODE], [EDGE])
    assert np.array_equal(store.features(NODE), data.x)
    assert np.array_equal(store.label(NODE, "y").values, data.y)
    assert np.array_equal(edges_of(store), data.edge_index[:, order])
    assert np.array_equal(store.edge_features(EDGE), data.edge_attr[order])


def test_a_heterogeneous_data_set_keeps_every_type():
    store, data = opened("FakeHeteroDataset"), drawn("FakeHeteroDataset")
    assert (store.node_types, store.edge_types) == (data.node_types, data.edge_types)
    for node_type in data.node_types:
        assert np.array_equal(store.features(node_type), data[node_type].x)
    for edge_type, edge_index in data.edge_index_dict.items():
        expected = edge_index[:, ordered(edge_index)]
        assert np.array_equal(edges_of(store, edge_type), expected)
    assert np.array_equal(store.label("v0", "y").values, data["v0"].y)
    assert store.splits("v0") == ["random"]
    assert store.splits("v1") == []


def test_planetoid_is_what_our_own_reader_makes_of_it(shared_data, tmp_path):
    shutil.copytree(shared_data / "Cora" / "raw", tmp_path / "Cora" / "raw")
    ours = open_graph(Planetoid(root=shared_data, normalize_features=False))
    store = opened("Planetoid", args={"name": "Cora"}, root=tmp_path)
    assert store.name == "Planetoid-Cora"
    assert np.array_equal(store.features(NODE), ours.features(NODE))
    assert np.array_equal(store.label(NODE, "y").values, ours.label(NODE, "y").values)
    assert np.array_equal(store.split(NODE), ours.split(NODE, "public"))
    assert np.array_equal(edges_of(store), edges_of(ours))


def test_a_train_mask_alone_is_a_split_and_nothing_else_is_lost():
    store = opened("KarateClub")
    split, mask = store.split(NODE, "split"), datasets.KarateClub()[0].train_mask
    assert np.array_equal(split, mask.numpy().astype(np.uint8))
    assert store.splits(NODE) == ["split", "random"]


@pytest.mark.parametrize("dataset", ["FakeDataset", "StochasticBlockModelDataset"])
def test_data_sets_that_are_drawn_follow_the_seed(dataset, tmp_path):
    blocks = {"block_sizes": [20, 20], "edge_probs": [[0.5, 0.1], [0.1, 0.5]]}
    drawn_at_random = dataset == "FakeDataset"
    prints = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        random.random(), torch.rand(1)  # whatever the process did before
        root = {} if drawn_at_random else {"args": blocks, "root": tmp_path / f"{name} raw"}
        prints.append(opened(dataset, seed=seed, cache=tmp_path / name, **root).fingerprint)
    assert prints[0] == prints[1] != prints[2]


NAN = float("nan")


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (torch.tensor([2, 0, -1, -100]), {"y": ("class", 3, [2, 0, -1, -1])}),
        (torch.tensor([[2], [0], [1], [1]]), {"y": ("class", 3, [2, 0, 1, 1])}),
        (torch.tensor([True, False, True, True]), {"y": ("class", 2, [1, 0, 1, 1])}),
        (torch.tensor([1.0, NAN, 0.0, 1.0]), {"y": ("class", 2, [1, -1, 0, 1])}),
        (torch.tensor([[0.0], [0.0], [1.0], [1.0]]), {"y": ("class", 2, [0, 0, 1, 1])}),
        (torch.tensor([1.0, NAN, 1.0, 1.0]), {"y": ("regression", 1, [1, NAN, 1, 1])}),
        (torch.tensor([1.5, NAN, 0.0, 1.0]), {"y": ("regression", 1, [1.5, NAN, 0, 1])}),
        (
            torch.tensor([[1, 0], [0, -1], [1, 1], [0, 0]]),
            {"y": ("multilabel", 2, [[1, 0], [0, -1], [1, 1], [0, 0]])},
        ),
        (
            torch.tensor([[1.0, NAN], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]),
            {"y": ("multilabel", 2, [[1, -1], [0, 0], [1, 1], [0, 1]])},
        ),
        (
            torch.tensor([[1, 5], [0, -1], [1, 2], [0, 0]]),
            {"y_0": ("class", 2, [1, 0, 1, 0]), "y_1": ("class", 6, [5, -1, 2, 0])},
        ),
        (
            torch.tensor([[0.5, NAN], [1.0, 0.0], [2.0, 1.0], [0.0, 1.0]]),
            {
                "y_0": ("regression", 1, [0.5, 1, 2, 0]),
                "y_1": ("regression", 1, [NAN, 0, 1, 1]),
            },
        ),
    ],
)
def test_the_kind_of_a_label_follows_from_dtype_and_shape(y, expected, tmp_path):
    store = written(Data(x=torch.ones(4, 1), edge_index=torch.zeros(2, 0).long(), y=y), tmp_path)
    labels = store.labels(NODE)
    found = {name: (label.kind, label.num_classes) for name, label in labels.items()}
    assert found == {name: (kind, classes) for name, (kind, classes, _) in expected.items()}
    for name, (*_, values) in expected.items():
        assert np.array_equal(labels[name].values, np.array(values), equal_nan=True)


def market() -> HeteroData:
    """Three users and two items, bought and rated."""
    data = HeteroData()
    data["user"].x = torch.arange(6.0).view(3, 2)
    data["item"].num_nodes = 2
    data["item"].time = torch.tensor([5.0, 7.0])
    data["user", "rates", "item"].edge_index = torch.tensor([[2, 0, 1], [1, 0, 0]])
    data["user", "rates", "item"].edge_label = torch.tensor([5, 1, 3])
    data["user", "rates", "item"].time = torch.tensor([30, 10, 20])
    data["user", "rates", "item"].edge_weight = torch.tensor([0.5, 2.0, 1.0])
    data["user", "rates", "item"].train_mask = torch.tensor([True, False, False])
    data["user", "rates", "item"].test_mask = torch.tensor([False, True, False])
    data["item", "rev_rates", "user"].edge_index = torch.tensor([[0, 1, 0], [0, 2, 1]])
    return data


def test_what_edges_carry_goes_with_them(tmp_path):
    store, rates = written(market(), tmp_path), ("user", "rates", "item")
    assert edges_of(store, rates).T.tolist() == [[0, 0], [1, 0], [2, 1]]
    assert store.label(rates, "edge_label").values.tolist() == [1, 3, 5]
    csc = store.topology().edges[rates]
    assert (csc.time.tolist(), csc.weight.tolist()) == ([10, 20, 30], [2.0, 1.0, 0.5])
    assert store.split(rates).tolist() == [3, 0, 1]
    assert store.splits(rates) == ["split", "random"]
    assert (store.features("item"), store.time("item").tolist()) == (None, [5, 7])


def test_labels_of_other_pairs_are_not_labels_of_the_edges(tmp_path, capsys):
    data, rates = market(), ("user", "rates", "item")
    data[rates].edge_label_index = torch.tensor([[0, 1, 2], [1, 1, 1]])
    assert written(data, tmp_path).labels(rates) == {}
    assert "user__rates__item.edge_label (int64 [3])" in capsys.readouterr().err


def test_a_reverse_relation_is_known_by_its_name_and_its_edges(tmp_path):
    data, rates, back = market(), ("user", "rates", "item"), ("item", "rev_rates", "user")
    store = written(data, tmp_path / "one")
    assert (store.reverse(rates), store.reverse(back)) == (back, rates)
    data[back].edge_index = torch.tensor([[0, 1, 1], [0, 2, 1]])
    assert written(data, tmp_path / "two").reverse(rates) is None


def test_edges_both_ways_are_their_own_reverse(tmp_path):
    assert opened("KarateClub").reverse(EDGE) == EDGE
    one_way = Data(x=torch.ones(2, 1), edge_index=torch.tensor([[0], [1]]))
    assert written(one_way, tmp_path).reverse(EDGE) is None


def test_undirected_adds_the_other_way(tmp_path, monkeypatch):
    class OneWay:
        def __getitem__(self, index: int) -> Data:
            return Data(x=torch.ones(3, 1), edge_index=torch.tensor([[0, 2], [1, 1]]))

        def __len__(self) -> int:
            return 1

    monkeypatch.setattr(datasets, "KarateClub", OneWay)
    assert edges_of(opened("KarateClub", undirected=True)).T.tolist() == [
        [1, 0],
        [0, 1],
        [2, 1],
        [1, 2],
    ]


def test_masks_of_several_columns_are_several_splits(tmp_path):
    train = torch.tensor([[1, 0], [0, 1], [0, 0], [0, 0]], dtype=torch.bool)
    val = torch.tensor([[0, 1], [1, 0], [0, 0], [0, 0]], dtype=torch.bool)
    test = torch.tensor([0, 0, 1, 1], dtype=torch.bool)  # one for all, as in WikiCS
    data = Data(x=torch.ones(4, 1), train_mask=train, val_mask=val, test_mask=test)
    store = written(data, tmp_path)
    assert store.splits(NODE) == ["split_0", "split_1"]
    assert store.split(NODE, "split_0").tolist() == [1, 2, 3, 3]
    assert store.split(NODE, "split_1").tolist() == [2, 1, 3, 3]


def test_what_is_not_converted_is_said(tmp_path, capsys):
    data = market()
    data.metadata_of = "somebody"
    data["user"].z = torch.ones(3, 2, 2)
    data["user"].train_mask = torch.tensor([True, True, False])
    data["user"].val_mask = torch.tensor([True, False, False])
    data["item", "rev_rates", "user"].edge_weight = torch.tensor([1.0, -1.0, 0.0])
    store = written(data, tmp_path)
    assert store.splits("user") == []
    said = capsys.readouterr().err
    assert "graph: not converted: graph.metadata_of (str), " in said
    assert "user.split (1 are in two of its masks)" in said
    assert "user.z (float32 [3, 2, 2])" in said
    assert "item__rev_rates__user.edge_weight (float32 [3])" in said


def test_half_precision_stays(tmp_path):
    for dtype in (torch.bfloat16, torch.float16):
        x = torch.tensor([[1.5], [-2.0]], dtype=dtype)
        store = written(Data(x=x, num_nodes=2), tmp_path / str(dtype))
        assert torch.equal(store.features(NODE), x)


def mistakes(**options) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Source).validate_python({"type": "pyg", **options})
    return "\n".join(explain(caught.value, Source))


def test_nothing_is_read_without_trust():
    assert "needs `trust: true`" in mistakes(dataset="KarateClub")
    assert "a pickle can run any code" in mistakes(dataset="KarateClub", trust=False)
    with pytest.raises(ConfigError, match="needs `trust: true`, because PyG unpickles"):
        Pyg(dataset="KarateClub")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "WebKb"}, r"graph\.dataset: no 'WebKb' in .*; did you mean 'WebKB'\?"),
        ({"dataset": "Planetoid", "root": Path("x")}, r"graph\.args\.name: required by Planetoid"),
        ({"dataset": "Planetoid", "args": {"name": "Cora"}}, r"graph\.root: required by Planetoid"),
        ({"dataset": "KarateClub", "root": Path("x")}, r"graph\.root: KarateClub reads no files"),
        (
            {"dataset": "Planetoid", "args": {"nmae": "Cora"}},
            r"graph\.args\.nmae: unknown; did you mean 'name'\? \(Planetoid has: name, split,",
        ),
        (
            {"dataset": "FakeHeteroDataset", "args": {"num_graphs": 3}},
            r"graph\.dataset: FakeHeteroDataset is many graphs of HeteroData; allowed: many",
        ),
    ],
)
def test_a_mistake_is_named_by_its_yaml_path(options, message):
    with pytest.raises(ConfigError, match=message):
        opened(**options)


def test_a_reader_that_fails_is_named_with_its_arguments(tmp_path):
    message = r"graph: Amazon\(root='.*', name='Foto'\) cannot be read: AssertionError"
    with pytest.raises(DataError, match=message):
        opened("Amazon", args={"name": "Foto"}, root=tmp_path)


def test_reading_leaves_the_random_numbers_of_the_process_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    opened("FakeDataset", args={"num_channels": 7})
    assert torch.equal(torch.get_rng_state(), before)
