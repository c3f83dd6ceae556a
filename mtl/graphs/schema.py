"""graph.json: what a graph folder holds, as dataclasses; read with every mistake named."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from mtl.errors import DataError
from mtl.plugin import Options, explain

VERSION: Literal[1] = 1
MANIFEST = "graph.json"

EdgeType = tuple[str, str, str]
Owner = str | EdgeType
"""A node type, a collection of graphs or an edge type: who has labels and splits."""
Kind = Literal["class", "multilabel", "regression"]
Count = Annotated[int, Field(ge=0, lt=2**48)]


@dataclass(frozen=True, kw_only=True)
class ArrayInfo(Options):
    """One `.npy` file of the folder."""

    file: str
    """Its name, inside the folder."""
    dtype: Literal["bfloat16", "float16", "float32", "int8", "int32", "int64", "uint8"]
    """bfloat16 is stored as uint16: numpy has no such type."""
    shape: tuple[Count, ...]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the whole file."""

    @property
    def stored(self) -> str:
        """Name of the numpy dtype in the file."""
        return "uint16" if self.dtype == "bfloat16" else self.dtype

    @property
    def num_bytes(self) -> int:
        """Size of the values, which the file's header comes on top of."""
        bits = int("".join(filter(str.isdigit, self.stored)))
        return bits // 8 * math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class LabelInfo(Options):
    """One label of a node or edge type; a missing one is -1, or NaN in a regression."""

    kind: Kind
    num_classes: Annotated[int, Field(ge=1, lt=2**31)]
    missing: Literal[-1, "nan"]
    best: dict[str, FiniteFloat]
    array: ArrayInfo
    classes: tuple[str, ...] | None = None
    """Names of the classes, or of the columns of a multilabel, in their order."""


@dataclass(frozen=True, kw_only=True)
class IdsInfo(Options):
    """The user's own ids of the nodes of a type, all different."""

    kind: Literal["int", "string"]
    """What the user's ids are."""
    values: ArrayInfo
    """int64 [num_nodes]; of strings: the UTF-8 bytes of all, one after the other."""
    offsets: ArrayInfo | None = None
    """Of strings: where the bytes of each begin, and where the last ends; [num_nodes + 1]."""

    def arrays(self) -> list[ArrayInfo]:
        """Return every array of these ids."""
        return [self.values, *([self.offsets] if self.offsets else [])]


@dataclass(frozen=True, kw_only=True)
class OwnerInfo(Options):
    """What node types and edge types may both have, one row for each node or edge."""

    features: ArrayInfo | None = None
    """[rows, num_features]."""
    time: ArrayInfo | None = None
    """int64 [rows]: when each came to be; the unit is the source's."""
    labels: dict[str, LabelInfo] = field(default_factory=dict)
    """What a task can learn, by name."""
    splits: dict[str, ArrayInfo] = field(default_factory=dict)
    """uint8 [rows]: 0 none, 1 train, 2 val, 3 test, by name; the first is the default."""

    def arrays(self) -> list[ArrayInfo]:
        """Return every array of this type."""
        some = [array for array in (self.features, self.time) if array]
        return [*some, *(label.array for label in self.labels.values()), *self.splits.values()]


@dataclass(frozen=True, kw_only=True)
class NodeInfo(OwnerInfo):
    """One node type."""

    num_nodes: Count
    ids: IdsInfo | None = None

    def arrays(self) -> list[ArrayInfo]:
        """Return every array of this node type."""
        return [*super().arrays(), *(self.ids.arrays() if self.ids else [])]


@dataclass(frozen=True, kw_only=True)
class EdgeInfo(OwnerInfo):
    """One edge type, its topology in CSC: the in-neighbours of a node stand together."""

    edge_type: EdgeType
    num_edges: Count
    colptr: ArrayInfo
    row: ArrayInfo
    weight: ArrayInfo | None = None
    """How likely an edge is drawn, compared with the others of its destination."""
    reverse: EdgeType | None = None
    """The relation that holds the same edges, the other way round."""

    def arrays(self) -> list[ArrayInfo]:
        """Return every array of this edge type."""
        weight = [self.weight] if self.weight else []
        return [self.colptr, self.row, *weight, *super().arrays()]


@dataclass(frozen=True, kw_only=True)
class CollectionInfo(OwnerInfo):
    """Many small graphs whose nodes stand one graph after the other: labels are those of graphs."""

    num_graphs: Count
    node_type: str
    """Of their nodes: every node of this type is in one of them."""
    graph_ptr: ArrayInfo
    """int64 [num_graphs + 1]: where the nodes of each begin, and where the last ends."""

    def arrays(self) -> list[ArrayInfo]:
        """Return every array of this collection."""
        return [self.graph_ptr, *super().arrays()]


@dataclass(frozen=True, kw_only=True)
class GraphInfo(Options):
    """All of graph.json."""

    version: Literal[1] = VERSION
    name: str
    source: dict[str, Any] = field(default_factory=dict)
    """The `graph` section that made it, for the reader."""
    source_fingerprint: str = ""
    """Hash of that section, its files and its code: a cache that holds another graph is refused."""
    nodes: dict[str, NodeInfo]
    edges: list[EdgeInfo]
    collections: dict[str, CollectionInfo] = field(default_factory=dict)
    """Small graphs that are labelled as a whole, such as molecules."""

    def arrays(self) -> list[ArrayInfo]:
        """Return every array of the folder."""
        owners = [*self.nodes.values(), *self.edges, *self.collections.values()]
        return [array for owner in owners for array in owner.arrays()]

    @property
    def fingerprint(self) -> str:
        """Hash of all that the graph holds; its name and where it came from do not count."""
        content = asdict(self)
        parts = ("nodes", "edges", "collections")
        held = json.dumps([content[part] for part in parts if content[part] or part != parts[2]])
        return hashlib.sha256(held.encode()).hexdigest()

    def to_json(self) -> str:
        """Return the text of graph.json."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_schema(folder: Path) -> GraphInfo:
    """Read graph.json.

    Raises:
        DataError: it is missing, of a newer version or wrong; names each key.
    """
    path = folder / MANIFEST
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is no file")  # a pipe would be waited for
    try:
        content = path.read_bytes()
        found = json.loads(content, object_pairs_hook=_no_key_twice)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise DataError(f"{path}: {reason}; a graph folder has a {MANIFEST}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    version = found.get("version") if isinstance(found, dict) else None
    if type(version) is not int:
        raise DataError(f"{path}: version: {version!r}; allowed: {VERSION}, in a mapping")
    if version > VERSION:
        raise DataError(
            f"{path}: version {version} is newer than {VERSION}, the newest that this program "
            "reads; update graphmtl, or convert the graph again with this one"
        )
    try:
        return _adapter().validate_json(content)
    except ValidationError as error:
        mistakes = "\n".join(f"{path}: {line}" for line in explain(error, GraphInfo))
        raise DataError(mistakes) from error


@cache
def _adapter() -> TypeAdapter[GraphInfo]:
    return TypeAdapter(GraphInfo)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = repeated(key for key, _ in pairs)
    if twice is not None:
        raise ValueError(f"the key {twice!r} stands twice")
    return dict(pairs)


def repeated(names: Iterable[str]) -> str | None:
    """Return the first name that stands twice."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def text(owner: Owner) -> str:
    """Return how a node type or an edge type is written in YAML keys and in messages."""
    return owner if isinstance(owner, str) else "__".join(owner)


def file_name(*parts: str) -> str:
    """Return a `.npy` name that any type or label name fits into, and no two share."""
    return ".".join(quote(part, safe="").replace(".", "%2E") for part in parts) + ".npy"
