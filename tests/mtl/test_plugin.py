"""`type: x` is the module x of a package; mistakes are explained by their path."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from mtl.balancing import Balancing
from mtl.graphs import Source
from mtl.graphs.planetoid import Planetoid
from mtl.models.encoders import Encoder
from mtl.models.encoders.gat import Gat
from mtl.models.sharing import Sharing
from mtl.plugin import Options, Plugin, dump, explain, nearest
from mtl.tasks import Task

PACKAGES = [Balancing, Encoder, Sharing, Source, Task]
TYPES = [(package, name) for package in PACKAGES for name in package.types()]


@dataclass(frozen=True, kw_only=True)
class Inner(Options):
    size: int
    encoder: Encoder


@dataclass(frozen=True, kw_only=True)
class Outer(Options):
    inner: Inner
    many: dict[str, Encoder]
    pair: tuple[int, ...] = ()
    path: Path | None = None


def read(tree: object) -> Outer:
    return TypeAdapter(Outer).validate_json(json.dumps(tree))


def mistakes(tree: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        read(tree)
    return explain(caught.value, Outer)


@pytest.mark.parametrize(("package", "name"), TYPES)
def test_every_type_names_one_class_of_its_module(package, name):
    kind = package.named(name)
    assert issubclass(kind, package)
    assert kind.__module__ == f"{package.__module__}.{name}"
    assert kind.__name__.lower() == name.replace("_", "")
    assert kind.__doc__


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_type_is_refused_with_all_that_there_are(package):
    assert package.types() == sorted(package.types())
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(package).validate_python({"type": "nonesuch"})
    (message,) = explain(caught.value, package)
    assert message.endswith(f"(allowed: {', '.join(package.types())})")


def test_the_type_decides_the_class_and_is_written_again():
    encoder = Encoder.read({"type": "gat", "num_heads": 2})
    assert encoder == Gat(num_heads=2)
    assert (encoder.type, dump(encoder)["type"], dump(encoder)["num_heads"]) == ("gat", "gat", 2)
    assert Encoder.read(encoder) is encoder


def test_what_is_dumped_is_read_back():
    encoder = {"type": "gcn", "num_layers": 3}
    inner, many = {"size": 1, "encoder": encoder}, {"a": encoder}
    outer = read({"inner": inner, "many": many, "pair": [1, 2], "path": "/x"})
    assert (outer.pair, outer.path) == ((1, 2), Path("/x"))
    assert read(dump(outer)) == outer
    assert dump(Planetoid(root=Path("/y")))["root"] == "/y"


def test_every_mistake_is_told_by_its_whole_path():
    inner = {"sizes": 1, "encoder": {"type": "gat", "num_head": 2, "dropout": "x"}}
    lines = mistakes({"inner": inner, "many": {"a": {"type": "gatt"}, "b": 3, "c": {}}, "pair": 1})
    told = dict(line.split(": ", 1) for line in lines)
    assert set(told) == {
        "inner.size", "inner.sizes", "inner.encoder.num_head", "inner.encoder.dropout",
        "many.a", "many.b", "many.c", "pair",
    }  # fmt: skip
    assert told["inner.size"] == "required, but missing"
    assert "did you mean 'size'? (allowed: size, encoder)" in told["inner.sizes"]
    assert "did you mean 'num_heads'?" in told["inner.encoder.num_head"]
    assert "found 'x'" in told["inner.encoder.dropout"]
    assert "unknown type 'gatt'; did you mean 'gat'?" in told["many.a"]
    assert "expected a mapping with a `type`, found 3" in told["many.b"]
    assert told["many.c"].startswith("`type` is missing (allowed: gat,")


@pytest.mark.parametrize("wrong", ["1", 1.0, True, None, [1]])
def test_a_value_of_another_type_is_never_converted(wrong):
    (message,) = mistakes({"inner": {"size": wrong, "encoder": {"type": "gcn"}}, "many": {}})
    assert message.startswith("inner.size: ")
    assert message.endswith(f"found {wrong!r}")


def test_nearest_is_silent_where_nothing_is_near():
    assert nearest("num_layer", ["num_layers", "norm"]) == "; did you mean 'num_layers'?"
    assert nearest("xyz", ["num_layers"]) == nearest(None, []) == ""


def test_options_are_frozen_and_named():
    with pytest.raises(AttributeError):
        Gat().num_heads = 2
    with pytest.raises(TypeError):
        Gat(2)
    assert issubclass(Gat, Plugin)
