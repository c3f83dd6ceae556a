"""Power fails at any moment of a save, or bytes change later: nothing wrong is ever loaded."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from job import state
from job.checkpoint import Checkpoints
from job.checkpoint_files import MANIFEST, clear_up, verify
from job.config import Checkpoint
from job.state import MODEL, Snapshot

GRAPH = "a" * 64
OPERATIONS = ("rename", "mkdir", "unlink", "rmdir", "fsync", "open")
LOSSES = 28
"""Ways in which data that are not yet on the disk get lost, for each moment of a crash."""


class CrashError(BaseException):
    """The machine went away."""


def write(run_dir: Path, *steps: tuple[int, int | None]) -> None:
    """Save checkpoints: (step, the best step so far)."""
    checkpoints = Checkpoints(run_dir, Checkpoint(keep=2), GRAPH)
    for step, best in steps:
        tensors = {MODEL: {"w": torch.full((8,), float(step))}, "optimizer.safetensors": {}}
        progress = {"step": step, "best_score": 0.5, "best_step": best}
        checkpoints._write(Snapshot(tensors, "{}", progress))


@contextmanager
def crash_after(count: int, rng: random.Random, patch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """Let the machine go away in place of one of the operations on files; a write half way.

    Yields:
        The inodes whose data are on the disk by then.
    """
    done, synced = [0], set[int]()

    def counted(original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def operation(*args: Any, **options: Any) -> Any:
            crashes = done[0] == count
            done[0] += 1
            if crashes and name in ("save_file", "write_text"):
                original(*args, **options)
                path = Path(args[name == "save_file"])
                os.truncate(path, rng.randrange(path.stat().st_size + 1))
            if crashes:
                raise CrashError
            if name == "fsync":
                synced.add(os.fstat(args[0]).st_ino)
                return None  # fast: nobody pulls the plug
            return original(*args, **options)

        return operation

    with patch.context() as inner:
        for owner, names in ((os, OPERATIONS), (state, ["save_file"]), (Path, ["write_text"])):
            for name in names:
                inner.setattr(owner, name, counted(getattr(owner, name), name))
        yield synced


def lose(folder: Path, names: list[Path], rng: random.Random) -> None:
    """Lose data that were written, but were not on the disk: what is found then is anything."""
    for name in names:
        path = folder / name
        size = path.stat().st_size
        match rng.randrange(4):
            case 0:
                os.truncate(path, rng.randrange(size + 1))
            case 1:
                path.write_bytes(bytes(size))
            case 2:
                path.unlink()


@pytest.mark.parametrize("step", [30, 20])  # a new one; one that is there already
@pytest.mark.parametrize("best", [10, 20, 30])
def test_after_a_crash_at_any_moment_the_newest_is_the_old_one_or_the_new_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    best: int,
    fault_report: Callable[..., Any],
) -> None:
    fault = fault_report(
        "the machine goes away while a checkpoint is saved",
        "in place of each single operation on files, or in the middle of a write; what had not "
        "been synced is cut off, zeros or gone, in 28 ways",
        "the checkpoint before or the new one is loaded, whole and right, and nothing else is left",
    )
    before, rng = tmp_path / "before", random.Random(step + best)
    write(before, (10, 10), (20, min(best, 20)))
    for count in range(1000):
        run_dir, crashed = tmp_path / str(count), False
        shutil.copytree(before, run_dir)
        safe = {path.stat().st_ino for path in run_dir.rglob("*")}
        with crash_after(count, rng, monkeypatch) as synced:
            try:
                write(run_dir, (step, best))
            except CrashError:
                crashed = True
        files = (path for path in run_dir.rglob("*") if path.is_file())
        unsafe = [
            path.relative_to(run_dir) for path in files if path.stat().st_ino not in safe | synced
        ]
        for number in range(LOSSES if unsafe else 1):
            copy = tmp_path / f"{count}.{number}"
            shutil.copytree(run_dir, copy)
            lose(copy, unsafe, rng)
            goes_on_from(copy, {20, step} if crashed else {step})
            fault.times += 1
        shutil.rmtree(run_dir)
        if not crashed:
            break
    assert 15 < count < 1000


def goes_on_from(run_dir: Path, steps: set[int]) -> None:
    """Check which checkpoint a training would go on from after a crash, and what is left."""
    clear_up(run_dir / "checkpoints")
    folder = Checkpoints(run_dir, Checkpoint(), GRAPH)._newest()
    assert folder is not None
    found = int(folder.name.removeprefix("step_"))
    assert found in steps
    assert torch.equal(load_file(folder / MODEL)["w"], torch.full((8,), float(found)))
    assert [p.name for p in (run_dir / "checkpoints").iterdir() if p.name[0] == "."] == []
    shutil.rmtree(run_dir)


FAULTS: dict[str, Callable[[Path, random.Random], None]] = {}


def fault(damage: Callable[[Path, random.Random], None]) -> Callable[[Path, random.Random], None]:
    FAULTS[damage.__name__] = damage
    return damage


def any_file(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(path for path in folder.iterdir() if path.stat().st_size))


@fault
def flipped_bit(folder: Path, rng: random.Random) -> None:
    path = any_file(folder, rng)
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


@fault
def truncated(folder: Path, rng: random.Random) -> None:
    path = any_file(folder, rng)
    os.truncate(path, rng.randrange(path.stat().st_size))


@fault
def hole(folder: Path, rng: random.Random) -> None:
    path = any_file(folder, rng)
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    end = rng.randrange(start, len(data)) + 1
    data[start:end] = bytes(end - start)
    path.write_bytes(data)


@fault
def deleted(folder: Path, rng: random.Random) -> None:
    any_file(folder, rng).unlink()


@fault
def swapped(folder: Path, rng: random.Random) -> None:
    one, other = rng.sample(sorted(folder.iterdir()), 2)
    one.rename(folder / "x")
    other.rename(one)
    (folder / "x").rename(other)


@fault
def of_another_step(folder: Path, rng: random.Random) -> None:
    shutil.copy(any_file(folder.with_name("step_00000010"), rng), folder)


@fault
def appended(folder: Path, rng: random.Random) -> None:
    with any_file(folder, rng).open("ab") as file:
        file.write(rng.randbytes(rng.randrange(1, 9)))


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undamaged")
    write(folder, (10, 10), (20, 10))
    return folder


@pytest.mark.parametrize("name", FAULTS)
def test_damage_is_noticed_or_changes_nothing(
    tmp_path: Path, undamaged: Path, name: str, fault_report: Callable[..., Any]
) -> None:
    fault = fault_report(
        "the files of a checkpoint are damaged",
        "bits flipped, files cut off, holes of zeros, files deleted, swapped, of another step, "
        "longer, at random",
        "noticed, and the checkpoint before is taken; or nothing that counts has changed",
    )
    newest_one = Path("checkpoints") / "step_00000020"
    whole = {p.name: p.read_bytes() for p in (undamaged / newest_one).iterdir()}
    for seed in range(150):
        run_dir = tmp_path / str(seed)
        shutil.copytree(undamaged, run_dir)
        FAULTS[name](run_dir / newest_one, random.Random(seed))
        found = verify(run_dir / newest_one)
        now = {p.name: p.read_bytes() for p in (run_dir / newest_one).iterdir()}
        same = now == whole or read_alike(now, whole)
        assert (found is None) == same, (name, seed, found)
        assert Checkpoints(run_dir, Checkpoint(), GRAPH, lambda _: None)._newest() is not None
        shutil.rmtree(run_dir)
        fault.times += 1


def read_alike(now: dict[str, bytes], whole: dict[str, bytes]) -> bool:
    """Return whether only the spaces of the manifest differ."""
    try:
        manifests = [json.loads(files[MANIFEST]) for files in (now, whole)]
    except (ValueError, KeyError):
        return False
    rest = [{n: b for n, b in files.items() if n != MANIFEST} for files in (now, whole)]
    return manifests[0] == manifests[1] and rest[0] == rest[1]
