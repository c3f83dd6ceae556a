"""OGB's readers and our conversion, on small files in OGB's format (its own take gigabytes)."""

import gzip
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from mtl.errors import ConfigError
from mtl.graphs.cache import open_graph
from mtl.graphs.ogb import Ogb

ARXIV = {
    "RELEASE_v1.txt": "",
    "raw/edge.csv": "0,1\n0,2\n3,0\n",
    "raw/num-node-list.csv": "4\n",
    "raw/num-edge-list.csv": "3\n",
    "raw/node-feat.csv": "0.5,1\n0.25,2\n0.125,3\n0,4\n",
    "raw/node-label.csv": "3\n0\n1\n0\n",
    "raw/node_year.csv": "2013\n2015\n2018\n2020\n",
    "split/time/train.csv": "0\n1\n",
    "split/time/valid.csv": "2\n",
    "split/time/test.csv": "3\n",
}
WRITES, CITES = ("author", "writes", "paper"), ("paper", "cites", "paper")
MAG = {
    "RELEASE_v2.txt": "",
    "raw/num-node-dict.csv": "author,paper\n2,3\n",
    "raw/triplet-type-list.csv": "author,writes,paper\npaper,cites,paper\n",
    "raw/relations/author___writes___paper/edge.csv": "0,0\n1,2\n1,1\n",
    "raw/relations/author___writes___paper/num-edge-list.csv": "3\n",
    "raw/relations/author___writes___paper/edge_reltype.csv": "0\n0\n0\n",
    "raw/relations/paper___cites___paper/edge.csv": "2,0\n",
    "raw/relations/paper___cites___paper/num-edge-list.csv": "1\n",
    "raw/relations/paper___cites___paper/edge_reltype.csv": "1\n",
    "raw/node-feat/paper/node-feat.csv": "0.5,1\n0.25,2\n0.125,3\n",
    "raw/node-feat/paper/node_year.csv": "2013\n2018\n2020\n",
    "raw/nodetype-has-label.csv": "author,paper\nFalse,True\n",
    "raw/node-label/paper/node-label.csv": "7\n0\n2\n",
    "split/time/nodetype-has-split.csv": "author,paper\nFalse,True\n",
    "split/time/paper/train.csv": "0\n",
    "split/time/paper/valid.csv": "1\n",
    "split/time/paper/test.csv": "2\n",
}


def place(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / (f"{name}.gz" if name.endswith(".csv") else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".csv") else text.encode())


def test_a_missing_package_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ogb", None)
    with pytest.raises(ConfigError, match=r'pip install "graphmtl\[ogb\]"'):
        Ogb(name="ogbn-arxiv", root=tmp_path, trust=True)


def test_nothing_is_read_without_trust(tmp_path):
    with pytest.raises(ConfigError, match="needs `trust: true`, because ogb unpickles"):
        Ogb(name="ogbn-arxiv", root=tmp_path)


def test_a_homogeneous_graph_keeps_features_labels_years_and_split(tmp_path):
    pytest.importorskip("ogb", reason="ogb is not installed")
    place(tmp_path / "ogbn_arxiv", ARXIV)
    for _ in range(2):  # from the raw files, then from what ogb made of them
        store = open_graph(Ogb(name="ogbn-arxiv", root=tmp_path, trust=True))
    assert store.features("node").tolist() == [[0.5, 1], [0.25, 2], [0.125, 3], [0, 4]]
    assert store.label("node", "y").values.tolist() == [3, 0, 1, 0]
    assert store.time("node").tolist() == [2013, 2015, 2018, 2020]
    assert store.split("node").tolist() == [1, 1, 2, 3]
    colptr, row = store.csc(("node", "to", "node"))
    assert (colptr.tolist(), row.tolist()) == ([0, 1, 2, 3, 3], [3, 0, 0])


def test_missing_classes_stay_missing(tmp_path):
    pytest.importorskip("ogb", reason="ogb is not installed")
    place(tmp_path / "ogbn_arxiv", ARXIV | {"raw/node-label.csv": "3\nnan\n1\n0\n"})
    store = open_graph(Ogb(name="ogbn-arxiv", root=tmp_path, trust=True))
    label = store.label("node", "y")
    assert (label.kind, label.values.tolist()) == ("class", [3, -1, 1, 0])


def test_a_heterogeneous_graph_keeps_its_types(tmp_path, capsys):
    pytest.importorskip("ogb", reason="ogb is not installed")
    place(tmp_path / "ogbn_mag", MAG)
    options = {"name": "ogbn-mag", "root": tmp_path, "trust": True}
    store = open_graph(Ogb(**options))
    assert (store.node_types, store.edge_types) == (["author", "paper"], [WRITES, CITES])
    assert store.label("paper", "y").values.tolist() == [7, 0, 2]
    assert store.split("paper").tolist() == [1, 2, 3]
    assert store.time("paper").tolist() == [2013, 2018, 2020]
    assert (store.num_nodes("author"), store.features("author")) == (2, None)
    assert [part.tolist() for part in store.csc(WRITES)] == [[0, 1, 2, 3], [0, 1, 1]]
    assert "author__writes__paper.edge_reltype (int64 [3, 1])" in capsys.readouterr().err
    both = open_graph(Ogb(**options, undirected=True))
    assert both.reverse(WRITES) == ("paper", "rev_writes", "author")
    assert np.diff(both.csc(CITES)[0]).tolist() == [1, 0, 1]


def test_a_question_of_ogb_that_nobody_answers_is_explained(tmp_path, monkeypatch):
    pytest.importorskip("ogb", reason="ogb is not installed")
    place(tmp_path / "ogbn_arxiv", {"RELEASE_v0.txt": ""})
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ConfigError, match=r"graph\.root: ogb asks before .* `echo y \|` before"):
        open_graph(Ogb(name="ogbn-arxiv", root=tmp_path, trust=True))
