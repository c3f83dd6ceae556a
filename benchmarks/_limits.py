"""A memory limit for a command, by whatever this machine offers."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


class NoLimitError(Exception):
    """Nothing here limits the memory of a process; says why."""


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[list[str]]:
    """Give what to put before a command so that it and its page cache stay within a limit.

    Raises:
        NoLimitError: neither a memory cgroup nor systemd is at hand.
    """
    mounted = Path("/sys/fs/cgroup/memory")
    if not mounted.is_dir():
        yield _scope(limit_bytes)
        return
    group = mounted / _own_group().lstrip("/") / f"graphmtl-benchmark-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
    except OSError as error:
        raise NoLimitError(f"no memory cgroup can be made: {error}") from error
    try:
        yield ["sh", "-c", ENTER, str(group)]
    finally:
        group.rmdir()


def _own_group() -> str:
    """Return the memory cgroup (version 1) of this process: a limit stays inside its limits."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return path
    return "/"


def _scope(limit_bytes: int) -> list[str]:
    """Return a command of systemd, which owns the groups of cgroup version 2."""
    if shutil.which("systemd-run") is None:
        raise NoLimitError("no memory cgroup of version 1, and no systemd-run")
    user = [] if os.geteuid() == 0 else ["--user"]
    prefix = ["systemd-run", *user, "--scope", "--quiet", "-p", f"MemoryMax={limit_bytes}"]
    prefix += ["-p", "MemorySwapMax=0"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise NoLimitError(f"systemd-run: {tried.stderr.strip()}")
    return prefix
