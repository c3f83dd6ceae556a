"""sweep: trainings as processes side by side, each with its part of the machine's devices."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[1]
LOG = "console.log"


@dataclass(frozen=True)
class Slot:
    """A part of the machine."""

    cores: frozenset[int]
    gpus: tuple[str, ...]


def slots(parallel: int | None, nproc: int) -> list[Slot]:
    """Share the machine out.

    Args:
        parallel: trainings at a time; default: as many as the GPUs suffice for, or one on the CPU,
            where one uses all cores.
        nproc: processes of a training, each with a GPU of its own where there are any.

    Raises:
        ConfigError: there are not that many GPUs.
    """
    gpus, cores = _gpus(), sorted(os.sched_getaffinity(0))
    if gpus and nproc * (parallel or 1) > len(gpus):
        raise ConfigError(
            f"--parallel {parallel or 1} --nproc {nproc}: {nproc * (parallel or 1)} processes, but "
            f"this machine has {len(gpus)} GPUs, and each takes one (CUDA_VISIBLE_DEVICES= trains "
            "on the CPU)"
        )
    count = parallel or max(len(gpus) // nproc, 1)
    return [
        Slot(
            frozenset(cores[i * len(cores) // count : (i + 1) * len(cores) // count] or cores),
            tuple(gpus[i * nproc : (i + 1) * nproc]),
        )
        for i in range(count)
    ]


class Training:
    """One process, or one tree of them, that trains.

    Args:
        arguments: of job/train.py.
        run_dir: of the run; what it prints goes to console.log there.
        nproc: processes.
        slot: where.
    """

    def __init__(self, arguments: Sequence[str], run_dir: Path, nproc: int, slot: Slot) -> None:
        self.slot, self.run_dir, self._told = slot, run_dir, False
        run_dir.mkdir(parents=True, exist_ok=True)
        many = [str(CHECKOUT / "launch" / "local.py"), "--nproc", str(nproc)]
        script = many if nproc > 1 else [str(CHECKOUT / "job" / "train.py")]
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(slot.gpus)} if slot.gpus else {}
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, slot.cores)  # of this thread alone; the process inherits it
        try:
            with (run_dir / LOG).open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, *script, *arguments],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **environment},
                    start_new_session=True,  # Ctrl-C is passed on once, by us
                )
        finally:
            os.sched_setaffinity(0, before)

    @property
    def exit_code(self) -> int | None:
        """Exit code, 128+n after signal n; None while it runs."""
        code = self._process.poll()
        return None if code is None else code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Let it save and end; a second signal would end it at once, so there is none."""
        if not self._told and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._told = True

    def kill(self) -> None:
        """End it and its processes at once."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def last_words(self) -> Iterator[str]:
        """Yield the last lines of what it printed."""
        text = (self.run_dir / LOG).read_text(encoding="utf-8", errors="replace")
        yield from [line for line in text.splitlines() if line.strip()][-3:]


def _gpus() -> list[str]:
    """Return the GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(i) for i in range(count)]
