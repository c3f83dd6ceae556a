"""What decides the content of a graph decides its fingerprint: the code of every source, too."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtl import graphs
from mtl.graphs import Source
from mtl.graphs.synthetic import Synthetic

FOLDER = Path(graphs.__file__).parent
FRAME = {
    *("mtl.graphs", "mtl.graphs.schema", "mtl.graphs.writer"),
    *("mtl.graphs._download", "mtl.graphs._memory", "mtl.graphs._report"),
}
"""What a source may use that has no say in what it writes."""
BY_THEMSELVES = {"folder", "tables"}
"""Sources that write nothing, or have a fingerprint of their own."""


def imports_of(name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = str(node.module)
        if module == "mtl.graphs":
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))
        elif module.startswith("mtl.graphs.") and module not in FRAME:
            yield module.rpartition(".")[2]


@pytest.mark.parametrize("name", sorted(set(Source.types()) - BY_THEMSELVES))
def test_the_code_that_a_source_uses_is_in_its_fingerprint(name):
    parts = Source.named(name).parts
    assert len(set(parts)) == len(parts)
    assert {part for module in (name, *parts) for part in imports_of(module)} == set(parts)


def test_another_version_of_that_code_is_another_fingerprint(monkeypatch):
    before = Synthetic().fingerprint()
    monkeypatch.setattr(Synthetic, "parts", ("_made_up",))
    assert Synthetic().fingerprint() != before
