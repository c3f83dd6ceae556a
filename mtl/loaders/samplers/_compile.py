"""sampler: how its passes are compiled, and where the machine code is kept for the next start."""

import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import config, njit

PATIENCE_SECONDS = 1.0


def _own_folder() -> str | None:
    """Return a folder for temporary files that nobody else can write to, or None.

    Cached code is run when it is loaded: what others could put there must not be.
    """
    folder = Path(tempfile.gettempdir()) / f"graphmtl-numba-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022
    return str(folder) if private and found.st_uid == os.getuid() else None


def _can_cache() -> bool:
    """Whether numba finds a folder to write to; it raises where it finds none."""

    def probe() -> None:
        """Stand for the compiled functions of this package."""

    try:
        njit(cache=True)(probe)
    except RuntimeError:
        return False
    return True


def _choose_folder() -> bool:
    """Let numba write beside the package or to the user's cache, else to a temporary folder."""
    if _can_cache():
        return True
    folder = _own_folder()
    if folder is None:
        return False
    config.CACHE_DIR = folder
    return _can_cache()


def num_compiled() -> int:
    """Return how often the cache had nothing."""
    return sum(sum(kernel.stats.cache_misses.values()) for kernel in KERNELS)


CACHE = _choose_folder()
_SOURCES = sorted(Path(__file__).parent.glob("_*.py"))
KERNELS: list[Any] = []
KEPT = "once" if CACHE else "at every start: no folder to keep the code in can be written to"
STAMP = sha256(b"".join(source.read_bytes() for source in _SOURCES)).hexdigest()[:8]
"""Names the code in the cache: numba looks at the file of a function, not at what it calls."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call, without the GIL, or take it from the cache."""
    function.__qualname__ += f"_{STAMP}"
    kernel: Callable[..., Any] = njit(nogil=True, cache=CACHE)(function)
    KERNELS.append(kernel)
    return kernel


@contextmanager
def said_if_slow() -> Iterator[None]:
    """Say on stderr that functions are compiled, if it takes longer than a second."""
    before, done = num_compiled(), threading.Event()

    def watch() -> None:
        while not done.wait(PATIENCE_SECONDS):
            if num_compiled() > before:
                print(f"sampler: compiling for this processor, {KEPT}", file=sys.stderr, flush=True)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()
