"""Checkpoints survive a crash at any moment, any damage, and a full disk."""

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from job.checkpoint import Checkpoints
from job.checkpoint_files import MANIFEST, clear_up, folders, read_manifest, verify
from job.config import Checkpoint
from job.state import MODEL, Snapshot
from mtl.errors import ConfigError, DataError

GRAPH = "a" * 64
OPERATIONS = ("rename", "mkdir", "unlink", "rmdir", "fsync", "open")


class CrashError(BaseException):
    """The machine went away."""


def snapshot(step: int, best: int | None = None, size: int = 8) -> Snapshot:
    weights = {"w": torch.full((size,), float(step))}
    progress = {"step": step, "best_score": 0.5, "best_step": best}
    return Snapshot({MODEL: weights, "optimizer.safetensors": {}}, "{}", progress)


def write(run_dir: Path, *steps: tuple[int, int | None], keep: int = 2) -> Checkpoints:
    checkpoints = Checkpoints(run_dir, Checkpoint(keep=keep), GRAPH)
    for step, best in steps:
        checkpoints._write(snapshot(step, best))
    return checkpoints


def there(run_dir: Path) -> list[int]:
    return [int(path.name[5:]) for path in folders(run_dir / "checkpoints")]


@contextmanager
def crash_after(count: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let the machine go away in place of one of the operations on files; count them."""
    done = [0]

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def operation(*args: Any, **options: Any) -> Any:
            if done[0] == count:
                raise CrashError
            done[0] += 1
            return original(*args, **options)

        return operation

    with monkeypatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, counted(name))
        yield done


def crash(
    run_dir: Path, step: int, best: int | None, count: int, patch: pytest.MonkeyPatch
) -> bool:
    """Save, with a crash after so many operations; return whether it came to that."""
    with crash_after(count, patch):
        try:
            write(run_dir, (step, best))
        except CrashError:
            return True
    return False


def newest(run_dir: Path) -> tuple[int, Tensor]:
    """Return step and weights that a training would go on from after a crash."""
    clear_up(run_dir / "checkpoints")
    folder = Checkpoints(run_dir, Checkpoint(), GRAPH)._newest()
    assert folder is not None
    return int(folder.name[5:]), load_file(folder / MODEL)["w"]


@pytest.mark.parametrize("walks", [40, pytest.param(600, marks=pytest.mark.soak)])
def test_a_training_that_crashes_in_every_save_never_goes_back_further_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, walks: int
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for seed in range(walks):
        rng, run_dir = random.Random(seed), tmp_path / str(seed)
        last, best, keep = 10, 10, rng.randrange(1, 4)
        write(run_dir, (10, 10), keep=keep)
        for _ in range(4):
            step = last + 10 * rng.randrange(2)
            best = step if rng.random() < 0.4 else best
            crashed = crash(run_dir, step, best, rng.randrange(30), monkeypatch)
            found, weights = newest(run_dir)
            assert found in ({last, step} if crashed else {step})
            assert torch.equal(weights, torch.full((8,), float(found)))
            left = [p.name for p in (run_dir / "checkpoints").iterdir() if p.name[0] == "."]
            assert left == []
            last = found


def test_the_newest_and_the_best_are_kept_and_no_other(tmp_path: Path) -> None:
    write(tmp_path, (10, 10), (20, 20), (30, 20), (40, 20), (50, 20))
    assert there(tmp_path) == [20, 40, 50]
    write(tmp_path, (60, 60), (70, 60), keep=1)
    assert there(tmp_path) == [60, 70]


def test_a_best_one_that_was_never_written_does_not_cost_the_one_that_was(tmp_path: Path) -> None:
    checkpoints = write(tmp_path, (10, 10), (20, 10), (40, 30), (50, 30), (60, 30))
    assert there(tmp_path) == [10, 50, 60]
    assert checkpoints.best() == 10


def test_a_full_disk_leaves_what_was_there_and_people_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, Checkpoint(), GRAPH, said.append)
    write(tmp_path, (10, 10))
    big = snapshot(20, 20, size=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 9999))
    checkpoints._writing = checkpoints._writer.submit(checkpoints._write, big)
    checkpoints.wait()
    assert there(tmp_path) == [10]
    (text,) = said
    assert "40,000 bytes are needed, 9,999 are free" in text
    assert "the newest is that of step 10" in text


def test_all_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power failure may lose is what was not yet synced."""
    opened, done = os.open, []
    paths: dict[int, str] = {}

    def opening(path: Any, *args: Any, **options: Any) -> int:
        descriptor = opened(path, *args, **options)
        paths[descriptor] = os.path.basename(path)
        return descriptor

    def renaming(old: Any, new: Any, **options: Any) -> None:
        done.append(f"> {os.path.basename(new)}")
        os.replace(old, new)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(paths[descriptor]))
    monkeypatch.setattr(os, "rename", renaming)
    write(tmp_path, (20, 20))
    aside = f".step_00000020.{os.getpid()}"
    files = {MANIFEST, MODEL, "optimizer.safetensors", "state.json"}
    assert set(done[:4]) == files
    assert done[4:] == [aside, "> step_00000020", "checkpoints"]


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undamaged")
    write(folder, (10, 10), (20, 10))
    return folder


def test_a_folder_under_another_name_is_no_checkpoint_of_that_step(
    undamaged: Path, tmp_path: Path
) -> None:
    shutil.copytree(undamaged / "checkpoints" / "step_00000010", tmp_path / "step_00000030")
    assert verify(tmp_path / "step_00000030") == "it is of step 10"


def test_a_manifest_leads_to_no_file_elsewhere(undamaged: Path, tmp_path: Path) -> None:
    folder = tmp_path / "step_00000020"
    shutil.copytree(undamaged / "checkpoints" / "step_00000020", folder)
    manifest = read_manifest(folder) | {"version": 1, "files": {"../secret": {}}}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert "is no name of a file" in str(verify(folder))


def test_the_first_version_whose_manifest_has_no_checksum_is_read(
    undamaged: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "step_00000020"
    shutil.copytree(undamaged / "checkpoints" / "step_00000020", folder)
    manifest = read_manifest(folder) | {"version": 1}
    del manifest["sha256"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert verify(folder) is None
    (folder / MANIFEST).write_text(json.dumps(manifest | {"version": 3}))
    with pytest.raises(DataError, match="newer version"):
        verify(folder)


def test_a_strict_run_refuses_what_another_run_passes_over(undamaged: Path, tmp_path: Path) -> None:
    shutil.copytree(undamaged, tmp_path, dirs_exist_ok=True)
    os.truncate(tmp_path / "checkpoints" / "step_00000020" / MODEL, 5)
    Checkpoints(tmp_path, Checkpoint(), GRAPH)._prepare()
    with pytest.raises(DataError, match=r"step_00000020.*checkpoint\.strict refuses"):
        Checkpoints(tmp_path, Checkpoint(strict=True), GRAPH)._prepare()


def test_another_graph_is_refused_by_its_fingerprint(undamaged: Path) -> None:
    with pytest.raises(ConfigError, match="was trained on another graph"):
        Checkpoints(undamaged, Checkpoint(), "b" * 64).whole(20)


def test_a_training_does_not_go_on_on_another_graph(undamaged: Path) -> None:
    """Though its configuration is the same: a folder may hold another graph than last time."""
    read: list[Path] = []
    runtime = SimpleNamespace(is_main=True, on_main=lambda act: act(), sum_int=lambda n: n)
    state: Any = SimpleNamespace(runtime=runtime, read=read.append)
    assert Checkpoints(undamaged, Checkpoint(), GRAPH).resume(state)
    with pytest.raises(ConfigError, match="was trained on another graph"):
        Checkpoints(undamaged, Checkpoint(), "b" * 64).resume(state)
    assert [path.name for path in read] == ["step_00000020"]


def test_a_writer_is_waited_for_however_the_training_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: time.sleep(0.02))
    checkpoints = Checkpoints(tmp_path, Checkpoint(), GRAPH)
    checkpoints._writing = checkpoints._writer.submit(checkpoints._write, snapshot(10, 10))
    checkpoints.close()
    assert there(tmp_path) == [10]
