"""evaluation: tables of numbers on a disk that the processes of a machine share for a while.

Their files have no name as soon as all processes have opened them: the system removes them with the
last process that has them open, however that ends.
"""

import math
import os
import random
import shutil
import tempfile
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor

from job.runtime import Runtime
from mtl.errors import ConfigError


class Scratch:
    """Where tables are made; all processes make the same ones in the same order.

    Args:
        folder: for the files; default: the system's temporary folder.
        runtime: this process among all; each machine has files of its own.
    """

    def __init__(self, folder: Path | None, runtime: Runtime) -> None:
        self._folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._runtime, self._count, self.num_bytes = runtime, 0, 0
        name = runtime.sum_int(random.SystemRandom().getrandbits(60) if runtime.is_main else 0)
        self._name = f"graphmtl-{name:x}-{runtime.rank - runtime.local_rank}"

    def table(
        self, num_rows: int, num_columns: int, dtype: torch.dtype
    ) -> Shaped[Tensor, "rows columns"]:
        """Make a table that all processes of this machine read and write.

        Raises:
            ConfigError: it does not fit on the disk.
        """
        num_bytes = num_rows * num_columns * dtype.itemsize
        if not num_bytes:
            return torch.empty(num_rows, num_columns, dtype=dtype)
        self._count, self.num_bytes = self._count + 1, self.num_bytes + num_bytes
        path = self._folder / f"{self._name}-{self._count}"
        self._runtime.on_each_machine(lambda: self._make(path, num_bytes))
        shape = (num_rows, num_columns)
        size = math.prod(shape)
        values = torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(shape)
        self.wait()
        self._runtime.on_each_machine(path.unlink)
        return values

    def wait(self) -> None:
        """Wait until all processes have come this far: what they wrote can be read."""
        self._runtime.sum_int(0)

    def _make(self, path: Path, num_bytes: int) -> None:
        """Make a file that has its blocks: writing through a map to a full disk kills a process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if num_bytes > free:
            raise ConfigError(
                f"evaluate.scratch: {self._folder} has {free / 2**30:,.2f} GiB free, and what a "
                f"layer hands on takes {num_bytes / 2**30:,.2f} GiB; name a folder with more room, "
                "or draw neighbours (evaluate.num_neighbors: [15, 10])"
            )
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(file, 0, num_bytes)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(file)
