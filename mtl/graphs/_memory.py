"""How much memory this process may use for the pages of a graph."""

import os
from collections.abc import Iterator
from pathlib import Path


def memory_bytes(root: Path = Path("/")) -> int:
    """Return the memory of the machine, or less where a cgroup (version 1 or 2) allows less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, *_limits(root), machine)


def _limits(root: Path) -> Iterator[int]:
    """Yield the limits of the groups that this process is in, and of those around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":
            mount, file = "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):  # in a container, often only the last one exists
            try:
                yield int((root / mount / folder / file).read_text())
            except (OSError, ValueError):  # no such file; "max" instead of a number
                continue
