"""checkpoint: atomic, verified, written beside the training; nothing is ever unpickled."""

import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job.checkpoint_files import (
    clear_up,
    folders,
    read_manifest,
    remove,
    step_of,
    verify,
    write_folder,
)
from job.config import Checkpoint
from job.mirror import hand_out
from job.record import unfit
from job.runtime import CannotWriteError, Runtime, run_command
from mtl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from job.state import Snapshot, TrainState

BEAT_SECONDS = 1.0


class Checkpoints:
    """The checkpoints of one run directory.

    Args:
        run_dir: holds them in `checkpoints/step_00000120/`.
        options: the `checkpoint:` section.
        graph: fingerprint of the graph; a checkpoint of another one is refused.
        say: tells people of what is damaged, or could not be written.
        beat: is called again and again while a checkpoint is waited for.
    """

    def __init__(
        self,
        run_dir: Path,
        options: Checkpoint,
        graph: str,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.options, self.graph = run_dir / "checkpoints", options, graph
        self.say, self._beat = say, beat
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def save(self, state: "TrainState") -> None:
        """Copy the state and write it in the background, once the one before is written.

        Where it cannot be written (the disk is full, say) people are told, what was there before
        stays, and the training goes on.
        """
        self.wait()
        self._writing = self._writer.submit(self._write, state.snapshot())

    def wait(self) -> None:
        """Wait until all that was saved is written, or people know that it is not."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        while not writing.done():
            wait([writing], timeout=BEAT_SECONDS)
            self._beat()
        try:
            writing.result()
        except OSError as error:
            newest = self._newest()
            step = "none" if newest is None else f"that of step {step_of(newest)}"
            self.say(f"warning: no checkpoint could be written ({error}); the newest is {step}")

    def close(self) -> None:
        """Wait, however the training ends: what was saved before is not lost."""
        self.wait()
        self._writer.shutdown()

    def check_saved(self, step: int) -> None:
        """Wait, and check that a step was saved.

        Raises:
            CannotWriteError: it was not.
        """
        self.wait()
        if not self.path(step).exists():
            raise CannotWriteError(f"{self.path(step)} could not be written")

    def resume(self, state: "TrainState") -> bool:
        """Go on from the newest checkpoint that is whole; return whether there is one.

        The main process chooses, so that all processes go on from the same one.

        Raises:
            DataError: `checkpoint.strict`, and the newest is damaged.
        """
        state.runtime.on_main(self._prepare)
        number = self._agreed(state.runtime, self._newest)
        if number is not None:
            self._check_graph(self.path(number))
            state.read(self.path(number))
        return number is not None

    def best_saved(self, runtime: Runtime, wanted: int | None) -> Path | None:
        """Return the best checkpoint that could be written, checked; None where there is none.

        Args:
            runtime: the main process chooses.
            wanted: step that was the best; people are told where another has to do.
        """
        number = self._agreed(runtime, self._best)
        if number != wanted and runtime.is_main:
            instead = "the last weights" if number is None else f"those of step {number}"
            self.say(f"warning: no whole checkpoint of the best step, {wanted}; taking {instead}")
        if number is None:
            return None
        hand_out(self.path(number), runtime)
        return self.path(number)

    def newest_progress(self) -> dict[str, Any]:
        """Return how far the newest whole checkpoint is.

        Raises:
            ConfigError: there is none.
        """
        newest = self._newest()
        if newest is None:
            raise ConfigError(f"{self.folder}: no whole checkpoint is there; train first")
        progress: dict[str, Any] = read_manifest(newest)["progress"]
        return progress

    def best(self) -> int:
        """Return the step of the best whole checkpoint; of the newest where none was the best.

        Raises:
            ConfigError: there is none.
        """
        best = self._best()
        return int(self.newest_progress()["step"]) if best is None else step_of(best)

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint of a step."""
        return self.folder / f"step_{step:08d}"

    def whole(self, step: int) -> Path:
        """Return the folder of a step's checkpoint, checked.

        Raises:
            ConfigError: there is none, or it is of another graph.
            DataError: it is damaged.
        """
        steps = [step_of(folder) for folder in folders(self.folder)]
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

    def _write(self, snapshot: "Snapshot") -> None:
        """Write a snapshot, and remove what is no longer kept: what is left is whole."""
        progress = snapshot.progress
        self.folder.mkdir(parents=True, exist_ok=True)
        free, needed = shutil.disk_usage(self.folder).free, snapshot.num_bytes
        if free < needed:
            raise OSError(f"{self.folder}: {needed:,} bytes are needed, {free:,} are free")
        manifest = {"graph": self.graph, "progress": progress}
        write_folder(self.path(progress["step"]), snapshot.write, manifest)
        there = folders(self.folder)
        best = [path for path in there if _was_best(path)][-1:]
        for path in {*there} - {*there[-self.options.keep :], *best, self.path(progress["step"])}:
            remove(path)

    def _prepare(self) -> None:
        clear_up(self.folder)
        newest = folders(self.folder)[-1:]
        if self.options.strict and newest and (fault := verify(newest[0])) is not None:
            raise DataError(
                f"{newest[0]}: {fault}; checkpoint.strict refuses to go on from the one before"
            )

    def _newest(self) -> Path | None:
        """Return the newest checkpoint that is whole; say which ones are not."""
        for folder in reversed(folders(self.folder)):
            fault = verify(folder)
            if fault is None:
                return folder
            self.say(f"checkpoint {folder} is damaged ({fault}); trying the one before")
        return None

    def _best(self) -> Path | None:
        """Return the newest of those that were the best so far when they were written."""
        bests = (path for path in reversed(folders(self.folder)) if _was_best(path))
        return next((path for path in bests if verify(path) is None), None)

    def _agreed(self, runtime: Runtime, choose: Callable[[], Path | None]) -> int | None:
        """Return the step of the checkpoint that the main process chooses."""
        chosen = choose() if runtime.is_main else None
        number = runtime.sum_int(0 if chosen is None else 1 + step_of(chosen))
        return number - 1 if number else None

    def _check_graph(self, folder: Path) -> None:
        trained_on = read_manifest(folder)["graph"]
        if trained_on != self.graph:
            raise ConfigError(
                f"graph: {folder} was trained on another graph (its fingerprint is "
                f"{trained_on[:12]}, this one's {self.graph[:12]}); take that graph, or another "
                f"run.dir"
            )


def _was_best(folder: Path) -> bool:
    """Return whether nothing had been better when this was saved, as far as it can be read."""
    try:
        progress = read_manifest(folder)["progress"]
        return bool(progress["best_step"] == progress["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


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
    found = folders(Path(argv[0]) / "checkpoints") if len(argv) == 1 else []
    if not found:
        raise ConfigError(f"expected a run directory with checkpoints, found {' '.join(argv)!r}")
    faults = {path: verify(path) for path in found}
    for path, fault in faults.items():
        print(f"{path.name}  {_described(path) if fault is None else f'DAMAGED: {fault}'}")
    if any(faults.values()):
        raise DataError(f"{argv[0]}: training goes on from the newest whole checkpoint")


def _described(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.iterdir())
    with unfit(folder):
        score = read_manifest(folder)["progress"]["best_score"]
        best = f"  the best so far, {score:.4g}" if _was_best(folder) else ""
    return f"whole  {size / 1e6:,.1f} MB{best}"


if __name__ == "__main__":
    run_command(main, USAGE)
