"""Whatever is done to a graph folder: a DataError names it, or everything of it can be used."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl.errors import DataError
from mtl.graphs.schema import (
    ArrayInfo,
    EdgeInfo,
    GraphInfo,
    IdsInfo,
    LabelInfo,
    NodeInfo,
    read_schema,
)
from mtl.graphs.store import GraphStore
from mtl.graphs.validate import validate
from mtl.loaders.samplers.numba import NumbaSampler

Edit = Callable[[Path, Callable[[Any], object]], None]
Reseal = Callable[[Path, str, np.ndarray], None]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


MUTATION = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def use(folder: Path) -> None:
    """Read everything of an accepted folder, and sample from it: nothing may go wrong any more."""
    store = GraphStore(folder)
    assert json.dumps(store.card())
    for node_type in store.node_types:
        nodes = np.arange(min(store.num_nodes(node_type), 10))
        if (ids := store.ids(node_type)) is not None:
            assert ids.rows(ids.of(nodes)).tolist() == nodes.tolist()
    for collection in store.collections:
        node_type, pointer = store.members(collection)
        assert pointer[0] == 0
        assert pointer[-1] == store.num_nodes(node_type)
    for owner in (*store.node_types, *store.edge_types, *store.collections):
        for label in store.labels(owner).values():
            label.labelled(np.arange(len(label.values)))
        for split in store.splits(owner):
            store.split(owner, split).max(initial=0)
    topology = store.topology()
    seeds = {name: np.arange(min(store.num_nodes(name), 10)) for name in store.node_types}
    for weighted in {False, any(edge.weight is not None for edge in topology.edges.values())}:
        sampler = NumbaSampler(topology, [-1, 1], weighted=weighted)
        output = sampler.sample(seeds, key=0)
        for node_type, nodes in output.node.items():
            if (features := store.features(node_type)) is not None:
                assert len(features[nodes]) == len(nodes)
        for edge_type, edges in output.edge.items():
            if (features := store.edge_features(edge_type)) is not None:
                assert len(features[edges]) == len(edges)


def mutated(full: Path) -> Path:
    shutil.rmtree(full.parent / "copy", ignore_errors=True)
    return shutil.copytree(full, full.parent / "copy")


def stem(name: str) -> str:
    """Return what the names of files that must agree begin with: ids and their offsets."""
    return name.removesuffix(".npy").removesuffix(".offsets")


@pytest.fixture
def names(full: Path) -> list[str]:
    """Every array of a folder with everything."""
    return sorted(path.name for path in full.glob("*.npy"))


def test_the_folder_with_everything_has_every_field_and_is_accepted(full: Path) -> None:
    def fields_of(info: Any) -> Iterator[str]:
        for field in fields(info):
            value = getattr(info, field.name)
            if value not in (None, {}, ()):
                yield f"{type(info).__name__}.{field.name}"
            inner = value.values() if isinstance(value, dict) else value
            for item in inner if isinstance(value, dict | list | tuple) else [value]:
                if is_dataclass(item):
                    yield from fields_of(item)

    kinds = (GraphInfo, NodeInfo, EdgeInfo, LabelInfo, IdsInfo, ArrayInfo)
    every = {f"{kind.__name__}.{field.name}" for kind in kinds for field in fields(kind)}
    of_graphs = ("num_graphs", "node_type", "graph_ptr", "labels", "splits")  # no more is allowed
    every |= {f"CollectionInfo.{name}" for name in of_graphs}
    assert set(fields_of(validate(full))) == every
    use(full)


@MUTATION
@given(data=st.data())
def test_any_changed_byte_is_refused(full: Path, names: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names))
    whole = (full / name).read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))])
    (full / name).write_bytes(changed + whole[place + 1 :])
    try:
        with pytest.raises(DataError, match=re.escape(name)):
            validate(full)
    finally:
        (full / name).write_bytes(whole)


@MUTATION
@given(data=st.data())
def test_any_other_file_in_its_place_is_refused(
    full: Path, names: list[str], data: st.DataObject
) -> None:
    copy = mutated(full)
    path = copy / data.draw(st.sampled_from(names))
    whole = path.read_bytes()
    path.unlink()
    match data.draw(st.sampled_from(["cut", "longer", "none", "folder", "pipe", "link", "loop"])):
        case "cut":
            path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        case "longer":
            path.write_bytes(whole + data.draw(st.binary(min_size=1, max_size=9)))
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(full / path.name)
        case "loop":
            path.symlink_to(path)
    for check in (validate, GraphStore):
        with pytest.raises(DataError, match=re.escape(path.name)):
            check(copy)


@MUTATION
@given(data=st.data())
def test_any_array_is_valid_or_named(
    full: Path, names: list[str], reseal: Reseal, data: st.DataObject
) -> None:
    copy = mutated(full)
    name = data.draw(st.sampled_from(names))
    array = np.load(copy / name)
    raw = data.draw(st.binary(min_size=array.nbytes, max_size=array.nbytes))
    few = data.draw(st.integers(0, array.nbytes))  # the rest stays as it is
    raw = raw[:few] + array.tobytes()[few:]
    reseal(copy, name, np.frombuffer(raw, array.dtype).reshape(array.shape))
    try:
        validate(copy)
    except DataError as error:
        assert stem(name) in str(error) or "reverse" in str(error)  # noqa: PT017
    else:
        use(copy)


@MUTATION
@given(data=st.data())
def test_any_dtype_and_length_of_an_array_is_refused_but_those_of_features(
    full: Path, names: list[str], reseal: Reseal, data: st.DataObject
) -> None:
    copy = mutated(full)
    name = data.draw(st.sampled_from(names))
    array = np.load(copy / name)
    dtypes = st.sampled_from(["<f4", "<f2", "<i8", "<i4", "i1", "u1", ">i4"])
    other = np.nan_to_num(array).astype(data.draw(dtypes))
    length = data.draw(st.integers(0, len(other) + 2))
    other = np.resize(other, (length, *other.shape[1:]))
    if (other.dtype, other.shape) == (array.dtype, array.shape):
        return
    reseal(copy, name, other)
    if data.draw(st.booleans()):  # graph.json knows it, too
        text = (copy / "graph.json").read_text()
        infos = {info.file: info for info in read_schema(copy).arrays()}
        content = json.loads(text, object_hook=lambda item: known(item, infos[name], other))
        (copy / "graph.json").write_text(json.dumps(content))
    try:
        validate(copy)
    except DataError as error:
        assert "graph.json" in str(error) or stem(name) in str(error)  # noqa: PT017
    else:
        assert "features" in name  # which may be of several dtypes
        use(copy)


def known(item: dict[str, Any], info: ArrayInfo, array: np.ndarray) -> dict[str, Any]:
    """Return an array's entry as a faulty converter would have written it."""
    if item.get("file") != info.file:
        return item
    return {**item, "dtype": array.dtype.name, "shape": list(array.shape)}


@settings(MUTATION, max_examples=150)
@given(data=st.data(), value=JSON)
def test_any_graph_json_is_valid_or_named(
    full: Path, edit: Edit, data: st.DataObject, value: Any
) -> None:
    copy = mutated(full)

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
        use(copy)


@MUTATION
@given(content=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_as_graph_json_are_refused(small: Path, content: bytes) -> None:
    (small / "graph.json").write_bytes(content)
    with pytest.raises(DataError, match=r"graph\.json"):
        validate(small)
