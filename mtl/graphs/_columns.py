"""What streamed edges carry, column by column: converted, checked and cut into pieces."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl.graphs._agreement import LABEL_DTYPES, row_dtype
from mtl.graphs._chunks import EdgeChunk, FeatureDtype, LabelSpec
from mtl.graphs._rules import SPLIT, TIME, WEIGHT, Rule, Wrong, between, cast, finite, label_rule

Name = tuple[str, ...]
"""How a column's file is named after the edge type."""
Piece = dict[Name, np.ndarray]
"""Some edges: their values in every column."""

SRC, DST = ("row",), ("dst",)


@dataclass(frozen=True)
class Column:
    """One value, or one vector of values, of every edge.

    Attributes:
        dtype: of graph.json.
        rule: for the values.
        width: shape of the values of one edge.
    """

    dtype: str
    rule: Rule
    width: tuple[int, ...] = ()

    @property
    def stored(self) -> np.dtype[Any]:
        """Numpy's dtype in the file."""
        return np.dtype("uint16" if self.dtype == "bfloat16" else self.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of one edge."""
        return self.stored.itemsize * math.prod(self.width)


def end_columns(num_src: int, num_dst: int) -> dict[Name, Column]:
    """Return the columns that say where edges begin and end."""
    return {
        SRC: Column(row_dtype(num_src), between(0, num_src - 1)),
        DST: Column(row_dtype(num_dst), between(0, num_dst - 1)),
    }


def value_columns(
    num_features: int,
    features_dtype: FeatureDtype,
    weight: bool,
    time: bool,
    labels: Mapping[str, LabelSpec],
    splits: Sequence[str],
) -> dict[Name, Column]:
    """Return the columns of what else edges have; `GraphWriter.stream_edges` explains each."""
    columns: dict[Name, Column] = {}
    if num_features:
        columns["features",] = Column(features_dtype, finite(features_dtype), (num_features,))
    if weight:
        columns["weight",] = Column("float32", WEIGHT)
    if time:
        columns["time",] = Column("int64", TIME)
    for name, label in labels.items():
        width = (label.num_classes,) if label.kind == "multilabel" else ()
        rule = label_rule(label.kind, label.num_classes)
        columns["label", name] = Column(LABEL_DTYPES[label.kind], rule, width)
    return columns | {("split", name): Column("uint8", SPLIT) for name in splits}


class Reading:
    """One pass over the edges of a source, whose wrong rows are found on the way.

    Args:
        columns: that are read; the others are left alone.
        what: the edges are, for errors.
    """

    def __init__(self, columns: Mapping[Name, Column], what: str) -> None:
        self._columns, self.num_edges = columns, 0
        self._wrong = {
            name: Wrong(f"{what}, {_words(name)}", column.rule.allowed)
            for name, column in columns.items()
        }

    def read(self, chunk: EdgeChunk) -> Piece:
        """Convert the columns of a chunk; wrong values stay in, for `stop` to name."""
        values = _values(chunk)
        piece = {
            name: cast(values[name], column.stored, column.rule, self._wrong[name], self.num_edges)
            for name, column in self._columns.items()
        }
        num_edges = len(piece[DST])
        for name, column in self._columns.items():
            wanted = (num_edges, *column.width)
            assert piece[name].shape == wanted, f"{name}: {piece[name].shape}, not {wanted}"
        self.num_edges += num_edges
        return piece

    @property
    def is_wrong(self) -> bool:
        """Whether there was a wrong value so far."""
        return any(self._wrong.values())

    def stop(self, *names: Name) -> None:
        """Raise if values of these columns, or of any, were wrong.

        Raises:
            DataError: names the first and counts the others.
        """
        for name in names or self._wrong:
            self._wrong[name].stop()


def cut(pieces: Iterable[Piece], size: int) -> Iterator[Piece]:
    """Cut and join pieces so that none but the last is much smaller than `size`, nor larger."""
    held: list[Piece] = []
    rows = 0
    for piece in pieces:
        for start in range(0, len(piece[DST]), size):
            part = {name: values[start : start + size] for name, values in piece.items()}
            if rows + len(part[DST]) > size:
                yield _join(held)
                held, rows = [], 0
            held.append(part)
            rows += len(part[DST])
    if held:
        yield _join(held)


def _join(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _values(chunk: EdgeChunk) -> dict[Name, Any]:
    """Return what a chunk has by the names of its columns."""
    values: dict[Name, Any] = {SRC: chunk.src, DST: chunk.dst}
    several = (("label", chunk.labels), ("split", chunk.splits))
    values |= {(kind, name): array for kind, named in several for name, array in named.items()}
    single = {"features": chunk.features, "weight": chunk.weight, "time": chunk.time}
    return values | {(name,): array for name, array in single.items() if array is not None}


def _words(name: Name) -> str:
    kind, *rest = name
    return {"row": "source", "dst": "destination"}.get(kind, " ".join([kind, *map(repr, rest)]))
