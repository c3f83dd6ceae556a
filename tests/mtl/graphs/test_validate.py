"""A graph folder that is wrong in any way is refused with a DataError that names the place."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl.errors import DataError
from mtl.graphs import validate as validation
from mtl.graphs.store import GraphStore
from mtl.graphs.validate import validate

FILES = [
    "edge.user.knows.user.colptr.npy",
    "edge.user.likes.item.row.npy",
    "node.item.features.npy",
    "node.user.features.npy",
    "node.user.label.tags.npy",
    "node.user.label.topic.npy",
    "node.user.label.value.npy",
    "node.user.split.first.npy",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change graph.json."""
    path = folder / "graph.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def reseal(folder: Path, name: str, array: np.ndarray) -> None:
    """Replace an array and its SHA-256, as a faulty converter would."""
    old = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    np.save(folder / name, array)
    new = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    text = (folder / "graph.json").read_text()
    (folder / "graph.json").write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("edge.user.knows.user.colptr.npy", 0, 1, "row 0: 1; allowed: 0"),
        ("edge.user.knows.user.colptr.npy", 6, 9, "row 6: 9; allowed: 4"),
        ("edge.user.knows.user.colptr.npy", 3, 0, "row 3: 0; allowed: at least 2"),
        ("edge.user.likes.item.row.npy", 4, 6, "row 4: 6; allowed: 0 to 5"),
        ("edge.user.likes.item.row.npy", 1, -1, "row 1: -1; allowed: 0 to 5"),
        ("node.user.features.npy", (2, 1), np.nan, "row 2, column 1: nan; allowed: finite"),
        ("node.item.features.npy", (1, 0), 0xFF80, "row 1, column 0: -inf; allowed: finite"),
        ("node.item.features.npy", (2, 0), 0x7FC0, "row 2, column 0: nan; allowed: finite"),
        ("node.user.label.topic.npy", 5, 3, "row 5: 3; allowed: 0 to 2, or -1"),
        ("node.user.label.topic.npy", 5, -2, "row 5: -2; allowed: 0 to 2, or -1"),
        ("node.user.label.tags.npy", (3, 1), 2, "row 3, column 1: 2; allowed: 0 to 1, or -1"),
        ("node.user.label.value.npy", 4, np.inf, "row 4: inf; allowed: finite numbers and NaN"),
        ("node.user.split.first.npy", 0, 4, "row 0: 4; allowed: 0 none, 1 train"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_a_wrong_value_is_named(
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    place: Any,
    value: float,
    message: str,
    chunk_bytes: int,
) -> None:
    monkeypatch.setattr(validation, "CHUNK_BYTES", chunk_bytes)
    array = np.load(small / name)
    array[place] = value
    reseal(small, name, array)
    with pytest.raises(DataError) as caught:
        validate(small)
    assert f"{small / name}: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.update(version=2), "version 2 is newer than 1"),
        (lambda g: g.update(nodez={}), "nodez: unknown key; did you mean 'nodes'?"),
        (lambda g: g.pop("name"), "name: required, but missing"),
        (lambda g: g["nodes"]["user"].update(num_nodes=7), "nodes.user.features.shape: [6, 3]"),
        (lambda g: g["nodes"]["user"].update(num_nodes=-1), "nodes.user.num_nodes: "),
        (lambda g: g["edges"][0].update(num_edges=4), "edges.0.row.shape: [5]"),
        (lambda g: g["edges"][0].update(edge_type=["a", "b", "item"]), "no node type 'a'"),
        (lambda g: g["edges"].append(g["edges"][0]), "stands twice"),
        (
            lambda g: g["nodes"]["user"]["labels"]["value"].update(num_classes=2),
            "nodes.user.labels.value.num_classes: 2; a regression has 1",
        ),
        (
            lambda g: g["nodes"]["user"]["labels"]["topic"].update(missing="nan"),
            "nodes.user.labels.topic.missing: 'nan'; a class label has -1",
        ),
        (
            lambda g: g["nodes"]["user"]["features"].update(dtype="int32"),
            "nodes.user.features.dtype: int32; allowed: float32, float16, bfloat16",
        ),
        (
            lambda g: g["nodes"]["user"]["features"].update(file="../other.npy"),
            "no such file",
        ),
        (
            lambda g: g["nodes"]["user"]["features"].update(dtype="float16"),
            "its header is",
        ),
    ],
)
def test_a_wrong_graph_json_is_named(
    small: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(small, change)
    with pytest.raises(DataError) as caught:
        validate(small)
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
    with pytest.raises(DataError, match="not a JSON mapping"):
        validate(tmp_path)


def test_a_link_that_leads_outside_the_folder_is_refused(small: Path) -> None:
    path = small / "node.user.features.npy"
    outside = path.rename(small.parent / "outside.npy")
    path.symlink_to(outside)
    with pytest.raises(DataError, match="outside the graph folder"):
        validate(small)


def test_a_pickle_in_the_place_of_an_array_is_refused(small: Path) -> None:
    reseal(small, "node.user.split.first.npy", np.array([{}] * 6, dtype=object))
    with pytest.raises(DataError, match="its header is"):
        validate(small)


MUTATION = settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@MUTATION
@given(data=st.data(), name=st.sampled_from(FILES))
def test_any_changed_byte_is_refused(small: Path, data: st.DataObject, name: str) -> None:
    whole = (small / name).read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))])
    (small / name).write_bytes(changed + whole[place + 1 :])
    try:
        with pytest.raises(DataError, match=name):
            validate(small)
    finally:
        (small / name).write_bytes(whole)


@MUTATION
@given(data=st.data(), name=st.sampled_from(FILES))
def test_any_array_is_valid_or_named(small: Path, data: st.DataObject, name: str) -> None:
    copy = shutil.copytree(small, small.parent / "copy", dirs_exist_ok=True)
    array = np.load(copy / name)
    raw = data.draw(st.binary(min_size=array.nbytes, max_size=array.nbytes))
    reseal(copy, name, np.frombuffer(raw, array.dtype).reshape(array.shape))
    try:
        validate(copy)
    except DataError as error:
        assert name in str(error)  # noqa: PT017
    else:
        assert GraphStore(copy).data().num_nodes == 9


@MUTATION
@given(data=st.data(), value=JSON)
def test_any_graph_json_is_valid_or_named(small: Path, data: st.DataObject, value: Any) -> None:
    copy = shutil.copytree(small, small.parent / "copy", dirs_exist_ok=True)

    def change(content: Any) -> None:
        while True:
            keys = list(content) if isinstance(content, dict) else range(len(content))
            key = data.draw(st.sampled_from(keys))
            if not content[key] or not isinstance(content[key], dict | list):
                break
            if data.draw(st.integers(0, 3)) == 0:
                break
            content = content[key]
        content[key] = value

    edit(copy, change)
    try:
        validate(copy)
    except DataError as error:
        assert "graph.json" in str(error) or ".npy" in str(error)  # noqa: PT017
    else:
        assert GraphStore(copy).card()
