"""From a source to a graph folder and to trust in it: once per machine, however many processes."""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mtl.errors import ConfigError, DataError
from mtl.graphs import Source
from mtl.graphs._npy import sync
from mtl.graphs._report import Report, silent
from mtl.graphs.files import check_files
from mtl.graphs.schema import MANIFEST, read_schema
from mtl.graphs.validate import validate
from mtl.graphs.writer import GraphWriter


def convert(
    source: Source,
    folder: Path,
    fingerprint: str | None = None,
    *,
    report: Report = silent,
    option: str = "graph.cache",
) -> None:
    """Convert a source to a graph folder, unless the folder holds that graph already.

    Several processes convert once: the others wait. Killed half way, nothing has that name.

    Args:
        source: of the graph.
        folder: that the graph gets; its parent folders are made.
        fingerprint: of the source, if it is known.
        report: called with (what, done, total) while the conversion goes on.
        option: what the user calls the folder, for messages.

    Raises:
        ConfigError: the folder holds something else, or cannot be written.
        DataError: the source is broken.
    """
    fingerprint = fingerprint or source.fingerprint()
    try:
        if not _holds(folder, fingerprint, option):
            with _lock(folder.with_name(folder.name + ".lock")):
                if not _holds(folder, fingerprint, option):
                    _convert(source, folder, fingerprint, report)
    except OSError as error:
        raise ConfigError(f"{folder} ({option}): cannot be written: {error}") from error


def verify(
    folder: Path, remembered: Path, *, always: bool = False, report: Report = silent
) -> None:
    """Check a graph folder; once, unless a file of it changed.

    Args:
        folder: of the graph; it may be read-only.
        remembered: folder of the stamps (size, mtime and inode of every file) of checked graphs.
        always: check it whatever is remembered.
        report: called with (what, done, total) while the check goes on.

    Raises:
        DataError: names file, row, value and what is allowed.
    """
    stamp = _stamp(folder)
    note = remembered / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    if always:
        validate(folder, report)
    elif not _says(note, stamp):
        with ExitStack() as held:
            with suppress(OSError):  # a read-only home: every start checks again
                held.enter_context(_lock(note.with_suffix(".lock")))
            if not _says(note, stamp):
                validate(folder, report)
                with suppress(OSError):
                    note.with_suffix(".aside").write_text(stamp)
                    note.with_suffix(".aside").replace(note)


def _convert(source: Source, folder: Path, fingerprint: str, report: Report) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed: we have the lock
    start = time.monotonic()
    print(f"graph: converting {source.name} to {folder}", file=sys.stderr, flush=True)
    try:
        writer = GraphWriter(
            partial,
            name=source.name,
            source=source.section(),
            fingerprint=fingerprint,
            report=report,
        )
        source.write(writer)
        writer.finish()
        partial.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    seconds = time.monotonic() - start
    print(f"graph: converted in {seconds:.1f} s", file=sys.stderr, flush=True)


def _holds(folder: Path, fingerprint: str, option: str) -> bool:
    """Say whether the folder holds this graph; an empty one, or none, does not yet."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"{folder} ({option}): is no graph folder; name one that is new")
    try:
        found = read_schema(folder).source_fingerprint
    except DataError as error:
        raise DataError(f"{error}\nDelete {folder} to convert the graph again.") from error
    if found != fingerprint:
        raise ConfigError(
            f"{folder} ({option}): holds another graph, of other options, files or code; "
            "delete it, or name one that is new"
        )
    return True


def _stamp(folder: Path) -> str:
    names = sorted({MANIFEST, *(array.file for array in check_files(folder).arrays())})
    stats = [(folder / name).stat() for name in names]
    stamps = [(stat.st_size, stat.st_mtime_ns, stat.st_ino) for stat in stats]
    return json.dumps(list(zip(names, stamps, strict=True)))


def _says(note: Path, stamp: str) -> bool:
    return note.is_file() and note.read_text(errors="replace") == stamp


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a file lock; the kernel releases it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
