"""The doctor: one thing that is wrong is one finding, and all the others still come."""

import fcntl
import json
import os
import resource
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests import Response
from rich.console import Console

from job import doctor_findings, doctor_machine, doctor_mlflow, doctor_weights
from job.checkpoint_files import write_folder
from job.config import load
from job.doctor import examine
from job.doctor_findings import Finding, exit_code
from job.doctor_gpu import Gpu, look_at, versions, without_gpu
from job.doctor_job import Job
from job.doctor_sizes import node_bound
from job.doctor_table import show
from job.doctor_training import Training, build
from job.doctor_weights import weights
from job.mlflow_store import open_client
from job.rundir import resolve, write_config
from job.track import MLflow
from mtl.graphs.cache import open_graph
from mtl.tasks.bound import bind_tasks

# mlflow, sqlalchemy and their imports warn; our own warnings stay errors.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "job" / "configs" / "smoke.yaml")
TINY = ["graph.num_nodes=300", "track.mlflow=null", "train.precision=fp32"]
Told = Counter[tuple[str, str, str, int]]
Seen = set[tuple[str, str]]


def told(findings: list[Finding]) -> tuple[Told, Seen]:
    """Return what is not OK (subject, what, level, code), and all that was looked at."""
    bad = ((f.subject, f.what, f.level, f.code) for f in findings if f.level != "ok")
    return Counter(bad), {(f.subject, f.what) for f in findings}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, Seen]:
    """What the doctor says of this machine and a job that is well."""
    folder = tmp_path_factory.mktemp("healthy")
    return told(examine([SMOKE, *TINY, f"run.dir={folder / 'run'}"], 1))


@pytest.fixture
def job(tmp_path: Path) -> list[str]:
    """A small job with a run directory of its own, and a file where a folder should be."""
    (tmp_path / "file").touch()
    return [SMOKE, *TINY, f"run.dir={tmp_path / 'run'}"]


CONFIG, DATA, PLACE = 64, 65, 73
BROKEN = {
    "optim.lrr=1": [("configuration", "options", "problem", CONFIG)],
    "tasks.segment.label=sgment": [("tasks", "tasks.segment", "problem", CONFIG)],
    "tasks.value.kind=1": [("configuration", "options", "problem", CONFIG)],
    "run.dir={}/file/x": [("places", "run dir", "problem", PLACE)],
    "graph.cache={}/file/x": [("places", "graph cache", "problem", PLACE)],
    "evaluate.select=segment/nope": [("training", "evaluation", "problem", CONFIG)],
    "model.freeze=[nope]": [("training", "weights", "problem", CONFIG)],
    "loader.rates={{nope: 1}}": [("training", "build", "problem", CONFIG)],
    "train.precision=fp16": [("training", "build", "problem", CONFIG)],
    "optim.warmup_steps=999": [("sizes", "batches", "warning", 0)],
    "loader.batch_size=129": [("sizes", "batches", "warning", 0)],
    "loader.global_batch_size=5000": [("sizes", "batches", "warning", 0)],
    "loader.global_batch_size=null": [("configuration", "options", "warning", 0)],
    "track.mlflow={{uri: 'sqlite:///{}/file/db'}}": [("MLflow", "store", "problem", PLACE)],
}
DEPEND = {"training", "one step", "sizes", "places", "run directory", "tasks"}


@pytest.mark.parametrize("override", BROKEN)
def test_what_is_wrong_is_found_and_all_else_is_still_looked_at(
    override: str, job: list[str], tmp_path: Path, healthy: tuple[Told, Seen]
) -> None:
    bad, seen = told(examine([*job, override.format(tmp_path)], 1, steps=False))
    more = bad - healthy[0]
    unknown = Counter({key: n for key, n in more.items() if key[2] == "unknown"})
    assert sorted((more - unknown).elements()) == BROKEN[override]
    assert {key[0] for key in unknown} <= DEPEND
    # what a check would have said of parts that could not be made has the name of the check
    assert healthy[1] - seen <= {("training", "model"), ("training", "balancing")} | {
        ("training", "precision"),
        *((subject, what) for subject, what in healthy[1] if what.startswith("tasks.")),
    }


@pytest.mark.parametrize("name", ["smoke", "quickstart"])
def test_shipped_configurations_are_well(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    findings = examine([str(ROOT / f"job/configs/{name}.yaml"), "train.precision=fp32"], 1)
    assert [f for f in findings if f.level in ("problem", "unknown")] == []
    assert [f.subject for f in findings if f.level == "warning" and f.subject in DEPEND] == []
    assert list(tmp_path.iterdir()) == []


def contents(*folders: Path) -> dict[str, bytes]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in files}


def make_run(argv: list[str], graph: str | None = None, *steps: int) -> Path:
    """Write a run directory as a training leaves it, but for what is in its checkpoints."""
    config = resolve(load(argv), 1)
    folder = config.run.dir
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config, resumes=False)
    for step in steps:
        progress = {"step": step, "best_step": step, "best_score": 1.0}
        write_folder(
            folder / "checkpoints" / f"step_{step:08d}",
            lambda aside: (aside / "state.json").write_text("{}") and None,
            {"graph": graph or open_graph(config.graph).fingerprint, "progress": progress},
        )
    return folder


def test_nothing_is_written_anywhere(
    job: list[str], store: str, tmp_path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    argv = [*job, f"track.mlflow={{uri: '{store}', experiment: new}}"]
    make_run(argv, "another", 5)
    before = contents(tmp_path, cache_home)
    findings = examine([*argv, "graph.num_nodes=301"], 1)  # which nobody has converted
    assert "the first start does it" in " ".join(f.found for f in findings)
    assert contents(tmp_path, cache_home) == before
    assert [e.name for e in open_client(store).search_experiments()] == ["Default"]


def test_nothing_is_downloaded(job: list[str], tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "Cora" / "raw").mkdir(parents=True)
    argv = [arg for arg in job if not arg.startswith("graph.")]
    url = f"{ROOT.as_uri()}/no/such"  # tests reach no network
    cora = f"graph={{type: planetoid, name: Cora, root: '{root}', url: '{url}'}}"
    (finding,) = of(examine([*argv, cora], 1), "graph", "graph")
    assert (finding.level, "downloads" in finding.found) == ("unknown", True)
    assert not list((root / "Cora" / "raw").iterdir())


def of(findings: list[Finding], subject: str, what: str) -> list[Finding]:
    return [f for f in findings if (f.subject, f.what) == (subject, what)]


@pytest.mark.parametrize(
    ("damaged", "strict", "expected"),
    [
        ((), "false", [("ok", 0)]),
        ((), "true", [("ok", 0)]),
        ((3,), "false", [("warning", 0), ("ok", 0)]),
        ((5,), "false", [("warning", 0), ("ok", 0)]),
        ((5,), "true", [("problem", DATA), ("ok", 0)]),
        ((3, 5), "false", [("problem", DATA), ("problem", DATA)]),
    ],
)
def test_damaged_checkpoints_are_named(
    damaged: tuple[int, ...], strict: str, expected: list, job: list[str]
) -> None:
    run = make_run(job, None, 3, 5)
    for step in damaged:
        (run / f"checkpoints/step_{step:08d}/state.json").write_text("[]")
    findings = of(examine([*job, f"checkpoint.strict={strict}"], 1, steps=False),
                  "run directory", "checkpoints")  # fmt: skip
    assert [(f.level, f.code) for f in findings] == expected
    assert all(str(step) in f.found for f, step in zip(findings, damaged, strict=False))


def test_another_configuration_graph_or_owner_of_a_run_is_a_problem(job: list[str]) -> None:
    run = make_run(job, "another", 5)
    with (run / ".lock").open("w") as file:
        file.write("process 1 on elsewhere")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        findings = examine([*job, "optim.lr=0.5", "train.epochs=9"], 1, steps=False)
    problems = [(f.what, f.code) for f in findings if f.level == "problem"]
    assert problems == [("lock", 78), ("configuration", CONFIG), ("checkpoints", CONFIG)]
    assert "elsewhere" in of(findings, "run directory", "lock")[0].found
    assert "optim.lr" in of(findings, "run directory", "configuration")[0].found


def test_a_bit_that_fell_over_in_the_graph_is_found_though_it_was_checked_before(
    job: list[str], tmp_path: Path
) -> None:
    argv = [*job, f"graph.cache={tmp_path / 'graph'}"]
    folder = open_graph(load(argv).graph).folder
    path = max(folder.glob("*.npy"), key=lambda path: path.stat().st_size)
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    findings = examine(argv, 1)
    (finding,) = of(findings, "graph", "graph")
    assert (finding.level, finding.code) == ("problem", DATA)
    assert path.name in finding.found
    assert exit_code(findings) == DATA


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    """A job on tables: in training `one` is always a, and `rare` is b once."""
    rows = [
        f"{i},0.5,{'b' if i > 290 else 'a'},{'b' if i in (7, 295, 299) else 'a'}"
        for i in range(300)
    ]
    splits = ["train"] * 280 + ["val"] * 10 + ["test"] * 10
    text = "\n".join(["id,x,one,rare,split", *map(",".join, zip(rows, splits, strict=True))])
    (tmp_path / "nodes.csv").write_text(text)
    (tmp_path / "edges.csv").write_text(
        "\n".join(["src,dst", *(f"{i},{i + 1}" for i in range(299))])
    )
    (tmp_path / "job.yaml").write_text(f"""
run: {{name: t, dir: {tmp_path / "run"}}}
graph:
  type: tables
  root: {tmp_path}
  nodes:
    node:
      files: nodes.csv
      id: id
      features: {{x: {{kind: numeric, transform: none}}}}
      labels: {{one: class, rare: class}}
      split: {{column: split}}
  edges: {{node__to__node: {{files: edges.csv}}}}
tasks:
  one: {{type: node_classification, label: one}}
  rare: {{type: node_classification, label: rare}}
loader: {{num_neighbors: [2], batch_size: 64, global_batch_size: 64}}
model: {{dim: 8, encoder: {{type: sage, num_layers: 1}}, sharing: {{type: hard}}}}
train: {{epochs: 1, precision: fp32}}
track: {{mlflow: null}}
""")
    return [str(tmp_path / "job.yaml")]


def test_labels_that_cannot_be_learned_are_named(tables: list[str]) -> None:
    findings = examine(tables, 1, steps=False)
    one, rare = (of(findings, "tasks", f"tasks.{name}")[1] for name in ("one", "rare"))
    assert (one.level, one.code) == ("problem", DATA)
    assert (rare.level, "b (1)" in rare.found) == ("warning", True)
    cards = [f.found for f in of(findings, "graph", "card") if f.level == "warning"]
    assert any("node.one: val or test has examples of class b, train has none" in c for c in cards)


def test_numbers_that_overflow_are_found_before_the_training(
    tables: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text(path.read_text().replace("0.5", "3e38"))
    (finding,) = [f for f in of(examine(tables, 1), "one step", "batch") if f.level != "ok"]
    assert (finding.level, finding.code) == ("problem", 76)


def test_a_check_that_breaks_is_a_finding_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2hunter2")

    def a_check(job: Job) -> Iterator[Finding]:
        yield Finding("well")
        raise RuntimeError("of hunter2hunter2")

    well, broken = doctor_findings.examine("s", a_check, Job(1, tmp_path))
    assert (well.level, broken.level, broken.code) == ("ok", "problem", 70)
    assert broken.what == "a check"
    assert "hunter2" not in broken.found


@given(st.lists(st.sampled_from([64, 65, 73, 76, 77, 78, 70])))
def test_the_exit_code_is_that_of_the_first_kind_of_problem(codes: list[int]) -> None:
    findings = [Finding("", "problem", code=code) for code in codes] + [Finding("", "warning")]
    found = exit_code(findings)
    assert found == next((code for code in (64, 65, 73, *sorted(codes)) if code in codes), 0)


@contextmanager
def limited(name: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(name)
    resource.setrlimit(name, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(name, before)


def test_limits_of_the_system_are_told(tmp_path: Path) -> None:
    job = Job(4, tmp_path)
    with limited(resource.RLIMIT_NOFILE, 500):
        assert [f.level for f in doctor_machine.file_descriptors(job)] == ["warning"]
    with limited(resource.RLIMIT_FSIZE, 1 << 40):
        assert [f.level for f in doctor_machine.limits(job)] == ["warning"]
    for name, text in {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/pids.max": "100\n",
        "sys/fs/cgroup/pids.current": "60\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (finding,) = doctor_machine.processes(job, tmp_path)
    assert (finding.level, finding.found[:3]) == ("warning", "40 ")


def answer(status: int, content: object, date: str | None = None) -> Response:
    response = Response()
    response.status_code = status
    response._content = content if isinstance(content, bytes) else json.dumps(content).encode()
    if date:
        response.headers["Date"] = date
    return response


THERE, DATE = {"experiment": {"lifecycle_stage": "active"}}, "Fri, 27 Nov 2026 12:00:00 GMT"
NOW = 1795780800.0  # the same moment


@pytest.mark.parametrize(
    ("response", "levels"),
    [
        (answer(200, THERE), ["ok"]),
        (answer(200, THERE, DATE), ["ok", "ok"]),
        (answer(200, THERE, DATE.replace("12:00", "12:02")), ["ok", "warning"]),
        (answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}), ["ok"]),
        (answer(404, b"<html>"), ["problem"]),
        (answer(200, b"<html>"), ["problem"]),
        (answer(200, {"experiment": {"lifecycle_stage": "deleted"}}), ["problem"]),
        (answer(401, b""), ["problem"]),
        (answer(403, b""), ["problem"]),
        (answer(429, b""), ["warning"]),
        (answer(503, b""), ["warning"]),
    ],
)
def test_what_a_server_answers_is_understood(response: Response, levels: list[str]) -> None:
    found = list(doctor_mlflow.of_answer(response, MLflow(uri="http://host", experiment="e"), NOW))
    assert [f.level for f in found] == levels
    assert {f.code for f in found} <= {0, CONFIG}


def test_a_server_that_does_not_know_its_own_name_is_told_it_not_a_password() -> None:
    refusal = answer(403, b"Invalid Host header - possible DNS rebinding attack detected")
    (finding,) = doctor_mlflow.of_answer(refusal, MLflow(uri="http://host", experiment="e"), NOW)
    assert "--allowed-hosts" in finding.advice


def test_a_server_that_never_answers_is_left_after_a_while(
    job: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_mlflow, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        checked = Job(1, Path())
        checked.read([*job, f"track.mlflow={{uri: '{uri}'}}"])
        (finding,) = doctor_mlflow.store(checked)
    assert finding.level == "warning"


def test_an_experiment_that_was_deleted_is_a_problem(job: list[str], store: str) -> None:
    client = open_client(store)
    client.delete_experiment(client.create_experiment("gone"))
    checked = Job(1, Path())
    checked.read([*job, f"track.mlflow={{uri: '{store}', experiment: gone}}"])
    assert [f.level for f in doctor_mlflow.store(checked)] == ["problem"]
    assert [f.level for f in doctor_mlflow.database(checked)] == ["ok"]
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert [f.level for f in doctor_mlflow.database(checked)] == ["warning"]
    Path(store.removeprefix("sqlite:///")).write_text("no database, but a text of some length")
    assert [f.level for f in doctor_mlflow.database(checked)] == ["problem"]


GIB = 1 << 30


def test_gpus_that_torch_has_no_code_for_are_a_problem() -> None:
    def level(capability: tuple[int, int], *built: str) -> str:
        return look_at("GPU 0", Gpu("A", capability, GIB, GIB), list(built)).level

    assert level((8, 6), "sm_80") == "ok"
    assert level((9, 0), "sm_80", "sm_90a") == "ok"
    assert level((12, 0), "sm_80", "compute_90") == "ok"
    assert level((12, 0), "sm_80", "sm_90") == "problem"
    assert level((8, 0), "sm_86") == "problem"
    assert level((7, 0), "sm_80", "compute_90") == "problem"
    assert look_at("GPU 0", Gpu("A", (8, 0), GIB // 2, GIB), ["sm_80"]).level == "warning"


def test_a_driver_that_is_too_old_is_a_problem_and_no_gpu_is_none() -> None:
    assert [versions("12.8", v).level for v in ((12, 2), (13, 0), (11, 8), None)] == [
        *("ok", "ok", "problem", "ok")
    ]
    assert without_gpu(False, None, None).found == "no GPU: CPU"
    assert without_gpu(True, None, (12, 2)).level == "warning"
    assert without_gpu(True, "12.8", None).level == "warning"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_report_fits_its_terminal_and_repeats_problems(width: int) -> None:
    findings = [
        Finding("found " * 30, level, "advice " * 30, 64, "what it is", "subject")
        for level in ("problem", "ok", "warning", "unknown")
    ]
    console = Console(width=width, record=True)
    show(findings, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    marks = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert marks == ["OK", "?", "warning", "PROBLEM", "to", "1.", "1"]


LINKS = "{type: link_prediction, edge_type: [node, to, node], num_negatives: 3}"
NOTHING_ELSE = ["tasks.segment=null", "tasks.value=null", "evaluate.select=mean_gain"]


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from([-1, 1, 2, 7]), min_size=2, max_size=2),
    st.integers(1, 40),
    st.sampled_from(["sage", "mlp"]),  # mlp reads seeds alone: their bound is tight
    st.sampled_from([[], [f"tasks.cites={LINKS}"], [f"tasks.cites={LINKS}", *NOTHING_ELSE]]),
)
def test_no_batch_has_more_nodes_than_the_bound(
    hops: list[int], batch_size: int, encoder: str, links: list[str]
) -> None:
    argv = [f"loader.num_neighbors={hops}", f"loader.batch_size={batch_size}", *links]
    argv += [f"model.encoder={{type: {encoder}}}", "evaluate.num_neighbors=[2,2]"]
    job = Job(1, Path())
    job.read([SMOKE, *TINY, "graph.num_nodes=1000", *argv])
    assert job.config is not None
    job.store = open_graph(job.config.graph)
    job.tasks = bind_tasks(job.config.tasks, job.store)
    list(weights(job))
    list(build(job))
    assert isinstance(job.training, Training)
    bound = node_bound(job.training, job.store, job.tasks).total()
    sizes = [job.training.stream.loader([number]).num_nodes for number in range(6)]
    assert max(sizes) <= bound <= job.store.num_nodes("node")


def test_a_model_larger_than_the_memory_is_not_built(
    job: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_weights, "memory_bytes", lambda: 10_000)
    findings = examine(job, 1)
    (finding,) = [f for f in findings if f.level == "problem"]
    assert (finding.what, finding.code) == ("weights", CONFIG)
    assert of(findings, "training", "build")[0].level == "unknown"
