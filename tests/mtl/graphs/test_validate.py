"""A graph folder that is wrong is refused with a DataError that names the place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.errors import DataError
from mtl.graphs import _id_checks, _npy
from mtl.graphs.validate import validate
from mtl.graphs.writer import GraphWriter

Edit = Callable[[Path, Callable[[Any], object]], None]
Reseal = Callable[[Path, str, np.ndarray], None]


def user(graph: Any) -> Any:
    return graph["nodes"]["user"]


def topic(graph: Any) -> Any:
    return user(graph)["labels"]["topic"]


def buys(graph: Any) -> Any:
    return graph["edges"][0]


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("edge.user.knows.user.colptr", 0, 1, "row 0: 1; allowed: 0 in the first row, 3 in the"),
        ("edge.user.knows.user.colptr", 5, 9, "row 5: 9; allowed: 0 in the first row, 3 in the"),
        ("edge.user.knows.user.colptr", 2, 0, "row 2: 0; allowed: 0 in the first row, 3 in the"),
        ("edge.user.buys.item.row", 4, 5, "row 4: 5; allowed: 0 to 4 (source nodes)"),
        ("edge.user.buys.item.row", 0, -1, "row 0: -1; allowed: 0 to 4 (source nodes)"),
        ("edge.user.buys.item.row", 0, 4, "row 1: 1; allowed: 0 to 4 (source nodes), ascending"),
        ("edge.user.buys.item.weight", 1, -0.5, "row 1: -0.5; allowed: finite numbers of at"),
        ("edge.user.buys.item.weight", 1, np.nan, "row 1: nan; allowed: finite numbers of at"),
        ("edge.user.buys.item.time", 3, -(2**63), "row 3: -9223372036854775808; allowed: whole"),
        ("edge.user.buys.item.features", (5, 1), np.inf, "row 5, column 1: inf; allowed: finite"),
        ("edge.user.buys.item.label.returned", 0, 2, "row 0: 2; allowed: 0 to 1, or -1"),
        ("edge.user.buys.item.label.stars", (3, 0), 2, "row 3, column 0: 2; allowed: 0 to 1, or"),
        ("edge.user.buys.item.label.price", 2, -np.inf, "row 2: -inf; allowed: finite numbers"),
        ("edge.user.buys.item.split.time", 0, 4, "row 0: 4; allowed: 0 none, 1 train"),
        ("node.user.features", (2, 1), np.nan, "row 2, column 1: nan; allowed: finite"),
        ("node.item.features", (2, 0), np.inf, "row 2, column 0: inf; allowed: finite"),
        ("node.shop.features", (1, 0), 0xFF80, "row 1, column 0: -inf; allowed: finite"),
        ("node.shop.features", (0, 0), 0x7FC0, "row 0, column 0: nan; allowed: finite"),
        ("node.user.time", 4, -(2**63), "row 4: -9223372036854775808; allowed: whole numbers ab"),
        ("node.user.label.topic", 4, 3, "row 4: 3; allowed: 0 to 2, or -1"),
        ("node.user.label.topic", 4, -2, "row 4: -2; allowed: 0 to 2, or -1"),
        ("node.user.split.first", 0, 4, "row 0: 4; allowed: 0 none, 1 train"),
        ("node.item.ids", 2, -7, "row 2: -7, as in row 1; allowed: ids that are all different"),
        ("node.user.ids", slice(3, 6), [97, 110, 110], "row 1: 'ann', as in row 0; allowed: ids"),
        ("node.user.ids", 1, 0xFF, "row 0: b'a\\xffn'; allowed: UTF-8"),
        ("node.user.ids.offsets", 1, 12, "row 2: 6; allowed: 0 in the first row, 16 in the last"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_a_wrong_value_is_named(
    full: Path,
    reseal: Reseal,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    place: Any,
    value: Any,
    message: str,
    chunk_bytes: int,
) -> None:
    monkeypatch.setattr(_npy, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(_id_checks, "CHUNK_BYTES", chunk_bytes)
    file = f"{name}.npy"
    array = np.load(full / file)
    array[place] = value
    reseal(full, file, array)
    with pytest.raises(DataError) as caught:
        validate(full)
    assert f"{full / file}: {message}" in str(caught.value)


def test_ids_cut_inside_a_character_are_named(full: Path, reseal: Reseal) -> None:
    array = np.load(full / "node.user.ids.offsets.npy")
    array[4] = 9
    reseal(full, "node.user.ids.offsets.npy", array)
    with pytest.raises(DataError) as caught:
        validate(full)
    message = r"row 3: b'zo\xc3'; allowed: UTF-8 (and 1 more)"
    assert f"{full / 'node.user.ids.npy'}: {message}" in str(caught.value)


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_wrong_rows_are_counted(
    full: Path, reseal: Reseal, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(_npy, "CHUNK_BYTES", chunk_bytes)
    array = np.load(full / "node.user.features.npy")
    array[[1, 2, 4]] = np.nan
    reseal(full, "node.user.features.npy", array)
    with pytest.raises(DataError, match=r"row 1, column 0: nan; allowed: finite .* \(and 2 more\)"):
        validate(full)


def test_ids_of_the_same_letters_have_different_keys() -> None:
    """Each two ids of the same key are compared one by one: correct, but slow."""
    words = ["ab", "ba", "a", "b", "aa", "", "\0", "\0\0", "user_12", "user_21"]
    data = np.frombuffer("".join(words).encode(), np.uint8)
    starts = np.cumsum([0, *map(len, words)])
    assert len(set(_id_checks._hashes(data, starts).tolist())) == len(words)


@settings(max_examples=50, deadline=None)
@given(words=st.lists(st.text(max_size=3), max_size=30))
def test_ids_are_all_different_or_refused(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    writer = GraphWriter(tmp_path_factory.mktemp("ids"), name="ids")
    writer.add_nodes("node", len(words), ids=words)
    more = len(words) - len(set(words)) - 1
    if more < 0:
        writer.finish()
        return
    row = next(row for row, word in enumerate(words) if word in words[:row])
    with pytest.raises(DataError) as caught:
        writer.finish()
    assert f"row {row}: {words[row]!r}, as in row {words.index(words[row])}" in str(caught.value)
    assert (f"(and {more} more)" in str(caught.value)) == (more > 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.update(version=2), "version 2 is newer than 1, the newest that this program"),
        (lambda g: g.pop("version"), "version: None; allowed: 1"),
        (lambda g: g.update(version=True), "version: True; allowed: 1"),
        (lambda g: g.update(version=0), "version: "),
        (lambda g: g.update(nodez={}), "nodez: unknown key; did you mean 'nodes'?"),
        (lambda g: g.pop("name"), "name: required, but missing"),
        (lambda g: g.update(nodes={}, edges=[]), "nodes: a graph has at least one node type"),
        (lambda g: user(g).update(num_nodes=7), "nodes.user.features.shape: [5, 2]"),
        (lambda g: user(g).update(num_nodes=-1), "nodes.user.num_nodes: "),
        (lambda g: user(g)["time"].update(dtype="int32"), "nodes.user.time.dtype: int32; allowed"),
        (lambda g: user(g)["features"].update(shape=[5]), "nodes.user.features.shape: [5]; the"),
        (lambda g: user(g)["features"].update(dtype="int32"), "features.dtype: int32; allowed: f"),
        (lambda g: user(g)["features"].update(file="../other.npy"), "no such file"),
        (lambda g: user(g)["features"].update(file="graph.json"), "not a .npy file"),
        (lambda g: user(g)["features"].update(dtype="float16"), "its header is"),
        (lambda g: user(g)["ids"].update(kind="int"), "ids.offsets: ids of kind int have no off"),
        (lambda g: user(g)["ids"].update(offsets=None), "ids of kind string need offsets"),
        (lambda g: topic(g).update(missing="nan"), "topic.missing: 'nan'; a class label has -1"),
        (lambda g: topic(g).update(num_classes=4), "topic.classes: 3 names; num_classes is 4"),
        (lambda g: topic(g).update(classes=["a", "b", "a"]), "topic.classes: 'a' stands twice"),
        (lambda g: buys(g).update(num_edges=4), "edges.0.row.shape: [6]"),
        (lambda g: buys(g).update(edge_type=["a", "b", "item"]), "no node type 'a'"),
        (lambda g: buys(g).update(reverse=["a", "b", "c"]), "edges.0.reverse: no edge type a__b__"),
        (
            lambda g: buys(g).update(reverse=["user", "knows", "user"]),
            "edges.0.reverse: user__knows__user does not lead from 'item' back",
        ),
        (
            lambda g: g["edges"][1].update(num_edges=5),
            "edges.0.reverse: item__bought_by__user has 5 edges; this has 6",
        ),
        (
            lambda g: g["edges"][1].update(reverse=["user", "other", "item"]),
            "edges.0.reverse: the reverse of item__bought_by__user is user__other__item, not this",
        ),
        (
            lambda g: buys(g)["labels"]["price"].update(classes=["a"]),
            "edges.0.labels.price.classes: a regression has none",
        ),
        (
            lambda g: buys(g)["labels"]["price"].update(num_classes=2),
            "edges.0.labels.price.num_classes: 2; a regression has 1",
        ),
        (lambda g: buys(g)["weight"].update(dtype="int64"), "edges.0.weight.dtype: int64; allow"),
        (lambda g: buys(g)["row"].update(dtype="int64"), "edges.0.row.dtype: int64; allowed: int3"),
        (lambda g: g["edges"].append(g["edges"][0]), "stands twice"),
    ],
)
def test_a_wrong_graph_json_is_named(
    full: Path, edit: Edit, change: Callable[[Any], object], message: str
) -> None:
    edit(full, change)
    with pytest.raises(DataError) as caught:
        validate(full)
    assert message in str(caught.value)


def test_a_file_that_is_missing_short_or_changed_is_named(small: Path) -> None:
    path = small / "node.user.features.npy"
    content = path.read_bytes()
    for bad, message in (
        (content[:-1], f"{len(content) - 1} bytes"),
        (content + b"x", f"{len(content) + 1} bytes"),
        (b"", "not a .npy file"),
        (content[:-1] + b"\x00", "SHA-256 is"),
    ):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=message):
            validate(small)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        validate(small)


def test_a_folder_without_graph_json_or_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"graph\.json: No such file"):
        validate(tmp_path / "nowhere")
    (tmp_path / "graph.json").write_text("[1, 2")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        validate(tmp_path)


def test_a_link_that_leads_outside_the_folder_is_refused(small: Path) -> None:
    path = small / "node.user.features.npy"
    outside = path.rename(small.parent / "outside.npy")
    path.symlink_to(outside)
    with pytest.raises(DataError, match="outside the graph folder"):
        validate(small)


def test_a_pickle_in_the_place_of_an_array_is_refused(small: Path, reseal: Reseal) -> None:
    reseal(small, "node.user.split.first.npy", np.array([{}] * 6, dtype=object))
    with pytest.raises(DataError, match="its header is"):
        validate(small)


def test_a_key_that_stands_twice_is_refused(small: Path) -> None:
    path = small / "graph.json"
    path.write_text(path.read_text().replace("{", '{"name": "other", ', 1))
    with pytest.raises(DataError, match="the key 'name' stands twice"):
        validate(small)


def test_a_reverse_that_holds_other_edges_is_refused(full: Path, reseal: Reseal) -> None:
    """The same number is not enough: it says what is left out of the message graph."""
    array = np.load(full / "edge.item.bought_by.user.row.npy")
    array[0] = 1
    reseal(full, "edge.item.bought_by.user.row.npy", array)
    with pytest.raises(DataError, match=r"edges\.0\.reverse: item__bought_by__user; allowed: what"):
        validate(full)
