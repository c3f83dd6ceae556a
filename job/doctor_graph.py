"""doctor: the graph, checked to the last byte, and what its dataset card warns of."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from job.conversion import ConversionProgress
from job.doctor_findings import Finding, problem, warning
from job.doctor_job import NO_GRAPH, Job, UnknownError, known
from job.doctor_machine import gib
from job.runtime import CannotWriteError
from mtl.errors import ConfigError
from mtl.graphs import Source
from mtl.graphs.cache import folder_of, open_graph
from mtl.graphs.folder import Folder

PREPARE = "python job/prepare.py CONFIG.yaml OUT_DIR"


def graph(job: Job) -> Iterator[Finding]:
    """Open it, or convert it for the time being; every array is read and checked."""
    source = replace(job.graph, verify="always")
    if isinstance(source, Folder):
        folder, there = source.path, True
    else:
        _check_downloaded(source)
        folder = folder_of(source, source.fingerprint())
        there = folder.exists() and any(folder.iterdir())
    if not there:
        if hasattr(source, "trust"):
            raise UnknownError(
                f"it is not converted, which writes into graph.root; {PREPARE} does it"
            )
        source = replace(source, cache=job.folder / "graph")
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


def _check_downloaded(source: Source) -> None:
    """Check that to look at a source downloads nothing."""
    root = getattr(source, "root", None)
    if hasattr(source, "url") and isinstance(root, Path) and not (root / source.name).is_dir():
        raise UnknownError(f"{root / source.name} is not there: the first start downloads it")


GRAPH = (graph, card)
