"""A graph folder that exists: opened where it is, never written to."""

from dataclasses import dataclass
from pathlib import Path

from mtl.errors import ConfigError
from mtl.graphs import Source
from mtl.graphs.writer import GraphWriter


@dataclass(frozen=True, kw_only=True)
class Folder(Source):
    """A graph folder, made by a GraphWriter."""

    path: Path
    """Where it is; it may be read-only."""

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    def write(self, writer: GraphWriter) -> None:
        """Refuse: it is a graph folder already."""
        raise ConfigError(f"graph: {self.path} is a graph folder already; copy it instead")
