"""rundir: machines without a common disk: each gets a copy of the run directory before it is read.

The main process alone writes there, and at the next start it may be on another machine.
"""

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from socket import gethostname

from job.checkpoint_files import MANIFEST, folders, remove, step_of, verify
from job.lock import LOCK
from job.record import read_json
from job.runtime import Runtime
from mtl.errors import ConfigError

CHUNK_BYTES = 64 << 20
ENDING = "exit.json"
"""Of the last start of this machine: its launcher reads it."""


def mirror(run_dir: Path, runtime: Runtime) -> None:
    """Copy the run directory that is furthest to all machines that have one of their own.

    Raises:
        ConfigError: they have checkpoints of different runs.
    """
    if runtime.local_world_size == runtime.world_size:
        return
    has_own = _has_own(run_dir / LOCK, runtime)
    if not runtime.sum_int(int(has_own)):
        return
    import torch

    mine = _newest(run_dir) if has_own or runtime.is_main else (0, 0)
    numbers = torch.tensor(mine, device=runtime.device)
    everyone = [n.tolist() for n in runtime.gather(numbers, [2] * runtime.world_size)]
    runtime.on_each_machine(lambda: _check_same({run for step, run in everyone if step}, run_dir))
    source = max(range(runtime.world_size), key=lambda rank: everyone[rank][0])
    takes = (has_own or runtime.is_main) and runtime.rank != source
    _send(run_dir, source, runtime, takes=takes)
    there = json.loads(tell(json.dumps(_checkpoints(run_dir)), source, runtime))
    for name in {*_checkpoints(run_dir)} - {*there} if takes else ():
        remove(run_dir / "checkpoints" / name)
    for name in there:
        _send(run_dir / "checkpoints" / name, source, runtime, takes=takes)


def hand_out(checkpoint: Path, runtime: Runtime) -> None:
    """Copy a checkpoint of the main process to all machines that do not see it."""
    if runtime.local_world_size < runtime.world_size:
        _send(checkpoint, 0, runtime, takes=_has_own(checkpoint / MANIFEST, runtime))


def tell(text: str, source: int, runtime: Runtime) -> str:
    """Return the text of the source, on all processes."""
    data = text.encode() if runtime.rank == source else b""
    return _bytes(data, runtime.sum_int(len(data)), runtime).decode()


def _has_own(path: Path, runtime: Runtime) -> bool:
    """Return whether this process speaks for a machine where a file is not the main process's."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return (tell(text, 0, runtime) != text) and runtime.is_local_main


def _newest(run_dir: Path) -> tuple[int, int]:
    """Return 1 + step of the newest whole checkpoint, and a number of the run; zeros for none."""
    for folder in reversed(folders(run_dir / "checkpoints")):
        if verify(folder) is None:
            key = str(read_json(run_dir / "mlflow.json", "key")["key"])
            return 1 + step_of(folder), int(sha256(key.encode()).hexdigest()[:15], 16)
    return 0, 0


def _check_same(runs: set[int], run_dir: Path) -> None:
    if len(runs) > 1:
        raise ConfigError(
            f"run.dir: {run_dir} of {gethostname()} and of other machines hold different runs; "
            "give this one a directory of its own (run.dir=...), or delete those of another run"
        )


def _checkpoints(run_dir: Path) -> list[str]:
    return [folder.name for folder in folders(run_dir / "checkpoints")]


def _send(folder: Path, source: int, runtime: Runtime, *, takes: bool) -> None:
    """Copy the files of a folder that are not hidden; where all have its manifest, nothing."""
    path = folder / MANIFEST
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    manifest = tell(text, source, runtime)
    if runtime.all_agree(bool(manifest) and (not takes or text == manifest)):
        return
    found = folder.glob("[!.]*") if folder.is_dir() else ()
    mine = [f.name for f in found if f.is_file() and f.name != ENDING]
    mine.sort(key=lambda name: (name == MANIFEST, name))  # what a checkpoint is whole with is last
    for name in json.loads(tell(json.dumps(mine), source, runtime)):
        _copy(folder / name, source, runtime, takes=takes)


def _copy(path: Path, source: int, runtime: Runtime, *, takes: bool) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    if takes:
        path.parent.mkdir(parents=True, exist_ok=True)
    with (aside if takes else Path(os.devnull)).open("wb") as file:
        for chunk in _chunks(path, source, runtime):
            file.write(chunk)
    if takes:
        aside.replace(path)


def _chunks(path: Path, source: int, runtime: Runtime) -> Iterator[bytes]:
    """Yield what a file holds at the source, on all processes."""
    reads = runtime.rank == source
    size = runtime.sum_int(path.stat().st_size if reads else 0)
    with (path if reads else Path(os.devnull)).open("rb") as file:
        for start in range(0, size, CHUNK_BYTES):
            yield _bytes(file.read(CHUNK_BYTES), min(CHUNK_BYTES, size - start), runtime)


def _bytes(data: bytes, size: int, runtime: Runtime) -> bytes:
    """Return the bytes of the only process that has some."""
    import torch

    values = torch.zeros(size, dtype=torch.uint8)
    values[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else 0
    return runtime.sum(values.to(runtime.device)).cpu().numpy().tobytes()
