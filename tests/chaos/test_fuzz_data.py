"""Whatever a graph comes from: it is converted, or refused by file and value; never a signal.

Cases run in forked processes, so that a crash of a library is a failure of its case, by number.
"""

import json
import os
import pickle
import re
import shutil
import signal
import struct
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_matrix

from job.checkpoint import Checkpoints
from job.checkpoint import main as list_checkpoints
from job.config import Checkpoint, load
from job.mlflow_run import remember_run
from job.record import cut
from job.report import write_report
from job.rundir import is_finished, say_finished
from job.runtime import CANNOT_WRITE
from job.state import read_tensors
from mtl.errors import UserError
from mtl.graphs import Source
from mtl.graphs.amazon import Amazon
from mtl.graphs.npz import Npz
from mtl.graphs.planetoid import Planetoid
from mtl.graphs.schema import read_schema
from mtl.graphs.store import GraphStore
from mtl.graphs.validate import validate
from mtl.graphs.writer import GraphWriter

BATCH, SECONDS = 50, 20
"""Cases of a process, and how long one may take on a busy machine."""
ODD: list[Any] = [
    *(None, True, 0, -1, 1, 2, 3, 10**6, 2**31, 2**48, 2**63, 10**30, 0.5, -0.0, 1e308),
    *("", "x", "../x", "/etc/passwd", "nan", "\0", "\ud800", "日本", "a" * 300, [], {}, [[]]),
    *({"a": 1}, [0] * 99, float("nan"), float("inf")),
]
DTYPES = ["<f4", "<f8", "<f2", "<i8", "<i4", "i1", "u1", "<u8", ">i4", "?", "<U3", "S2", "<c8"]
DTYPES += ["O", "<M8[s]", "V3"]


class Subject(NamedTuple):
    """What is damaged: files that are whole, and what reads them."""

    folder: Path
    read: Callable[[], object]
    damage: Callable[[Random, Path], None]


def graph(folder: Path) -> Subject:
    """A graph folder with everything, small."""
    rng = np.random.default_rng(0)
    writer = GraphWriter(folder / "graph", name="made")
    names = np.array(["ann", "bob", "", "zoé"])
    writer.add_nodes("user", 4, rng.random((4, 2), np.float32), ids=names, time=[3, 1, 4, 1])
    writer.add_nodes("item", 2, np.array([[0x3F80], [0x4000]], np.uint16), ids=[7, -7])
    writer.add_label("user", "topic", "class", [0, 1, -1, 1], num_classes=2, classes=["a", "b"])
    writer.add_split("user", "first", [1, 1, 2, 3])
    buys, back = ("user", "buys", "item"), ("item", "bought", "user")
    src, dst = [3, 0, 2, 1], [1, 0, 1, 0]
    writer.add_edges(buys, src, dst, features=rng.random((4, 1), np.float32), weight=[1, 0, 2, 3])
    writer.add_label(buys, "stars", "multilabel", [[0, 1], [1, -1], [0, 0], [1, 1]], num_classes=2)
    writer.add_label(buys, "price", "regression", [1, 2, np.nan, 4])
    writer.add_edges(back, dst, src, reverse=buys)
    writer.add_collection("bundle", "item", [0, 1, 2])
    writer.add_label("bundle", "sold", "class", [0, 1], num_classes=2)
    writer.finish()

    def read() -> None:
        validate(writer.folder)
        store = GraphStore(writer.folder)
        assert json.dumps(store.card())
        for owner in (*store.node_types, *store.edge_types, *store.collections):
            for label in store.labels(owner).values():
                label.labelled(np.arange(len(label.values)))

    return Subject(writer.folder, read, damage_graph)


def damage_graph(rng: Random, folder: Path) -> None:
    manifest = folder / "graph.json"
    if rng.random() < 0.5:
        damage_json(rng, manifest)
    else:
        path = rng.choice(sorted(folder.glob("*.npy")))
        damage_file(rng, path)
        if path.is_file() and rng.random() < 0.7:  # as a faulty converter would have written it
            seal(manifest, path)


def seal(manifest: Path, path: Path) -> None:
    content = json.loads(manifest.read_text())

    def visit(node: Any) -> None:
        if isinstance(node, dict) and node.get("file") == path.name:
            node["sha256"] = sha256(path.read_bytes()).hexdigest()
        for inner in node.values() if isinstance(node, dict) else node:
            if isinstance(inner, dict | list):
                visit(inner)

    visit(content)
    manifest.write_text(json.dumps(content))


def damage_json(rng: Random, path: Path) -> None:
    """Change a place of a JSON file, or its bytes."""
    if rng.random() < 0.1:
        damage_file(rng, path)
        return
    root = node = json.loads(path.read_text())
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.2:
            break
        node = node[key]
    kind = rng.choice(["drop", "rename", "wrap", "odd", "odd"])
    if kind == "drop":
        del node[key]
    elif kind == "rename" and isinstance(node, dict):
        node[str(rng.choice(ODD))] = node.pop(key)
    else:
        node[key] = [node[key]] if kind == "wrap" else rng.choice(ODD)
    path.write_text(json.dumps(root))


def damage_file(rng: Random, path: Path) -> None:
    """Do to a file what disks, networks and people do."""
    whole = path.read_bytes()
    place = rng.randrange(max(len(whole), 1))
    path.unlink()
    match rng.choice(["flip", "flip", "flip", "cut", "longer", "hole", "empty", "none", "other"]):
        case "flip":
            damaged = bytearray(whole)
            for _ in range(rng.choice([1, 1, 4, 64])):
                if damaged:
                    damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
            path.write_bytes(damaged)
        case "cut":
            path.write_bytes(whole[:place])
        case "longer":
            path.write_bytes(whole + rng.randbytes(rng.randrange(1, 99)))
        case "hole":
            path.write_bytes(whole[:place] + bytes(len(whole) - place))
        case "empty":
            path.touch()
        case "other":
            link = lambda: path.symlink_to("/dev/zero")  # noqa: E731
            rng.choice([path.mkdir, link, lambda: os.mkfifo(path)])()


def converted(make: Callable[[], Source], folder: Path) -> Callable[[], object]:
    """Return what converts a source, as job/prepare.py does."""

    def read() -> None:
        source = make()
        number = sum(1 for _ in folder.glob("graph-*"))
        writer = GraphWriter(folder / f"graph-{os.getpid()}-{number}", name=source.name)
        source.files()
        source.write(writer)
        writer.finish()

    return read


def npz(folder: Path) -> Subject:
    """Molecules in one file."""
    (folder / "in").mkdir()
    path = folder / "in" / "m.npz"
    arrays = {
        "num_nodes": np.array([2, 3, 1], np.uint16),
        "num_edges": np.array([2, 4, 0], np.uint16),
        "x": np.array([[0, 2], [1, 0], [0, 1], [1, 1], [0, 0], [1, 2]], np.uint8),
        "edge_index": np.array([[0, 1, 0, 1, 1, 2], [1, 0, 1, 0, 2, 1]], np.uint16),
        "edge_attr": np.array([[0], [0], [1], [1], [2], [2]], np.uint8),
        "y": np.array([[0, 1], [np.nan, 1], [1, np.nan]], np.float32),
        "tasks": np.array(["a", "b"]),
        "scaffold_split": np.array([0, 1, 2], np.int8),
    }
    np.savez(path, **arrays)
    return Subject(path.parent, converted(lambda: Npz(file=path), folder), damage_npz)


def amazon(folder: Path) -> Subject:
    """Photo, of six goods."""
    path = folder / "in" / "Photo" / "raw" / "amazon_electronics_photo.npz"
    path.parent.mkdir(parents=True)
    rng, arrays = np.random.default_rng(0), {"labels": np.array([0, 1, 2, 0, 1, 2])}
    for name, matrix in (("attr", rng.random((6, 4)) > 0.5), ("adj", rng.random((6, 6)) > 0.5)):
        sparse = csr_matrix(matrix.astype(np.float32))
        arrays |= {f"{name}_{part}": getattr(sparse, part) for part in ("data", "indices")}
        arrays |= {f"{name}_indptr": sparse.indptr, f"{name}_shape": np.array(matrix.shape)}
    np.savez(path, **arrays)
    make = lambda: Amazon(root=folder / "in", url="file:///nowhere")  # noqa: E731
    return Subject(folder / "in", converted(make, folder), damage_npz)


def damage_npz(rng: Random, folder: Path) -> None:
    (path,) = folder.rglob("*.npz")
    if rng.random() < 0.3:
        damage_file(rng, path)
        return
    with np.load(path) as file:
        arrays = dict(file)
    name = rng.choice(sorted(arrays))
    match rng.choice(["drop", "array", "array", "array", "add", "swap"]):
        case "drop":
            del arrays[name]
        case "array":
            arrays[name] = odd_array(rng, arrays[name])
        case "add":
            arrays[str(rng.choice(["y_split", "x/y", "../x", "日本", "a" * 300]))] = arrays[name]
        case "swap":
            other = rng.choice(sorted(arrays))
            arrays[name], arrays[other] = arrays[other], arrays[name]
    np.savez(path, **arrays)


def odd_array(rng: Random, array: np.ndarray) -> np.ndarray:
    """Return an array of other values, another type or another shape."""
    match rng.choice(["value", "value", "dtype", "shape", "bits", "length"]):
        case "value" if array.size and array.dtype.kind in "iuf":
            array, kind = array.copy(), array.dtype
            extremes = [0, 1, -1, 255, 2**31, 2**63 - 1, -(2**63), np.nan, np.inf, 1e300]
            with np.errstate(all="ignore"):
                array.flat[rng.randrange(array.size)] = np.array(rng.choice(extremes)).astype(kind)
        case "dtype":
            try:
                with np.errstate(all="ignore"):
                    return array.astype(rng.choice(DTYPES))
            except (ValueError, TypeError):
                return np.array([None] * 3, object)
        case "shape":
            shapes = [(0,), (-1, 1), (1, -1), (-1,), (1, 1, -1), ()]
            shape = rng.choice(shapes)
            return array[:0] if shape == (0,) else array.ravel()[:1].reshape(shape)
        case "bits" if array.dtype.kind in "iuf":
            return np.frombuffer(rng.randbytes(array.nbytes), array.dtype).reshape(array.shape)
        case "length":
            return np.resize(array, (rng.randrange(9), *array.shape[1:]))
    return array


def planetoid(folder: Path) -> Subject:
    """CiteSeer, of seven papers."""
    raw = folder / "in" / "CiteSeer" / "raw"
    raw.mkdir(parents=True)
    rows, labels = np.eye(4), np.eye(2)[[0, 1, 0, 1]]
    parts: dict[str, Any] = {"x": csr_matrix(rows[:2]), "tx": rows[:2], "allx": csr_matrix(rows)}
    parts |= {"graph": {0: [1, 1, 0], 2: [1]}, "y": labels[:2], "ty": labels[:2], "ally": labels}
    for name, part in parts.items():
        (raw / f"ind.citeseer.{name}").write_bytes(pickle.dumps(part, protocol=2 + len(name) % 3))
    (raw / "ind.citeseer.test.index").write_text("6\n4\n")
    make = lambda: Planetoid(name="CiteSeer", root=folder / "in", url="file:///no")  # noqa: E731
    return Subject(raw, converted(make, folder), damage_pickle)


def damage_pickle(rng: Random, folder: Path) -> None:
    path = rng.choice(sorted(folder.iterdir()))
    if rng.random() < 0.4:
        damage_file(rng, path)
        return
    whole = path.read_bytes()
    opcodes = b"(.012FIJKLMNPQRSTVXabcdeghijlopqrstu}]\x80\x81\x85\x86\x87\x88\x8a\x8b\x8c\x94\x95"
    piece = rng.choice([bytes([rng.choice(opcodes)]), b"r" + struct.pack("<I", 2**32 - 1)])
    piece = rng.choice([piece, b"\x8e" + struct.pack("<Q", 2**40), b"cos\nsystem\n", b"I9\n" * 9])
    place = rng.randrange(len(whole))
    path.write_bytes(whole[:place] + piece + whole[place + rng.choice([0, len(piece)]) :])


def tables(folder: Path) -> Subject:
    """People in a Parquet file, things in a CSV file, and who bought what."""
    inside = folder / "in"
    inside.mkdir()
    people = {"id": [1, 2, 3, 4], "age": [1.5, None, 3, 4], "job": ["a", "b", "a", None]}
    people |= {"since": pa.array([1, 2, 3, 4], pa.timestamp("us")), "part": list("abca")}
    pq.write_table(pa.table(people), inside / "people.parquet")
    (inside / "things.csv").write_text("id,price,kind\nx,1.5,a\ny,2,b\nz,,a\n")
    (inside / "bought.csv").write_text("src,dst,stars\n1,x,5\n2,y,1\n4,z,3\n1,y,2\n")
    section = {
        "type": "tables",
        "root": str(inside),
        "nodes": {
            "person": {
                "files": "people.parquet",
                "id": "id",
                "time": "since",
                "features": {"age": "numeric", "job": "categorical"},
                "labels": {"part": {"kind": "class", "column": "part"}},
                "split": {"kind": "random"},
            },
            "thing": {"files": "things.csv", "id": "id", "features": {"price": "numeric"}},
        },
        "edges": {
            "person__bought__thing": {
                "files": "bought.csv",
                "columns": {"good": "stars > 2"},
                "labels": {"good": {"kind": "class", "column": "good"}},
            }
        },
    }
    return Subject(inside, converted(lambda: Source.read(section), folder), damage_table)


def damage_table(rng: Random, folder: Path) -> None:
    path = rng.choice(sorted(folder.iterdir()))
    if rng.random() < 0.4:
        damage_file(rng, path)
    elif path.suffix == ".csv":
        lines = path.read_text().splitlines()
        row = rng.randrange(len(lines))
        cells = lines[row].split(",")
        odd = ["", "1,2", '"', "nan", "1e999", "9" * 40, "\0", "\ufeff", "x\ty", "-0", "0x1", " 1"]
        cells[rng.randrange(len(cells))] = rng.choice([*odd, rng.choice(cells)])
        lines[row] = ",".join(cells)
        lines = rng.choice([lines, lines[:1], lines + lines[1:], lines[1:], [], lines[::-1]])
        text = rng.choice(["\n", "\r\n", "\n\n", "\r"]).join(lines)
        path.write_bytes(text.encode(rng.choice(["utf-8"] * 6 + ["utf-16", "utf-8-sig"])))
    else:
        table = pq.read_table(path)
        index = rng.randrange(table.num_columns)
        name = table.column_names[index]
        column: Any = rng.choice(
            [
                pa.nulls(4),
                pa.array([[1], None, [2, 3], []]),
                pa.array([{"a": 1}] * 4),
                pa.array([2**63, 1, 2, 2**64 - 1], pa.uint64()),
                pa.array([float("nan"), float("inf"), -0.0, 1e308]),
                pa.array([b"\xff", b"", b"a", None]),
                pa.array(["x", "x", None, ""]).dictionary_encode(),
                pa.array([1, 1, 1, 1], pa.duration("s")),
                pa.array([2**62, -(2**62), 0, 1], pa.timestamp("us")),
                table.column(rng.randrange(table.num_columns)),
            ]
        )
        table = rng.choice(
            [table.set_column(index, name, column)] * 4
            + [table.drop_columns([name]), table.slice(0, 0), pa.concat_tables([table, table])]
            + [table.rename_columns([name] * table.num_columns)]
        )
        pq.write_table(table, path)


def run_directory(folder: Path, trained: Path) -> Subject:
    """All that a run leaves, and everybody who reads it."""
    run_dir = Path(shutil.copytree(trained, folder / "run"))
    step = run_dir / "checkpoints" / "step_00000002"
    readers: list[Callable[[], object]] = [
        lambda: list_checkpoints([str(run_dir)]),
        lambda: is_finished(run_dir) and say_finished(run_dir),
        lambda: written(lambda: write_report(run_dir)),
        lambda: load([str(run_dir / "config.yaml")]),
        lambda: read_schema(run_dir),
        lambda: read_tensors(step / "model.safetensors"),
        lambda: Checkpoints(run_dir, Checkpoint(), "", lambda _: None).best(),
        lambda: cut(run_dir / "metrics.jsonl", 1),
        (run_dir / "metrics.jsonl").touch,  # a training opens it now
        lambda: remember_run(run_dir, None, "name", {}, {}, 1),
    ]

    def read() -> None:
        with (folder / "said").open("w") as said, redirect_stdout(said):
            for reader in readers:
                harmless(reader)

    return Subject(run_dir, read, damage_run)


def damage_run(rng: Random, folder: Path) -> None:
    path = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"))
    if path.suffix == ".json" and rng.random() < 0.8:
        damage_json(rng, path)
        if path.name == "manifest.json" and path.is_file() and rng.random() < 0.7:
            seal_checkpoint(path)
    else:
        damage_file(rng, path)


def seal_checkpoint(path: Path) -> None:
    """Put the checksum of a changed manifest into it, where that is still possible."""
    try:
        manifest = json.loads(path.read_text())
        manifest.pop("sha256")
    except (ValueError, AttributeError, KeyError, TypeError):
        return
    digest = sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**manifest, "sha256": digest}))


SUBJECTS: dict[Callable[[Path], Subject], int] = {
    graph: 1000, npz: 300, amazon: 250, planetoid: 800, tables: 120
}  # fmt: skip
"""What is damaged, and how often in CI."""
FAULT = (
    "malformed data",
    "graph folders, archives, pickles, Parquet and CSV files: damaged at random, converted",
    "as good as whole, or refused by file and value with 64, 65 or 77: no signal, no hang",
)


@pytest.mark.parametrize("make", SUBJECTS, ids=lambda make: make.__name__)
def test_any_damage_is_harmless_or_named(make, tmp_path, fault_report):
    fault = fault_report(*FAULT)
    fault.times = survived(make(tmp_path), range(SUBJECTS[make]))
    assert fault.times == SUBJECTS[make]


@pytest.mark.soak
@pytest.mark.parametrize("make", SUBJECTS, ids=lambda make: make.__name__)
def test_any_of_much_damage_is_harmless_or_named(make, tmp_path, fault_report):
    fault, cases = fault_report(*FAULT), range(10**6, 10**6 + 20 * SUBJECTS[make])
    fault.times = survived(make(tmp_path), cases)
    assert fault.times == len(cases)


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    """The directory of a run that is finished."""
    folder = tmp_path_factory.mktemp("trained")
    assert train(folder).code == 0
    return folder / "runs" / "smoke"


def test_any_damage_of_a_run_directory_is_harmless_or_named(trained, tmp_path, fault_report):
    fault = fault_report(*FAULT)
    fault.times = survived(run_directory(tmp_path, trained), range(25))
    assert fault.times == 25


@pytest.mark.soak
def test_any_of_much_damage_of_a_run_directory_is_harmless_or_named(
    trained, tmp_path, fault_report
):
    fault = fault_report(*FAULT)
    fault.times = survived(run_directory(tmp_path, trained), range(10**6, 10**6 + 2000))
    assert fault.times == 2000


def survived(subject: Subject, cases: range) -> int:
    """Try each case, in processes of their own; return how many there were."""
    whole = {path: path.read_bytes() for path in subject.folder.rglob("*") if path.is_file()}
    done = 0
    for start in range(0, len(cases), BATCH):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            os._exit(attempt(subject, whole, cases[start : start + BATCH], writing))
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read().decode()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == 0, f"{code} in case {said[-4000:]}"
        done += said.count("\n")
    return done


def attempt(subject: Subject, whole: dict[Path, bytes], cases: range, pipe: int) -> int:
    """Try cases; tell the pipe the number of each before, and what was wrong."""
    os.fsync = lambda _: None  # a thousand times faster, and nobody pulls the plug
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a hang ends with -14
    try:
        for case in cases:
            os.write(pipe, f"{case}\n".encode())
            signal.alarm(SECONDS)
            subject.damage(Random(case), subject.folder)
            harmless(subject.read)
            restore(whole)
    except BaseException:
        os.write(pipe, traceback.format_exc().replace("\n", "\r\n").encode())
        return 1
    return 0


def harmless(read: Callable[[], object]) -> None:
    try:
        read()
    except UserError as error:
        assert error.exit_code in (64, 65, 77)  # noqa: PT017
        assert names_a_place(str(error)), error  # noqa: PT017


def written(write: Callable[[], object]) -> None:
    """Write, or fail as commands tell people: with 73, and the file."""
    try:
        write()
    except OSError as error:
        assert error.errno in CANNOT_WRITE  # noqa: PT017
        assert error.filename  # noqa: PT017


def names_a_place(message: str) -> bool:
    first = message.split(": ", 1)
    if len(first) < 2:
        return False
    is_key = first[1].startswith("unknown key")  # of a file that is damaged: anything
    return is_key or re.search(r"[/.]|^(graph|nodes|edges|[a-z]+$)", first[0]) is not None


def restore(whole: dict[Path, bytes]) -> None:
    for path, content in whole.items():
        if path.is_symlink() or not path.is_file() or path.read_bytes() != content:
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
            path.write_bytes(content)
