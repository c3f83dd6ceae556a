"""What may import what, and where ranks, collectives and pickles may be named."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(f for top in ("job", "mtl", "launch") for f in (ROOT / top).rglob("*.py"))
NAMES = [str(file.relative_to(ROOT)) for file in FILES]
EVERY = pytest.mark.parametrize("name", NAMES)

# What a package may import of ours; the longest prefix of a module counts.
ALLOWED = {
    "launch": {"launch", "job", "mtl"},
    "job": {"job", "mtl"},
    "mtl": {"mtl.plugin", "mtl.errors"},
    "mtl.plugin": set(),
    "mtl.errors": set(),
    "mtl.collective": set(),
    "mtl.cgroups": set(),
    "mtl.graphs": {"mtl.graphs", "mtl.cgroups", "mtl.plugin", "mtl.errors"},
    "mtl.tasks": {"mtl.tasks", "mtl.graphs", "mtl.plugin", "mtl.errors"},
    "mtl.loaders": {
        *("mtl.loaders", "mtl.tasks", "mtl.graphs", "mtl.collective", "mtl.plugin", "mtl.errors"),
    },
    "mtl.models": {"mtl.models", "mtl.tasks", "mtl.graphs", "mtl.plugin", "mtl.errors"},
    "mtl.balancing": {"mtl.balancing", "mtl.plugin", "mtl.errors"},
}
RUNTIME = {"job/runtime.py"}
# module or prefix -> the files that may import it
ONLY_IN = {
    "accelerate": RUNTIME,
    "torch.distributed": RUNTIME,
    "pickle": {"mtl/graphs/_planetoid_raw.py"},
    "cloudpickle": set(),
    "dill": set(),
    "joblib": set(),
    "shelve": set(),
}
RANK_NAMES = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"}


SELF_EXPLAINED = {
    "JobConfig",  # its fields are sections, whose own classes say what they are
    *(
        "ArrayInfo",
        "LabelInfo",
        "NodeInfo",
        "EdgeInfo",
        "CollectionInfo",
        "GraphInfo",
    ),  # graph.json, no options
}


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text())


def imports_of(name: str) -> Iterator[str]:
    """Yield the full name of everything that a module imports, lazily or for types, too."""
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}:{node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, prefixes: set[str]) -> bool:
    return any(f"{module}.".startswith(f"{prefix}.") for prefix in prefixes)


def module_of(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for the expression that says so."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@EVERY
def test_imports_flow_one_way(name):
    package = max((p for p in ALLOWED if within(module_of(name), {p})), key=len)
    ours = {m for m in imports_of(name) if within(m, {"job", "mtl", "launch"})}
    assert not {m for m in ours if not within(m, ALLOWED[package])}


def test_balancing_needs_nothing_but_torch_and_torchjd():
    free = {"torch", "torchjd", "mtl", "jaxtyping", "pydantic", "abc", "dataclasses", "typing"}
    free |= {"collections", "contextlib", "importlib", "warnings"}
    names = [name for name in NAMES if name.startswith("mtl/balancing/")]
    assert names
    assert not {m for name in names for m in imports_of(name) if not within(m, free)}


@EVERY
def test_collectives_accelerate_and_pickles_are_imported_where_the_design_says(name):
    allowed = {f"torch.distributed.{part}" for part in ("run", "elastic", "launcher")}
    for module in imports_of(name):
        if name.startswith("launch/") and within(module, allowed):
            continue
        for prefix, files in ONLY_IN.items():
            assert name in files or not within(module, {prefix}), f"{name} imports {module}"


@EVERY
def test_collectives_and_loads_that_unpickle_are_not_called_by_a_long_name(name):
    forbidden = {"torch.load", "torch.save"}
    if name not in RUNTIME:
        forbidden |= {"torch.distributed", "dist"}
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Attribute):
            assert not within(dotted(node), forbidden), f"{name}:{node.lineno}: {dotted(node)}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False
        if isinstance(node, ast.keyword) and node.arg == "weights_only":
            pytest.fail(f"{name}:{node.value.lineno}: nothing of ours is unpickled")


@EVERY
def test_the_environment_of_torchrun_is_read_in_the_runtime_alone(name):
    if name in RUNTIME:
        return
    words = [n for n in ast.walk(tree_of(name)) if isinstance(n, ast.Constant)]
    assert not [f"{name}:{n.lineno}" for n in words if n.value in RANK_NAMES]


@EVERY
def test_nothing_asks_whether_it_is_rank_zero(name):
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Compare) and name not in RUNTIME and not name.startswith("launch/"):
            sides = [node.left, *node.comparators]
            ranks = [s for s in sides if dotted(s).rpartition(".")[2] in ("rank", "local_rank")]
            zeros = [s for s in sides if isinstance(s, ast.Constant) and s.value == 0]
            assert not (ranks and zeros), f"{name}:{node.lineno}"


@EVERY
def test_every_module_says_its_place_in_its_first_line(name):
    doc = ast.get_docstring(tree_of(name))
    assert doc
    assert doc.splitlines()[0].endswith((".", ":", ";")), doc.splitlines()[0]


def options_of(name: str) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Yield the public configuration classes of a module."""
    bases = {"Options", "Plugin", "Encoder", "Sharing", "Task", "Source", "Balancing"}
    bases |= {"LabelTask", "OnNodes", "OnLabelledNodes", "OnEdges", "OnLabelledEdges", "OnGraphs"}
    bases |= {"TwoPhase", "OnLosses", "OnGramian", "OnPreferredGramian"}
    for node in ast.walk(tree_of(name)):
        if not isinstance(node, ast.ClassDef) or node.name in SELF_EXPLAINED:
            continue
        if {dotted(base) for base in node.bases} & bases and not node.name.startswith("_"):
            yield node.name, node.body


@EVERY
def test_every_option_is_explained_under_its_line(name):
    for owner, body in options_of(name):
        for field, after in zip(body, [*body[1:], None], strict=True):
            if not isinstance(field, ast.AnnAssign) or "ClassVar" in ast.unparse(field.annotation):
                continue
            explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            assert explained, f"{name}: {owner}.{ast.unparse(field.target)}"


def test_the_options_are_found_at_all():
    found = {owner for name in NAMES for owner, _ in options_of(name)}
    assert {"Run", "Loader", "Model", "Sage", "Mimo", "LinkPrediction", "Planetoid"} <= found


def test_the_parts_of_a_test_do_not_shadow_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))
