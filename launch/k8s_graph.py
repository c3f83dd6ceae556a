"""launch: the first container of a pod, which brings the graph to the machine before any meets.

Otherwise machines that are done would wait, in a collective with a time limit, for one that still
converts. Pods that share a cache (`cluster.cache` on a volume) bring it once: the others wait.
"""

import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from job.arguments import Parser
from job.config import tree_at
from job.conversion import ConversionProgress
from job.prepare import read
from job.runtime import run_command
from mtl.errors import DataError
from mtl.graphs import Source
from mtl.graphs.schema import MANIFEST, read_schema

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

USAGE = """
usage: python -m launch.k8s_graph [--copy PLACE --to LINK] CONFIG.yaml [graph.key=value ...]

Convert the graph of a configuration into this machine's cache; or copy the graph folder PLACE (a
path, or a URL that fsspec knows) there, and make LINK lead to it. The same command again checks
what is there; several at once do it once.
"""
COMPILED = Path("/opt/numba")  # what the image compiled while it was built


def main(argv: list[str]) -> None:
    """Copy or convert a graph, check it, and say where it is."""
    parser = Parser(prog="python -m launch.k8s_graph", usage=USAGE)
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--copy")
    parser.add_argument("--to", type=Path)
    options = parser.parse_intermixed_args(argv)
    from mtl.graphs.cache import cache_home, open_graph  # torch, which --help does not wait for
    from mtl.graphs.folder import Folder

    if COMPILED.is_dir() and "NUMBA_CACHE_DIR" in os.environ:
        shutil.copytree(COMPILED, os.environ["NUMBA_CACHE_DIR"], dirs_exist_ok=True)
    with ConversionProgress() as report:
        if options.copy:
            folder = copy(options.copy, cache_home())
            source: Source = Folder(path=folder)
            options.to.unlink(missing_ok=True)
            options.to.symlink_to(folder)
        else:
            source = read(tree_at(options.config), options.overrides)
        store = open_graph(source, report)
    print(f"graph: {store.folder} is ready")


def copy(place: str, cache: Path) -> Path:
    """Copy a graph folder, unless the cache holds it; killed half way, nothing has its name.

    Args:
        place: path or URL of the folder.
        cache: its copy is `cache/NAME-DIGEST`, by what graph.json says, and so is never stale.

    Raises:
        DataError: there is no graph folder.
    """
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    files, root = url_to_fs(place)
    try:
        manifest = files.cat_file(f"{root}/{MANIFEST}")
    except OSError as error:
        raise DataError(f"{place}: no {MANIFEST} there ({error}); see job/prepare.py") from error
    name = root.rstrip("/").rpartition("/")[2] or "graph"
    folder = cache / f"{name}-{hashlib.sha256(manifest).hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _copy(files, root, manifest, folder)
    return folder


def _copy(files: "AbstractFileSystem", root: str, manifest: bytes, folder: Path) -> None:
    """Copy the manifest and the arrays that it names; their SHA-256 is checked when opened."""
    from mtl.graphs.files import check_files

    aside = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)  # of a pod that was killed: we have the lock
    aside.mkdir()
    (aside / MANIFEST).write_bytes(manifest)
    for array in read_schema(aside).arrays():
        if Path(array.file).name != array.file:
            raise DataError(f"{root}/{MANIFEST}: names {array.file!r}, outside the graph folder")
        files.get_file(f"{root}/{array.file}", str(aside / array.file))
    check_files(aside)
    aside.rename(folder)


if __name__ == "__main__":
    run_command(main, USAGE)
