"""Files that somebody made to do harm: nothing of them runs, and none leads elsewhere.

Names in pages are escaped: tests/job/test_page.py, test_report.py, test_comparison_page.py.
"""

import ast
import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from job.checkpoint_files import MANIFEST, verify, write_folder
from job.config import load
from job.record import parse as parse_record
from job.state import MODEL, read_tensors
from job.yaml12 import parse
from mtl.errors import ConfigError, DataError, RefusedError, UserError
from mtl.graphs import Source
from mtl.graphs.cache import open_graph
from mtl.graphs.validate import validate
from mtl.graphs.writer import GraphWriter

ROOT = Path(__file__).parents[2]


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


@pytest.fixture(autouse=True)
def reported(fault_report):
    """Each test is one hostile file, of one kind or another."""
    fault_report(
        "a file that was made to do harm",
        "pickles, tags of YAML, SQL, headers of arrays and tensors, JSON bombs, archives, names "
        "and links that lead out of a folder, in every place that reads files",
        "nothing of it runs, nothing outside is read: refused by file and reason",
        times=1,
    )


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """What comes to be where anything of a hostile file runs."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists(), "it ran"


def test_the_canary_would_sing(tmp_path):
    pickle.loads(pickle.dumps(Evil(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def refused(section: dict[str, Any], kind: type[UserError] = DataError) -> UserError:
    with pytest.raises(kind) as caught:
        open_graph(Source.read(section))
    return caught.value


def test_a_pickle_in_planetoids_place_ends_with_77(canary, tmp_path):
    raw = tmp_path / "Cora" / "raw"
    raw.mkdir(parents=True)
    for part in ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index"):
        (raw / f"ind.cora.{part}").write_bytes(pickle.dumps(Evil(canary), protocol=2))
    error = refused({"type": "planetoid", "root": str(tmp_path)}, RefusedError)
    assert error.exit_code == 77
    assert f"{raw}/ind.cora.x" in str(error)
    assert "posix.system, which is not allowed" in str(error)


STATES = {
    "a list of lists that doubles": b"\x80\x02]" + b"q\x00h\x00h\x00e" * 40 + b".",
    "a state of numpy's own": pickle.dumps(np.array([Evil(Path("/nowhere"))], object)),
    "names with dots": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.",
    "all memory": b"\x80\x02]r\xff\xff\xff\xff.",
    "an extension": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("what", STATES)
def test_no_trick_of_pickles_passes(what, tmp_path, shared_data):
    raw = tmp_path / "Cora" / "raw"
    raw.mkdir(parents=True)
    for path in (shared_data / "Cora" / "raw").iterdir():
        (raw / path.name).write_bytes(path.read_bytes())
    (raw / "ind.cora.x").write_bytes(STATES[what])
    assert "ind.cora.x" in str(refused({"type": "planetoid", "root": str(tmp_path)}))


def test_an_object_array_in_an_archive_is_refused(canary, tmp_path):
    np.savez(tmp_path / "m.npz", x=np.array([Evil(canary)], object), allow_pickle=True)
    error = refused({"type": "npz", "file": str(tmp_path / "m.npz")})
    assert "m.npz: cannot be read as .npz" in str(error)


HEADERS = [
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }",
    "__import__('os').system('touch executed')",
    "(" * 9000,
    "9" * 9000,
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_header_of_an_array_is_no_program_and_takes_no_memory(
    header, tmp_path, monkeypatch, graph
):
    monkeypatch.chdir(tmp_path)
    text = header.encode()
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)
    from zipfile import ZipFile

    with ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("x.npy", content)
    refused({"type": "npz", "file": str(tmp_path / "m.npz")})
    replace(graph, "node.n.features.npy", content)
    with pytest.raises(DataError, match=r"features\.npy: its header is"):
        validate(graph)
    assert not (tmp_path / "executed").exists()


def test_an_archive_that_grows_beyond_the_memory_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "m.npz", x=np.zeros(1 << 20, np.uint8))
    monkeypatch.setattr("mtl.graphs._npz.memory_bytes", lambda: 1 << 19)
    error = refused({"type": "npz", "file": str(tmp_path / "m.npz")})
    assert "are more than the memory" in str(error)


@pytest.mark.parametrize("kind", ["pyg", "ogb"])
def test_a_reader_that_unpickles_does_not_start_without_trust(kind, tmp_path):
    name = "dataset: Planetoid, args: {name: Cora}" if kind == "pyg" else "name: ogbn-arxiv"
    with pytest.raises(ConfigError, match=r"graph: needs `trust: true`, because"):
        load([f"graph={{type: {kind}, root: {tmp_path}, {name}}}"])


TAGS = ["apply:os.system [touch executed]", "new:os.system [touch executed]", "name:os.system"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_of_python_in_yaml_is_refused(tag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.yaml").write_text(f"run: !!python/object/{tag}\n")
    with pytest.raises(ConfigError, match=r"evil\.yaml:1:6: tags are not allowed"):
        load(["evil.yaml"])
    with pytest.raises(ConfigError, match=r"override run:1:1: tags are not allowed"):
        load([f"run=!!python/object/{tag}"])
    assert not (tmp_path / "executed").exists()


SQL = [
    "read_text('/etc/passwd')",
    "(SELECT content FROM read_text('/etc/passwd'))",
    "x); COPY (SELECT 1) TO 'executed'; SELECT (1",
    "1) FROM read_csv('/etc/passwd'); --",
    "getenv('HOME')",
    "(" * 3000 + "x" + ")" * 3000,
]


@pytest.mark.parametrize("sql", SQL, ids=range(len(SQL)))
def test_sql_reads_nothing_but_its_row(sql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "n.csv").write_text("x\n1\n")
    columns = {"files": "n.csv", "columns": {"y": sql}, "features": {"y": "categorical"}}
    section = {"type": "tables", "root": str(tmp_path), "nodes": {"n": columns}}
    refused(section, UserError)
    assert not (tmp_path / "executed").exists()


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph folder of two nodes."""
    writer = GraphWriter(tmp_path / "graph", name="made")
    writer.add_nodes("n", 2, np.zeros((2, 3), np.float32))
    writer.add_edges(("n", "to", "n"), [0], [1])
    writer.finish()
    return writer.folder


def replace(graph: Path, name: str, content: bytes) -> None:
    """Put another file in an array's place, with its SHA-256."""
    before = hashlib.sha256((graph / name).read_bytes()).hexdigest()
    (graph / name).write_bytes(content)
    text = (graph / "graph.json").read_text()
    after = hashlib.sha256(content).hexdigest()
    (graph / "graph.json").write_text(text.replace(before, after))


OUTSIDE = ["../secret.npy", "{folder}/secret.npy", "../graph/../secret.npy", "link.npy", "up/x.npy"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_array_outside_the_folder_is_refused_with_77(name, graph, tmp_path):
    array = graph / "node.n.features.npy"
    (tmp_path / "secret.npy").write_bytes(array.read_bytes())
    (tmp_path / "x.npy").write_bytes(array.read_bytes())
    (graph / "link.npy").symlink_to(tmp_path / "secret.npy")
    (graph / "up").symlink_to(tmp_path)
    manifest = graph / "graph.json"
    name = name.format(folder=tmp_path)
    manifest.write_text(manifest.read_text().replace(array.name, name))
    with pytest.raises(RefusedError, match=r"leads to .*, outside the graph folder") as caught:
        validate(graph)
    assert caught.value.exit_code == 77


def seal(folder: Path, **changes: Any) -> None:
    """Change a manifest and its own checksum, as one who means it would."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text()) | changes
    manifest.pop("sha256")
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**manifest, "sha256": digest}))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole checkpoint, of no model."""
    folder = tmp_path / "step_00000001"
    write_folder(
        folder, lambda aside: (aside / "a").write_bytes(b"x") and None, {"progress": {"step": 1}}
    )
    assert verify(folder) is None
    return folder


OUT_OF_IT = ["../secret", "{folder}/secret", "..", "", "a/../a"]


@pytest.mark.parametrize("name", [*OUT_OF_IT, "link", "pipe"])
def test_a_checkpoint_is_of_its_own_files_alone(name, checkpoint, tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    (checkpoint / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(checkpoint / "pipe")
    identity = {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    seal(checkpoint, files={name.format(folder=tmp_path): identity})
    assert verify(checkpoint) is not None


TENSORS: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda canary: pickle.dumps({"w": Evil(canary)}),
    "header of 2**63 bytes": lambda _: (2**63).to_bytes(8, "little") + b"{}",
    "offsets beyond the end": lambda _: weights(9, 36),
    "shape of 2**62": lambda _: weights(2**62, 4),
    "nested": lambda _: header("[" * 10**5),
    "empty": lambda _: b"",
}  # fmt: skip


def weights(size: int, end: int) -> bytes:
    return header(json.dumps({"w": {"dtype": "F32", "shape": [size], "data_offsets": [0, end]}}))


def header(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + bytes(4)


@pytest.mark.parametrize("kind", TENSORS)
def test_weights_that_are_none_are_refused(kind, canary, tmp_path):
    (tmp_path / MODEL).write_bytes(TENSORS[kind](canary))
    with pytest.raises(DataError, match=r"model\.safetensors: cannot be read as safetensors"):
        read_tensors(tmp_path / MODEL)


BOMBS = ["[" * 10**5, "9" * 10**5, '{"a":' * 10**5, "1e999", '"\\ud800"', "\0", "NaN"]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_json_that_is_too_deep_or_too_long_is_named(bomb, graph, checkpoint):
    (graph / "graph.json").write_text(bomb)
    with pytest.raises(DataError, match=r"graph\.json: "):
        validate(graph)
    (checkpoint / MANIFEST).write_text(bomb)
    assert verify(checkpoint)
    assert parse_record(f"{bomb}\n".encode()) is None


NAMES = ["a/b", "../a", "..", ".", "a\\b", "\x1b[31m", "a\nb", "\u202e", "x" * 101, ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_run_is_one_name(name):
    with pytest.raises(ConfigError, match=r"run\.name"):
        load([f"run.name={json.dumps(name)}"])


def test_a_value_is_never_expanded():
    texts = ["${HOME}", "$(id)", "~root", "{{7*7}}", "%s"]
    assert parse(json.dumps(texts), "x") == texts


FORBIDDEN = {"eval", "exec", "compile", "os.system", "os.popen", "__import__"}
METHODS = {"extractall", "unpack_archive", "extract", "literal_eval"}


def test_nothing_of_ours_unpacks_archives_or_runs_texts():
    for path in sorted(p for top in ("job", "mtl", "launch") for p in (ROOT / top).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in FORBIDDEN, f"{path}:{node.lineno}"
                assert getattr(node.func, "attr", "") not in METHODS, f"{path}:{node.lineno}"
                assert "shell" not in {word.arg for word in node.keywords}, f"{path}:{node.lineno}"
