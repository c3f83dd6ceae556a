"""doctor: the graph, checked to the last byte, and what its dataset card warns of."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from job.conversion import ConversionProgress
from job.doctor_findings import Finding, problem, warning
from job.doctor_job import NO_GRAPH, Job, UnknownError, known
from job.doctor_machine import gib
from job.runtime import CannotWriteError
from mtl.errors import ConfigError, DataError
from mtl.graphs import Source
from mtl.graphs.cache import folder_of, open_graph
from mtl.graphs.folder import Folder

PREPARE = "python job/prepare.py CONFIG.yaml OUT_DIR"
NOWHERE = "file:///dev/null/nowhere"


def graph(job: Job) -> Iterator[Finding]:
    """Open it, or convert it for the time being; every array is read and checked."""
    source = replace(job.graph, verify="always")
    folder = _folder(source)
    there = folder.exists() and any(folder.iterdir())
    if not there:
        source = replace(source, cache=job.folder / "graph")
    if not there and hasattr(source, "trust"):
        words = "it is not converted yet, and to convert it writes into graph.root"
        raise UnknownError(f"{words}; first {PREPARE}")
    try:
        with ConversionProgress() as report:
            job.store = store = open_graph(source, report)
    except ConfigError as error:
        if there or not isinstance(error.__cause__, OSError):
            raise
        words = f"it cannot be converted for the time being: {error.__cause__}"
        yield problem(words, f"TMPDIR=FOLDER with more room, or first {PREPARE}", CannotWriteError)
        return
    size = sum(array.num_bytes for array in store.info.arrays())
    nodes = sum(map(store.num_nodes, store.node_types))
    edges = sum(edge.num_edges for edge in store.info.edges)
    yield Finding(
        f"{store.name}: {nodes:,} nodes, {edges:,} edges ({len(store.node_types)} and "
        f"{len(store.edge_types)} types), {gib(size)}; every array has its SHA-256"
    )
    if there:
        yield Finding(f"in {folder}", what="converted")
    else:
        yield Finding(f"not yet; the first start does it, into {folder}", what="converted")


def card(job: Job) -> Iterator[Finding]:
    """What the dataset card warns of."""
    warnings = known(job.store, NO_GRAPH).card()["warnings"]
    for sentence in warnings:
        yield warning(sentence, f"{PREPARE} shows the whole card")
    if not warnings:
        yield Finding("nothing looks wrong")


def _folder(source: Source) -> Path:
    """Return where the graph of a source is, or will be; to ask downloads nothing."""
    if isinstance(source, Folder):
        return source.path
    if hasattr(source, "url"):
        try:
            replace(source, url=NOWHERE).files()  # type: ignore[call-arg]
        except DataError:
            raise UnknownError(
                f"{source.name} is not there: the first start downloads it"
            ) from None
    return folder_of(source, source.fingerprint())


GRAPH = (graph, card)
