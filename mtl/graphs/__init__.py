"""graph: any source is converted once into a folder of memory-mapped arrays, the GraphStore."""

import hashlib
import inspect
import json
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mtl.plugin import Plugin, dump

if TYPE_CHECKING:
    from mtl.graphs.writer import GraphWriter

_NOT_SOURCES = {
    "cache",
    "card",
    "convert",
    "files",
    "ids",
    "labels",
    "schema",
    "splits",
    "store",
    "topology",
    "validate",
    "writer",
}


_HERE = {"cache", "verify", "features"}
"""Options that say where the graph is, not what it holds."""


@dataclass(frozen=True, kw_only=True)
class Source(Plugin):
    """Where the graph comes from."""

    parts: ClassVar[tuple[str, ...]] = ()
    """Modules of this package, besides its own, that decide what it writes."""

    cache: Path | None = None
    """Folder that holds the converted graph; default `$XDG_CACHE_HOME/graphmtl/<name>-<hash>`.
    Give a disk of this machine: every process on it maps the same pages."""
    verify: Literal["once", "always"] = "once"
    """Check every array and its SHA-256 once per machine (a stamp of size, mtime and inode
    remembers it), or at every start."""
    features: Literal["replicated", "sharded"] = "replicated"
    """Whether each machine reads the features of all nodes, or each process its share, and the rest
    of every batch comes from the others: for graphs that no machine's memory holds
    (docs/scale.md)."""

    @classmethod
    def types(cls) -> list[str]:
        """Names that `type` may have: the modules of this package that hold a source."""
        return [name for name in super().types() if name not in _NOT_SOURCES]

    @property
    def name(self) -> str:
        """Name of the graph: in its folder, in logs and in MLflow."""
        return self.type

    def section(self) -> dict[str, Any]:
        """Return the options that decide what the graph holds, as plain JSON."""
        options: dict[str, Any] = dump(self)
        return {key: value for key, value in options.items() if key not in _HERE}

    def files(self) -> list[Path]:
        """Return the files that the graph is made from, present and readable."""
        return []

    def fingerprint(self) -> str:
        """Hash what decides the graph: options, files, and the code that converts them."""
        digest = hashlib.sha256(json.dumps(self.section()).encode())
        module = Path(inspect.getfile(type(self)))
        code = [module, *(Path(__file__).with_name(f"{part}.py") for part in self.parts)]
        for path in [*code, *self.files()]:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    @abstractmethod
    def write(self, writer: "GraphWriter") -> None:
        """Write nodes, labels, splits and edges; the caller finishes the folder.

        Raises:
            DataError: a source file is broken or missing.
        """
