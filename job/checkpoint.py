"""checkpoint: atomic, verified; safetensors and JSON, nothing is ever unpickled."""

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job.config import Checkpoint
from job.runtime import run_command
from mtl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from job.state import Progress, TrainState

VERSION, MANIFEST = 1, "manifest.json"


class Checkpoints:
    """The checkpoints of one run directory.

    Args:
        run_dir: holds them in `checkpoints/step_00000120/`.
        options: the `checkpoint:` section.
        graph: fingerprint of the graph; a checkpoint of another one is refused.
    """

    def __init__(self, run_dir: Path, options: Checkpoint, graph: str) -> None:
        self.folder, self.options, self.graph = run_dir / "checkpoints", options, graph

    def save(self, state: "TrainState") -> Path:
        """Write a checkpoint aside, move it into place, and remove what is no longer kept."""
        progress = state.progress
        final = self.folder / f"step_{progress.step:08d}"
        aside = self.folder / f".{final.name}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        state.write(aside)
        manifest = {
            "version": VERSION,
            "graph": self.graph,
            "progress": vars(progress),
            "files": {path.name: _identity(path) for path in sorted(aside.iterdir())},
        }
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        for path in (*aside.iterdir(), aside):
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        _sync(self.folder)
        self._prune(progress)
        return final

    def resume(self, state: "TrainState") -> bool:
        """Go on from the newest checkpoint that is whole; return whether there is one.

        The main process chooses, so that all processes go on from the same one.
        """
        runtime = state.runtime
        newest = self._newest() if runtime.is_main else None
        number = runtime.sum_int(0 if newest is None else 1 + _step_of(newest))
        if number:
            folder = self.path(number - 1)
            self._check_graph(folder)
            state.read(folder)
        return number > 0

    def _newest(self) -> Path | None:
        """Return the newest checkpoint that is whole; say which ones are not."""
        for folder in reversed(self.all()):
            fault = verify(folder)
            if fault is None:
                return folder
            message = f"checkpoint {folder} is damaged ({fault}); trying the one before"
            print(message, file=sys.stderr)
        return None

    def newest_progress(self) -> dict[str, Any]:
        """Return how far the newest whole checkpoint is.

        Raises:
            ConfigError: there is none.
        """
        newest = self._newest()
        if newest is None:
            raise ConfigError(f"{self.folder}: no whole checkpoint is there; train first")
        progress: dict[str, Any] = json.loads((newest / MANIFEST).read_text())["progress"]
        return progress

    def best(self) -> int:
        """Return the step of the best checkpoint, checked; of the newest where none is.

        Raises:
            ConfigError: there is none.
            DataError: it is damaged.
        """
        progress = self.newest_progress()
        step: int = progress["step"] if progress["best_step"] is None else progress["best_step"]
        fault = verify(self.path(step))
        if fault is not None:
            raise DataError(f"{self.path(step)}: {fault}")
        return step

    def all(self) -> list[Path]:
        """Return all checkpoints, oldest first, whole or not."""
        folders = self.folder.glob("step_*")
        return sorted(folder for folder in folders if re.fullmatch(r"step_\d{8}", folder.name))

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint of a step."""
        return self.folder / f"step_{step:08d}"

    def whole(self, step: int) -> Path:
        """Return the folder of a step's checkpoint, checked.

        Raises:
            ConfigError: there is none, or it is of another graph.
            DataError: it is damaged.
        """
        steps = [_step_of(folder) for folder in self.all()]
        if step not in steps:
            raise ConfigError(
                f"checkpoint: {self.folder} has none of step {step} "
                f"(it has: {', '.join(map(str, steps)) or 'none'})"
            )
        fault = verify(self.path(step))
        if fault is not None:
            raise DataError(f"{self.path(step)}: {fault}")
        self._check_graph(self.path(step))
        return self.path(step)

    def _check_graph(self, folder: Path) -> None:
        trained_on = json.loads((folder / MANIFEST).read_text())["graph"]
        if trained_on != self.graph:
            raise ConfigError(
                f"graph: {folder} was trained on another graph (its fingerprint is "
                f"{trained_on[:12]}, this one's {self.graph[:12]}); take that graph, or another "
                f"run.dir"
            )

    def _prune(self, progress: "Progress") -> None:
        keep = {path.name for path in self.all()[-self.options.keep :]}
        keep |= {self.path(progress.step).name, self.path(progress.best_step or 0).name}
        for path in self.all():
            if path.name not in keep:
                shutil.rmtree(path)


def verify(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files: dict[str, Any] = manifest["files"]
        if manifest["version"] > VERSION:
            raise DataError(f"{folder} was written by a newer version; update to read it")
        for name, identity in files.items():
            if _identity(folder / name) != identity:
                return f"{name} has changed since it was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        return f"{type(error).__name__}: {error}"
    return None


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def _identity(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


USAGE = """
usage: python -m job.checkpoint RUN_DIR

List the checkpoints of a run and verify each file against its checksum.
"""


def main(argv: list[str]) -> None:
    """Print one line for each checkpoint.

    Raises:
        ConfigError: there is none to list.
        DataError: some are damaged.
    """
    folder = Path(argv[0]) if len(argv) == 1 else Path()
    checkpoints = Checkpoints(folder, Checkpoint(), graph="")
    if len(argv) != 1 or not checkpoints.all():
        raise ConfigError(f"expected a run directory with checkpoints, found {' '.join(argv)!r}")
    faults = {path: verify(path) for path in checkpoints.all()}
    for path, fault in faults.items():
        print(f"{path.name}  {'whole' if fault is None else f'DAMAGED: {fault}'}")
    if any(faults.values()):
        raise DataError(f"{folder}: training goes on from the newest whole checkpoint")


if __name__ == "__main__":
    run_command(main, USAGE)
