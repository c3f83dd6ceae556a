"""Anybody's tables: nodes and edges from Parquet and CSV files, as YAML describes them."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from mtl.graphs import Source
from mtl.graphs._tables.check import mistakes
from mtl.graphs._tables.options import Edges, Nodes
from mtl.graphs._tables.tagged import wrong

if TYPE_CHECKING:
    from mtl.graphs._tables.files import File
    from mtl.graphs.writer import GraphWriter


@dataclass(frozen=True, kw_only=True)
class Tables(Source):
    """A table for each type of nodes and of edges: docs/data.md."""

    parts: ClassVar[tuple[str, ...]] = ("splits",)

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")] = "tables"
    """Name of the graph: in its folder, in logs and in MLflow."""
    root: str = "."
    """Folder or URL (`s3://...`) at which relative names of files start."""
    nodes: dict[str, Nodes]
    """Type of nodes -> its table."""
    edges: dict[str, Edges] = field(default_factory=dict)
    """`source__relation__destination` -> its table; the ends are types of nodes."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        inner = super().__get_pydantic_core_schema__(source, handler)
        return core_schema.no_info_after_validator_function(_checked, inner)

    def files(self) -> list[Path]:
        """Return the local files of all tables.

        Raises:
            ConfigError: there is no such file; names the YAML path.
        """
        return [Path(file.path) for file in self._files() if file.is_local]

    def fingerprint(self) -> str:
        """Hash options, code, and name, size and time of change of every file.

        What big files hold would take too long to hash at each start; a file that was touched is
        taken for another one.
        """
        digest = hashlib.sha256(json.dumps(self.section()).encode())
        here = Path(__file__).parent
        modules = [here / f"{name}.py" for name in ("tables", *self.parts)]
        for path in [*modules, *sorted((here / "_tables").glob("*.py"))]:
            digest.update(path.read_bytes())
        for file in self._files():
            digest.update(repr(file.stamp).encode())
        return digest.hexdigest()

    def write(self, writer: "GraphWriter") -> None:
        """Write the graph.

        Raises:
            ConfigError: a column or file does not exist, or an expression is wrong.
            DataError: names file, row, column, value, what is allowed, and how many such rows.
        """
        from mtl.graphs._tables.graph import write  # pyarrow is not needed to read a configuration

        write(self.root, self.nodes, self.edges, writer)

    def _files(self) -> "list[File]":
        from mtl.graphs._tables.files import find_all

        return find_all(self.root, {"nodes": self.nodes, "edges": self.edges})


def _checked(tables: Tables) -> Tables:
    found = list(mistakes(tables.nodes, tables.edges))
    if found:
        raise wrong(found, Tables)
    return tables
