"""tables: what YAML says of one table of nodes or of edges, as options."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator

from mtl.graphs._tables.features import Feature
from mtl.graphs._tables.labels import Label
from mtl.graphs._tables.rules import Split
from mtl.plugin import Options

ColumnType = Literal["integer", "number", "text", "boolean", "timestamp"]
Name = Annotated[str, Field(min_length=1)]


def _several(value: Any) -> Any:
    """Take one name for a list of one."""
    names = [value] if isinstance(value, str) else value
    return tuple(names) if isinstance(names, list) else names  # after this no list is a tuple


def _relation(value: Any) -> bool | str:
    if isinstance(value, bool | str) and value != "":
        return value
    raise ValueError(f"expected true, false or the name of a relation, found {value!r}")


@dataclass(frozen=True, kw_only=True)
class Table(Options):
    """What tables of nodes and of edges have in common."""

    files: Annotated[tuple[Name, ...], BeforeValidator(_several), Field(min_length=1)]
    """A file, a folder, a glob (`orders/**/*.parquet`), an URL (`s3://...`), or a list of them.
    Relative ones start at `root`. They are read in the order of the list, each in order of name."""
    format: Literal["parquet", "csv"] | None = None
    """Of the files; default: by their suffix."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Between the cells of a CSV file; default: a comma, in `.tsv` files a tab."""
    header: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Names of the columns of CSV files that have no line of names."""
    types: dict[str, ColumnType] = field(default_factory=dict)
    """Type of a column, where it is not to be what the file says or, in CSV, looks like."""
    where: Name | None = None
    """SQL (DuckDB's): rows for which this is true are in the graph."""
    columns: dict[str, Name] = field(default_factory=dict)
    """New columns: name -> SQL over the columns of the same row."""
    features: dict[str, Feature] = field(default_factory=dict)
    """What the model reads, in this order."""
    feature_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """How features are stored."""
    labels: dict[str, Label] = field(default_factory=dict)
    """What there is to predict."""
    time: Name | None = None
    """Column of timestamps (stored in microseconds since 1970, UTC) or of integers (as they are):
    when the row came to be."""
    split: Split | None = None
    """Which rows train, validate and test; short for `splits: {split: ...}`."""
    splits: dict[str, Split] = field(default_factory=dict)
    """Several splits by name. The first is the default, and statistics of features come from its
    training rows."""

    @property
    def rules(self) -> dict[str, Split]:
        """The splits by name."""
        return {"split": self.split} if self.split else self.splits


@dataclass(frozen=True, kw_only=True)
class Nodes(Table):
    """The nodes of one type: a row each."""

    id: Name | None = None
    """Column of integers or strings, all different; default: the number of the row, from 0."""


@dataclass(frozen=True, kw_only=True)
class Edges(Table):
    """The edges of one type: a row each."""

    src: Name = "src"
    """Column of the ids of the source nodes."""
    dst: Name = "dst"
    """Column of the ids of the destination nodes."""
    weight: Name | None = None
    """Column of finite numbers from 0: how likely the edge is sampled among its neighbours."""
    unknown_ids: Literal["refuse", "drop"] = "refuse"
    """What to do with an edge from or to an id that no node has."""
    duplicates: Literal["keep", "drop"] = "keep"
    """drop: of several edges between the same nodes, the first in the files stays."""
    self_loops: Literal["keep", "drop", "add"] = "keep"
    """add: every node gets one, unless it has."""
    symmetrise: bool = False
    """Add the other direction of each edge, to the same relation, with the same attributes."""
    reverse: Annotated[bool | str, PlainValidator(_relation)] = False
    """Add a relation with the same edges the other way round, so that messages flow both ways.
    true names it `rev_RELATION`. It has no labels and no splits."""
