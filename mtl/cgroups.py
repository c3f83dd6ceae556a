"""Which control groups this process is in: what limits its cores and its memory."""

from collections.abc import Iterator
from pathlib import Path


def folders(controller: str, root: Path = Path("/")) -> Iterator[tuple[int, Path]]:
    """Yield version (1 or 2) and folder of the groups for a controller, the innermost first.

    In a container often only the last one exists.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        hierarchy, controllers, path = line.split(":", 2)
        version = 2 if hierarchy == "0" else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if version == 2 else controller)
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            yield version, mount / folder
