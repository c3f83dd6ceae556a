"""Machines without a common disk: the run directory of one is copied to the others."""

import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch

from job.checkpoint_files import write_folder
from job.mirror import mirror
from mtl.errors import ConfigError

ROOT = Path(__file__).parents[2]
JOB = [
    str(ROOT / "job" / "configs" / "smoke.yaml"),
    *("graph.num_nodes=300", "train.epochs=2", "track.every_steps=1", "train.precision=fp64"),
    *("track.mlflow=null", "track.report=false", "loader.batch_size=8"),
    "loader.global_batch_size=16",
]
RUN = Path("runs/smoke")


@pytest.fixture
def machines(job_server, tmp_path):
    """Run the job on one process a machine; each of them has a disk of its own."""

    def run(folders: list[str], *argv: str, script: str = "train", stop_at: int | None = None):
        job = JOB if script == "train" else []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        env |= {"WORLD_SIZE": str(len(folders)), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        orders = []
        for rank, folder in enumerate(folders):
            (tmp_path / folder).mkdir(exist_ok=True)
            orders.append(
                job_server.ask(
                    argv=[str(ROOT / "job" / f"{script}.py"), *job, *argv],
                    cwd=str(tmp_path / folder),
                    env={**env, "RANK": str(rank)},
                    stdout=str(tmp_path / f"{rank}.out"),
                    stderr=str(tmp_path / f"{rank}.err"),
                    timeout=200,
                    stop_at=stop_at if rank else None,
                )
            )
        codes = [job_server.ask(wait=pid, timeout=200) for pid in orders]
        return codes, [(tmp_path / f"{rank}.err").read_text() for rank in range(len(folders))]

    return run


def weights(folder: Path) -> bytes:
    newest = max((folder / RUN / "checkpoints").glob("step_*"))
    return (newest / "model.safetensors").read_bytes()


def steps(folder: Path) -> list[int]:
    lines = (folder / RUN / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines if "train/" in line]


@pytest.mark.soak
def test_a_run_goes_on_to_the_last_bit_whichever_machine_is_the_first(machines, tmp_path):
    assert machines(["shared", "shared"])[0] == [0, 0]
    assert machines(["a", "b"], stop_at=3)[0] == [75, 75]
    assert not (tmp_path / "b" / RUN / "checkpoints").exists()
    codes, said = machines(["a", "b"], stop_at=9)
    assert codes == [75, 75], said
    codes, said = machines(["b", "a"])
    assert codes == [0, 0], said
    assert weights(tmp_path / "b") == weights(tmp_path / "shared")
    assert steps(tmp_path / "b") == steps(tmp_path / "shared")
    assert "no whole checkpoint of the best step" not in said[0]
    shutil.rmtree(tmp_path / "a" / RUN / "checkpoints")
    files = [f"json={name}.json" for name in ("apart", "shared")]
    assert machines(["b", "a"], str(RUN), files[0], script="evaluate")[0] == [0, 0]
    assert machines(["shared"] * 2, str(RUN), files[1], script="evaluate")[0] == [0, 0]
    apart, shared = (tmp_path / "b" / "apart.json", tmp_path / "shared" / "shared.json")
    assert json.loads(apart.read_text())["metrics"] == json.loads(shared.read_text())["metrics"]


@pytest.mark.soak
def test_weights_to_begin_with_must_be_on_all_machines(machines, tmp_path):
    assert machines(["a", "a"], "train.epochs=1")[0] == [0, 0]
    more = ["run.name=second", f"model.init_from={RUN}"]
    codes, said = machines(["a", "b"], *more)
    assert codes == [64, 64], said
    assert "is not on all machines" in said[0]


class Process:
    """One thread of several in the place of a Runtime; each is a machine of `per_machine`."""

    device = "cpu"

    def __init__(self, rank: int, world_size: int, per_machine: int, meet: Barrier, box: list):
        self.rank, self.world_size = rank, world_size
        self.is_main, self.is_local_main = not rank, not rank % per_machine
        self.local_world_size = per_machine
        self._meet, self._box = meet, box

    def gather(self, tensor, sizes):
        self._box[self.rank] = tensor.clone()
        self._meet.wait(20)
        everyone = [tensor.clone() for tensor in self._box]
        self._meet.wait(20)
        return everyone

    def sum(self, tensor):
        return sum(self.gather(tensor, []))

    def sum_int(self, number: int) -> int:
        return int(self.sum(torch.tensor(number)))

    def all_agree(self, answer: bool) -> bool:
        return self.sum_int(answer) == self.world_size

    def on_each_machine(self, action):
        if self.is_local_main:
            action()


def mirrored(folders: list[Path], per_machine: int = 1) -> list[Exception | None]:
    """Let processes mirror their run directories; return what each raised."""
    meet, box = Barrier(len(folders)), [None] * len(folders)

    def run(rank: int) -> Exception | None:
        try:
            mirror(folders[rank], Process(rank, len(folders), per_machine, meet, box))
        except ConfigError as error:
            return error
        return None

    with ThreadPoolExecutor(len(folders)) as threads:
        return list(threads.map(run, range(len(folders))))


def fill(run_dir: Path, run: str, *steps: int, owner: str = "") -> Path:
    """Make a run directory that was at these steps last."""
    run_dir.mkdir()
    (run_dir / ".lock").write_text(owner)
    if steps:
        (run_dir / "mlflow.json").write_text(json.dumps({"key": run}))
        (run_dir / "metrics.jsonl").write_text(f"{run} {steps}")
    for step in steps:
        write_folder(
            run_dir / "checkpoints" / f"step_{step:08d}",
            lambda folder, step=step: (folder / "state.json").write_text(f"{run} {step}"),
            {"graph": "", "progress": {"step": step, "best_step": step}},
        )
    return run_dir


def contents(run_dir: Path) -> dict[str, bytes]:
    files = (path for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "steps",
    [[(5,), ()], [(), (5,)], [(2, 5), (2,)], [(2,), (2, 5)], [(2, 3), (4, 5)], [(), (3,), (2,)]],
    ids=str,
)
def test_all_machines_get_the_directory_that_is_furthest(steps, tmp_path):
    folders = [
        fill(tmp_path / str(rank), "one", *steps[rank], owner=str(rank))
        for rank in range(len(steps))
    ]
    first = max(range(len(steps)), key=lambda rank: max(steps[rank], default=0))
    furthest = contents(folders[first])
    assert mirrored(folders) == [None] * len(steps)
    assert [contents(folder) for folder in folders] == [furthest] * len(steps)


def test_a_damaged_checkpoint_is_not_the_furthest(tmp_path):
    folders = [fill(tmp_path / "0", "one", 2), fill(tmp_path / "1", "one", 2, 5, owner="1")]
    (folders[1] / "checkpoints" / "step_00000005" / "state.json").write_text("torn")
    before = contents(folders[0])
    mirrored(folders)
    assert [contents(folder) for folder in folders] == [before] * 2


def test_machines_with_different_runs_are_refused_and_nothing_is_lost(tmp_path):
    folders = [fill(tmp_path / "0", "one", 2), fill(tmp_path / "1", "other", 5, owner="1")]
    before = [contents(folder) for folder in folders]
    assert all("hold different runs" in str(error) for error in mirrored(folders))
    assert [contents(folder) for folder in folders] == before


def test_a_directory_that_all_see_is_not_touched(tmp_path):
    shared = fill(tmp_path / "run", "one", 2)
    before = {path: path.stat().st_ctime_ns for path in shared.rglob("*")}
    assert mirrored([shared] * 2) == [None] * 2
    assert {path: path.stat().st_ctime_ns for path in shared.rglob("*")} == before


def test_one_process_of_a_machine_copies_for_all_of_them(tmp_path):
    one, other = fill(tmp_path / "0", "one", 2), fill(tmp_path / "1", "one", owner="1")
    assert mirrored([one, one, other, other], per_machine=2) == [None] * 4
    assert contents(other) == contents(one)


def test_a_file_of_several_chunks_arrives_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("job.mirror.CHUNK_BYTES", 7)
    one, other = fill(tmp_path / "0", "one", 2), fill(tmp_path / "1", "one", owner="1")
    mirrored([one, other])
    assert contents(other) == contents(one)
