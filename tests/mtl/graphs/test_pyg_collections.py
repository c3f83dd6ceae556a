"""Many graphs of PyG are one graph folder that holds exactly what each of them held."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies as st
from torch_geometric import datasets
from torch_geometric.data import Data, Dataset, InMemoryDataset

from mtl.errors import DataError
from mtl.graphs import _pyg_reading
from mtl.graphs._pyg_graph import PyGGraph
from mtl.graphs._pyg_reading import Reader
from mtl.graphs._pyg_union import union
from mtl.graphs.cache import open_graph
from mtl.graphs.pyg import Pyg
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.multitask import build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks.losses import task_losses

NODE, EDGE, GRAPH = "node", ("node", "to", "node"), "graph"
NAN = float("nan")


class Listed(Dataset):
    """Graphs as they are."""

    def __init__(self, graphs: list[Data]) -> None:
        super().__init__()
        self.graphs = graphs

    def len(self) -> int:
        return len(self.graphs)

    def get(self, idx: int) -> Data:
        return self.graphs[idx]


class Collated(InMemoryDataset):
    """Graphs in PyG's own storage."""

    def __init__(self, graphs: list[Data]) -> None:
        super().__init__()
        self.data, self.slices = self.collate(graphs)


def written(folder: Path, **parts: Dataset) -> GraphStore:
    writer = GraphWriter(folder / "graph", name="test")
    data, graphs = union(Reader("Made").read(parts), seed=0)
    PyGGraph(data, 0, graphs).write(writer)
    writer.finish()
    return GraphStore(folder / "graph")


def listed(folder: Path, *graphs: Data) -> GraphStore:
    return written(folder, **{"": Listed(list(graphs))})


def given(monkeypatch, folder: Path, graphs: list[Data], **options) -> GraphStore:
    """The source on graphs that are none of PyG's data sets."""
    monkeypatch.setattr(datasets, "KarateClub", lambda: Listed(graphs))
    return opened("KarateClub", cache=folder, **options)


def opened(dataset: str, **options) -> GraphStore:
    return open_graph(Pyg(dataset=dataset, trust=True, **options))


def ring(num_nodes: int, /, **values) -> Data:
    """Nodes in a row, with two features; or with what is given instead."""
    nodes = torch.arange(num_nodes)
    edge_index = torch.stack([nodes[:-1], nodes[1:]]) if num_nodes else torch.zeros(2, 0).long()
    return Data(**{"x": torch.ones(num_nodes, 2), "edge_index": edge_index, **values})


def edges_of(store: GraphStore) -> np.ndarray:
    colptr, row = store.csc(EDGE)
    return np.stack([row, np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))])


@st.composite
def many_graphs(draw) -> list[Data]:
    """Two to seven graphs, some without nodes or edges, with double edges and loops."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    words, wide = draw(st.booleans()), draw(st.integers(1, 3))
    graphs = []
    for num_nodes in draw(st.lists(st.integers(0, 5), min_size=2, max_size=7)):
        num_edges = draw(st.integers(0, 8)) if num_nodes else 0
        edge_index = rng.integers(0, max(num_nodes, 1), (2, num_edges))
        x = rng.integers(0, 4, (num_nodes, wide)) if words else rng.random((num_nodes, wide))
        attr = rng.integers(0, 3, num_edges) if words else rng.random((num_edges, wide))
        y = rng.integers(-1, 3, 1) if words else rng.random((1, wide))
        arrays = {"x": x, "edge_index": edge_index, "edge_attr": attr, "y": y}
        graphs.append(Data(**{key: torch.from_numpy(value) for key, value in arrays.items()}))
    return graphs


def one_hot(values: torch.Tensor, widths: list[int]) -> np.ndarray:
    rows = values.reshape(len(values), len(widths)).numpy()
    return np.hstack([np.eye(width)[rows[:, i]] for i, width in enumerate(widths)])


def features(graphs: list[Data], key: str) -> list[np.ndarray]:
    """What each graph's features are in the folder, as the documentation says it."""
    values = [graph[key] for graph in graphs]
    if values[0].is_floating_point():
        return [value.float().numpy() for value in values]
    joined = torch.cat(values).reshape(sum(map(len, values)), values[0].shape[1:].numel())
    widths = [int(column.max()) + 1 if len(column) else 1 for column in joined.T]
    return [one_hot(value, widths) for value in values]


@drawn(many_graphs(), st.booleans())
def test_the_folder_holds_exactly_what_each_graph_held(tmp_path_factory, graphs, collated):
    dataset = Collated(graphs) if collated else Listed(graphs)
    store = written(tmp_path_factory.mktemp("many"), **{"": dataset})
    node_type, pointer = store.members(GRAPH)
    assert (node_type, np.diff(pointer).tolist()) == (NODE, [len(g.x) for g in graphs])
    edges, attr = edges_of(store), store.edge_features(EDGE).numpy()
    all_x, all_attr = features(graphs, "x"), features(graphs, "edge_attr")
    for number, graph in enumerate(graphs):
        first, last = pointer[number : number + 2]
        assert np.array_equal(store.features(NODE)[first:last], all_x[number])
        mine = (edges[1] >= first) & (edges[1] < last)
        found = zip(*(edges[:, mine] - first).tolist(), attr[mine].tolist(), strict=True)
        held = zip(*graph.edge_index.tolist(), all_attr[number].tolist(), strict=True)
        assert Counter(map(str, found)) == Counter(map(str, held))
        for column, (name, label) in enumerate(sorted(store.labels(GRAPH).items())):
            assert label.kind == ("regression" if graph.y.is_floating_point() else "class"), name
            assert label.values[number] == graph.y.reshape(-1)[column].float()
    assert len(edges[0]) == sum(graph.num_edges for graph in graphs)


def test_a_thousand_graphs_drawn_by_pyg_are_split_at_random():
    store = opened("FakeDataset", args={"num_graphs": 1000, "avg_num_nodes": 10, "edge_dim": 2})
    assert store.collections == [GRAPH]
    assert (store.splits(GRAPH), store.splits(NODE)) == (["random"], [])
    assert np.bincount(store.split(GRAPH)).tolist() == [0, 600, 200, 200]
    assert len(store.label(GRAPH, "y").values) == 1000
    assert store.edge_features(EDGE).shape[1] == 2


@pytest.mark.parametrize(
    ("ys", "expected"),
    [
        ([torch.tensor([2]), torch.tensor([0])], {"y": ("class", [2, 0])}),
        ([torch.tensor(2), torch.tensor(-1)], {"y": ("class", [2, -1])}),
        ([1, 0], {"y": ("class", [1, 0])}),
        ([torch.tensor([[1.0]]), torch.tensor([[0.0]])], {"y": ("class", [1, 0])}),
        ([0.5, NAN], {"y": ("regression", [0.5, NAN])}),
        (
            [torch.tensor([[1.0, NAN]]), torch.tensor([[0.0, 1.0]])],
            {"y": ("multilabel", [[1, -1], [0, 1]])},
        ),
        (
            [torch.tensor([[0.5, NAN]]), torch.tensor([[2.0, 1.0]])],
            {"y_0": ("regression", [0.5, 2]), "y_1": ("regression", [NAN, 1])},
        ),
    ],
)
def test_the_kind_of_a_graph_label_follows_from_dtype_and_shape(ys, expected, tmp_path):
    labels = listed(tmp_path, ring(2, y=ys[0]), ring(3, y=ys[1])).labels(GRAPH)
    assert {name: label.kind for name, label in labels.items()} == {
        name: kind for name, (kind, _) in expected.items()
    }
    for name, (_, values) in expected.items():
        assert np.array_equal(labels[name].values, np.array(values), equal_nan=True)


def test_labels_of_nodes_are_theirs_and_are_split_as_their_graphs_are(tmp_path):
    sizes = list(range(1, 11))
    graphs = [ring(size, y=torch.arange(size)) for size in sizes]
    store = listed(tmp_path, *graphs)
    assert store.labels(GRAPH) == {}
    assert store.label(NODE, "y").values.tolist() == [n for size in sizes for n in range(size)]
    parts = [set(part) for part in np.split(store.split(NODE), np.cumsum(sizes)[:-1])]
    assert sorted(len(part) for part in parts) == [1] * 10
    assert Counter(part.pop() for part in parts) == {1: 6, 2: 2, 3: 2}


def test_labels_of_edges_are_theirs(tmp_path):
    store = listed(tmp_path, ring(3, y=torch.tensor([0, 1])), ring(4, y=torch.tensor([1, 1, 0])))
    assert store.label(EDGE, "y").values.tolist() == [0, 1, 1, 1, 0]
    assert store.splits(EDGE) == ["random"]


def parts_of(splits: list[str]) -> type:
    """A class whose train, val and test are data sets of three, two and one graph."""

    class InParts(Listed):
        def __init__(self, split: str = "train") -> None:
            splits.append(split)
            first = ["train", "val", "test"].index(split)
            super().__init__([ring(2, y=10 * first + n) for n in range(3 - first)])

    return InParts


def test_train_val_and_test_are_read_one_after_the_other_as_a_split(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(datasets, "ZINC", parts_of(read))
    store = opened("ZINC", cache=tmp_path / "graph")
    assert read == ["train", "val", "test"]
    assert store.label(GRAPH, "y").values.tolist() == [0, 1, 2, 10, 11, 20]
    assert store.splits(GRAPH) == ["split", "random"]
    assert store.split(GRAPH).tolist() == [1, 1, 1, 2, 2, 3]


def test_a_part_that_is_asked_for_is_read_alone(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(datasets, "ZINC", parts_of(read))
    store = opened("ZINC", args={"split": "val"}, cache=tmp_path / "graph")
    assert (read, store.splits(GRAPH)) == (["val"], ["random"])
    assert store.label(GRAPH, "y").values.tolist() == [10, 11]


def test_the_data_set_that_is_the_same_in_every_part_is_read_once(tmp_path, monkeypatch):
    read = []

    def same(name: str, split: str = "train") -> Listed:
        read.append((name, split))
        return Listed([ring(2, y=n) for n in range(3)])

    monkeypatch.setattr(datasets, "GNNBenchmarkDataset", same)
    store = opened("GNNBenchmarkDataset", args={"name": "CSL"}, cache=tmp_path / "graph")
    assert (read, store.splits(GRAPH)) == ([("CSL", "train")], ["random"])


def test_one_node_and_no_edges_are_a_graph(tmp_path):
    store = listed(tmp_path, ring(1, y=0), ring(0, y=1), ring(3, y=0))
    assert store.members(GRAPH)[1].tolist() == [0, 1, 1, 4]
    assert edges_of(store).tolist() == [[1, 2], [2, 3]]


def test_nodes_without_features_are_counted_as_said_or_by_the_edges_and_get_the_feature_one(
    tmp_path, monkeypatch
):
    said = [Data(num_nodes=3, edge_index=torch.tensor([[0], [1]]), y=n) for n in range(2)]
    guessed = [Data(edge_index=torch.tensor([[0], [1]]), y=n) for n in range(2)]
    for name, graphs, pointer in (("said", said, [0, 3, 6]), ("guessed", guessed, [0, 2, 4])):
        store = given(monkeypatch, tmp_path / name, graphs)
        assert store.members(GRAPH)[1].tolist() == pointer
        assert store.features(NODE).tolist() == [[1]] * pointer[-1]


def test_bfloat16_is_no_category(tmp_path):
    x = torch.tensor([[1.5], [-2.0]], dtype=torch.bfloat16)
    store = listed(tmp_path, ring(2, x=x), ring(2, x=x))
    assert torch.equal(store.features(NODE), torch.cat([x, x]))


def test_what_is_not_converted_is_said_once(tmp_path, capsys):
    listed(tmp_path, *(ring(2, y=0, pos=torch.ones(2, 3), smiles="CC") for _ in range(3)))
    said = capsys.readouterr().err
    assert said.count("pos") == 1
    assert "graph: not converted: graph 0.pos (float32 [2, 3]), graph 0.smiles (str)" in said


def test_edges_both_ways_in_every_graph_are_their_own_reverse(tmp_path, monkeypatch):
    graphs = [ring(3, y=0), ring(2, y=1)]
    assert given(monkeypatch, tmp_path / "one", graphs).reverse(EDGE) is None
    both = given(monkeypatch, tmp_path / "both", graphs, undirected=True)
    assert both.reverse(EDGE) == EDGE
    assert edges_of(both).tolist() == [[1, 0, 2, 1, 4, 3], [0, 1, 1, 2, 3, 4]]


def test_no_graph_is_kept_by_the_data_set_that_was_read(monkeypatch):
    monkeypatch.setattr(_pyg_reading, "CHUNK", 3)
    dataset = Collated([ring(2, y=n) for n in range(8)])
    many = Reader("Made").read({"": dataset})
    assert many.arrays["y"].tolist() == list(range(8))
    assert dataset._data_list is None


X3, LONG = torch.ones(2, 3), torch.zeros(2, 2).long()


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (ring(2), r"graph 1: has edge_index, x; allowed: edge_index, x, y, as in graph 0"),
        (ring(2, x=X3, y=1), r"graph 1: x is float32 \[2, 3\]; allowed: float32 \[rows, 2\], as"),
        (ring(2, x=LONG, y=1), r"graph 1: x is int64 \[2, 2\]; allowed: float32 \[rows, 2\], as"),
        (ring(2, y=0.5), r"graph 1: y is float64 \[1\]; allowed: int64 \[rows\], as in graph 0"),
        (ring(2, y=torch.tensor([[0]])), r"graph 1: y is int64 \[1, 1\]; allowed: int64 \[rows\]"),
        (
            ring(4, y=torch.tensor([0, 1])),
            r"graph 1: y has 2 rows; allowed: 1, one for each graph, as in the graphs before it",
        ),
        (
            ring(2, y=1, num_nodes=5),
            r"graph 1: x has 2 rows; allowed: 5, one for each node",
        ),
        (
            ring(3, y=1, edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]])),
            r"graph 1: edge_index, column 2: \[2, 3\]; allowed: 0 to 2, its nodes \(1 such edges",
        ),
        (
            ring(3, y=1, edge_index=torch.tensor([[0, -1], [1, 2]])),
            r"graph 1: edge_index, column 1: \[-1, 2\]; allowed: 0 to 2",
        ),
        (
            ring(0, y=1, edge_index=torch.tensor([[0], [0]])),
            r"graph 1: edge_index, column 0: \[0, 0\]; allowed: no edges, as it has no nodes",
        ),
        (
            ring(2, y=1, edge_index=torch.zeros(2, 0)),
            r"graph 1: edge_index is float32 \[2, 0\]; allowed: whole numbers \[2, edges\]",
        ),
        (
            ring(2, y=1, edge_index=torch.zeros(3, 1).long()),
            r"graph 1: edge_index is int64 \[3, 1\]; allowed: whole numbers \[2, edges\]",
        ),
    ],
)
def test_a_graph_that_does_not_fit_is_refused_by_its_number(second, message, tmp_path):
    with pytest.raises(DataError, match=f"Made: {message}"):
        listed(tmp_path, ring(3, y=0), second, ring(2, y=1))


def test_a_graph_that_says_nothing_of_its_nodes_is_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"KarateClub: graph 0: has y; allowed: x, edge_index or"):
        given(monkeypatch, tmp_path / "graph", [Data(y=0), Data(y=1)])


def test_a_label_of_neither_graphs_nor_nodes_nor_edges_is_refused(tmp_path):
    with pytest.raises(
        DataError,
        match=r"graph 0: y has 5 rows; allowed: 1, one for each graph or 3, one for each node or 2",
    ):
        listed(tmp_path, *(ring(3, y=torch.zeros(5).long()) for _ in range(2)))


@pytest.mark.parametrize("wrong", [-1, 4096])
def test_a_whole_number_that_is_no_category_is_refused_by_graph_row_and_column(wrong, tmp_path):
    second = torch.tensor([[0, 1], [0, wrong]])
    with pytest.raises(
        DataError,
        match=rf"Made: graph 1: x, row 1, column 1: {wrong}; allowed: 0 to 4095, .*\(1 such in all",
    ):
        listed(tmp_path, ring(3, x=LONG[:1].repeat(3, 1), y=0), ring(2, x=second, y=1))


def test_a_mistake_in_a_part_names_the_part(tmp_path):
    parts = {"train": Listed([ring(2, y=0)] * 3), "val": Listed([ring(2, y=0), ring(2)])}
    with pytest.raises(DataError, match=r"Made: graph 1 of val: has edge_index, x; allowed"):
        written(tmp_path, **parts)


def test_a_data_set_without_graphs_is_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="KarateClub: has no graphs"):
        given(monkeypatch, tmp_path / "graph", [])


def write_tu(root: Path, num_graphs: int = 188) -> list[dict]:
    """Write molecules as MUTAG's files have them: both ways, counted from 1; return them."""
    rng, raw = np.random.default_rng(0), root / "MUTAG" / "raw"
    raw.mkdir(parents=True)
    lines: dict[str, list[str]] = {
        name: [] for name in ("A", "graph_indicator", "graph_labels", "node_labels", "edge_labels")
    }
    molecules, before = [], 0
    for number in range(num_graphs):
        size = int(rng.integers(3, 20))
        atoms = np.append(np.arange(7), rng.integers(0, 7, size))[-size if number else 0 :]
        pairs = {(a, int(rng.integers(0, a))) for a in range(1, len(atoms))}
        edges = {pair: int(rng.integers(0, 4)) for pair in pairs}
        edges |= {(b, a): kind for (a, b), kind in edges.items()}
        label = int(2 * np.count_nonzero(atoms < 3) > len(atoms))
        molecules.append({"atoms": atoms, "edges": edges, "label": label})
        lines["A"] += [f"{before + a + 1}, {before + b + 1}" for a, b in edges]
        lines["edge_labels"] += [str(kind) for kind in edges.values()]
        lines["node_labels"] += [str(atom) for atom in atoms]
        lines["graph_indicator"] += [str(number + 1)] * len(atoms)
        lines["graph_labels"].append(str(2 * label - 1))
        before += len(atoms)
    for name, rows in lines.items():
        (raw / f"MUTAG_{name}.txt").write_text("\n".join(rows) + "\n")
    return molecules


@pytest.fixture(scope="module")
def mutag(tmp_path_factory) -> tuple[GraphStore, list[dict]]:
    root = tmp_path_factory.mktemp("tu")
    molecules = write_tu(root)
    return opened("TUDataset", args={"name": "MUTAG"}, root=root), molecules


def test_every_molecule_of_text_files_is_in_the_folder(mutag):
    store, molecules = mutag
    assert store.name == "TUDataset-MUTAG"
    pointer, x = store.members(GRAPH)[1], store.features(NODE).numpy()
    edges, kinds = edges_of(store), store.edge_features(EDGE).numpy()
    assert (x.shape[1], kinds.shape[1]) == (7, 4)
    assert store.reverse(EDGE) == EDGE
    assert store.label(GRAPH, "y").values.tolist() == [m["label"] for m in molecules]
    for number, molecule in enumerate(molecules):
        first, last = pointer[number : number + 2]
        assert np.array_equal(x[first:last], np.eye(7)[molecule["atoms"]])
        mine = (edges[1] >= first) & (edges[1] < last)
        found = {
            (int(a), int(b)): int(kind)
            for a, b, kind in zip(*(edges[:, mine] - first), kinds[mine].argmax(1), strict=True)
        }
        assert found == molecule["edges"]
    assert len(edges[0]) == sum(len(molecule["edges"]) for molecule in molecules)


def test_molecules_of_text_files_are_learned(mutag):
    store, _ = mutag
    tasks = {"y": Task.read({"type": "graph_classification", "label": "y"}).bind("y", store)}
    loader = Loader(num_neighbors=(-1, -1), batch_size=32)
    encoder = Encoder.read({"type": "gin", "num_layers": 2, "dropout": 0.0})
    torch.manual_seed(0)
    model = build_model(
        Model(encoder=encoder, sharing=Sharing.read({"type": "hard"}), dim=16), store, tasks
    )
    stream = build_stream(loader, store, tasks, edge_features=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _, microbatches in stream.steps(0, 40 * stream.order.steps_per_epoch):
        for batch in microbatches:
            task_losses(model(batch), batch, tasks).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    test = build_stream(loader, store, tasks, split="test", edge_features=True)
    rights = []
    for batch in test.microbatches(range(test.order.steps_per_epoch)):
        rights += (model(batch)["y"].argmax(1) == batch.target["y"]).tolist()
    assert len(rights) == np.count_nonzero(store.split(GRAPH) == 3)
    assert np.mean(rights) > 0.85
