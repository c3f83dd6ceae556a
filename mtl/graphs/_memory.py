"""How much memory this process may use for the pages of a graph."""

import os
from collections.abc import Iterator
from pathlib import Path

from mtl import cgroups

FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}


def memory_bytes(root: Path = Path("/")) -> int:
    """Return the memory of the machine, or less where a cgroup (version 1 or 2) allows less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, *_limits(root), machine)


def _limits(root: Path) -> Iterator[int]:
    """Yield the limits of the groups that this process is in, and of those around them."""
    for version, folder in cgroups.folders("memory", root):
        try:
            yield int((folder / FILES[version]).read_text())
        except (OSError, ValueError):  # no such file; "max" instead of a number
            continue
