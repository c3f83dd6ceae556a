"""doctor: places that the job writes to: whether it may, on which disk, and whether there is room.

What is tried leaves nothing: a file without a name (O_TMPFILE) in the folder, or in the nearest one
that is there.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from job.doctor_findings import Finding, problem, warning
from job.doctor_job import NO_GRAPH, TOO_LARGE, WRONG, Job, known
from job.doctor_machine import gib
from job.runtime import CannotWriteError
from mtl.graphs.cache import cache_home
from mtl.graphs.folder import Folder
from mtl.loaders import ALL

SHARED_DISKS = (
    *("nfs", "cifs", "smb", "9p", "virtiofs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs"),
    *("fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs"),
)
"""What the kinds of file systems begin with that other machines may write to, too."""
NO_UNNAMED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}


def run_dir(job: Job) -> Iterator[Finding]:
    """Where checkpoints and metrics go."""
    folder = job.run.dir
    yield place(folder, "run.dir")
    weights, config = known(job.weights, f"room: {TOO_LARGE}"), known(job.config, WRONG)
    kept = config.checkpoint.keep + 2  # and the best, and the one that is being written
    yield _room(folder, kept * weights.checkpoint, f"{kept} checkpoints", "run.dir")


def graph_cache(job: Job) -> Iterator[Finding]:
    """Where the converted graph lies."""
    source = job.graph
    if isinstance(source, Folder):
        yield Finding("not needed: graph.path is a graph folder")
        return
    folder, store = source.cache or cache_home(), job.store
    missing = store is None or store.folder.is_relative_to(job.folder)
    yield place(folder, "graph.cache") if missing else Finding(f"{folder} holds the graph")
    if (kind := file_system(folder)).startswith(SHARED_DISKS):
        yield warning(
            f"{folder} lies on {kind}: each batch is read through the network",
            "graph.cache=FOLDER on a disk of each machine",
        )
    if store is not None and missing:
        size = sum(path.stat().st_size for path in store.folder.iterdir())
        yield _room(folder, size, "the graph", "graph.cache")


def scratch(job: Job) -> Iterator[Finding]:
    """Where layers of `evaluate.num_neighbors: all` meet."""
    config = job.config
    if config is None or config.evaluate.num_neighbors != ALL:
        yield Finding("not needed: evaluate.num_neighbors is not all")
        return
    folder = config.evaluate.scratch or Path(tempfile.gettempdir())
    yield place(folder, "evaluate.scratch")
    nodes = sum(node.num_nodes for node in known(job.store, NO_GRAPH).info.nodes.values())
    tables = 2 * 4 * config.model.dim * nodes  # the layer that is read and the one that is written
    yield _room(folder, tables, "two layers (more with several streams)", "evaluate.scratch")


def temporary(job: Job) -> Iterator[Finding]:
    """Where other programs put what they need for a while."""
    yield place(Path(tempfile.gettempdir()), "TMPDIR")


def place(path: Path, option: str) -> Finding:
    """Say whether a file or folder can be written, or made where it is not there yet."""
    nearest = _nearest(path)
    fault = _fault(nearest)
    if fault is not None:
        advice = f"another {option}, or the rights to write there"
        return problem(f"{path}: {nearest} {fault}", advice, CannotWriteError)
    how = "written" if nearest == path else "made"
    return Finding(f"{path} can be {how}, on {file_system(path)}, {gib(_free(nearest))} free")


def file_system(path: Path) -> str:
    """Return the kind of the file system that a path is, or would be, on."""
    whole = path.absolute().resolve()
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    found = next((mounts[str(p)] for p in (whole, *whole.parents) if str(p) in mounts), "")
    return found or "an unknown file system"


def _fault(folder: Path) -> str | None:
    """Return why nothing can be written into a folder, if so."""
    if not folder.is_dir():
        return "is no folder"
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
    except OSError as error:
        if error.errno not in NO_UNNAMED:
            return f"cannot be written: {error.strerror}"
        if not os.access(folder, os.W_OK | os.X_OK):
            return "cannot be written"
    return None


def _room(folder: Path, needed: int, words: str, option: str) -> Finding:
    """Say whether something fits on the disk of a place."""
    free = _free(_nearest(folder))
    found = f"{words}: {gib(needed)}, {gib(free)} free"
    if needed > free:
        return problem(found, f"make room, or {option} on another disk", CannotWriteError)
    return Finding(found)


def _nearest(path: Path) -> Path:
    """Return a path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


PLACES = (run_dir, graph_cache, scratch, temporary)
