"""open_graph: a source's graph folder, converted and checked once per machine, as a GraphStore."""

import os
from pathlib import Path

from mtl.errors import DataError
from mtl.graphs import Source
from mtl.graphs._report import Report, silent
from mtl.graphs.convert import convert, verify
from mtl.graphs.folder import Folder
from mtl.graphs.store import GraphStore


def open_graph(source: Source, report: Report = silent) -> GraphStore:
    """Open the graph of a source; the first process on a machine converts and checks it.

    Args:
        source: of the graph.
        report: called with (what, done, total) while a conversion or a check goes on.

    Raises:
        ConfigError: `graph.cache` is no place for it.
        DataError: the source or the graph folder is broken; names file, row, value and allowed.
    """
    remembered = cache_home() / "verified"
    always = source.verify == "always"
    if isinstance(source, Folder):
        verify(source.path, remembered, always=always, report=report)
        return GraphStore(source.path)
    fingerprint = source.fingerprint()
    folder = folder_of(source, fingerprint)
    convert(source, folder, fingerprint, report=report)
    try:
        verify(folder, remembered, always=always, report=report)
    except DataError as error:
        raise DataError(f"{error}\nDelete {folder} to convert the graph again.") from error
    return GraphStore(folder)


def folder_of(source: Source, fingerprint: str) -> Path:
    """Return where the converted graph of a source is, or will be."""
    return source.cache or cache_home() / f"{source.name}-{fingerprint[:12]}"


def cache_home() -> Path:
    """Return the folder of this program's caches: `$XDG_CACHE_HOME/graphmtl`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "graphmtl"
