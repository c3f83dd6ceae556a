"""tables: a table of edges into the graph folder: read once into a spill, then streamed.

Memory holds the nodes' ids and one batch; edges wait on the disk.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from mtl.errors import ConfigError, DataError
from mtl.graphs._tables.batch import Batch, Faults
from mtl.graphs._tables.check import edge_type_of, reverse_of
from mtl.graphs._tables.edge_stream import EdgeStream, pair_keys
from mtl.graphs._tables.feature_matrix import FeatureMatrix
from mtl.graphs._tables.ids import IdMap
from mtl.graphs._tables.options import Edges
from mtl.graphs._tables.plain import known
from mtl.graphs._tables.reading import Reader
from mtl.graphs._tables.spill import Spill
from mtl.graphs._tables.splitting import RowSplits
from mtl.graphs._tables.targets import look, targets_of
from mtl.graphs._tables.times import Clock
from mtl.graphs._tables.values import numbers
from mtl.graphs.writer import GraphWriter

LARGEST_WEIGHT = float(np.finfo(np.float32).max)


class EdgeTable:
    """One table of edges on its way into a graph folder.

    Args:
        key: `source__relation__destination`.
        reader: of the table.
        table: its options.
        clock: of all times of the graph.
        ids: of the nodes of all types.
    """

    def __init__(
        self, key: str, reader: Reader, table: Edges, clock: Clock, ids: Mapping[str, IdMap]
    ) -> None:
        self._reader, self._table, self._clock = reader, table, clock
        self._edge_type, self._reverse = edge_type_of(key), reverse_of(key, table)
        self._ends = {
            "src": (table.src, self._edge_type[0]),
            "dst": (table.dst, self._edge_type[2]),
        }
        self._ids = ids
        self._targets, self._features = targets_of(table), FeatureMatrix(table)
        self._rules = RowSplits(reader.path, table)
        for column, node_type in self._ends.values():
            if reader.is_written(column):
                keep = ids[node_type].kind == "strings"
                (reader.as_written if keep else reader.as_codes)(column)

    def write(self, writer: GraphWriter) -> None:
        """Write all of it, and its reverse.

        Raises:
            ConfigError: options do not fit the columns.
            DataError: names file, row, column, value, what is allowed, and how many such rows.
        """
        look(self._reader, self._targets)
        self._learn()
        with TemporaryDirectory(dir=writer.folder, prefix="spill.") as folder:
            spill = Spill(Path(folder))
            try:
                self._fill(spill)
                self._stream(spill, Path(folder), writer)
            finally:
                spill.close()

    def _stream(self, spill: Spill, folder: Path, writer: GraphWriter) -> None:
        labels = {name: target.spec() for name, target in self._targets.items()}
        num_src = len(self._ids[self._edge_type[0]].again)
        stream = EdgeStream(spill, self._table, num_src, labels, folder)
        itself = self._edge_type if self._table.symmetrise else None
        writer.stream_edges(
            self._edge_type,
            stream.forward,
            num_features=self._features.width,
            features_dtype=self._features.dtype,
            weight=self._table.weight is not None,
            time=self._table.time is not None,
            labels=labels,
            splits=list(self._table.rules),
            reverse=self._reverse or itself,
        )
        if self._reverse:
            writer.stream_edges(
                self._reverse,
                stream.backward,
                num_features=self._features.width,
                features_dtype=self._features.dtype,
                weight=self._table.weight is not None,
                time=self._table.time is not None,
                reverse=self._edge_type,
            )

    def _learn(self) -> None:
        """Learn the statistics of features from the edges of the graph that train."""
        if not self._table.features:
            return
        default, faults = next(iter(self._table.rules), None), Faults()  # told when all is read
        names = self._features.columns | self._rules.columns | {self._table.src, self._table.dst}
        for batch in self._reader.batches(names, "statistics"):
            ends = {end: self._rows(end, batch, faults) for end in self._ends}
            train = self._kept(ends)
            if default is not None:
                train &= self._splits(batch, ends, faults)[default] == 1
            self._features.learn(batch, train)

    def _fill(self, spill: Spill) -> None:
        """Read the table into the spill."""
        table = self._table
        names = {c for target in self._targets.values() for c in target.columns}
        names |= self._features.columns | self._rules.columns | {table.src, table.dst}
        names |= {name for name in (table.weight, table.time) if name}
        specs = [target.spec() for target in self._targets.values()]
        num_classes = sum(spec.num_classes for spec in specs if spec.kind == "multilabel")
        faults = Faults()
        for batch in self._reader.batches(names, "reading"):
            for part in self._features.parts(batch, num_classes):
                columns = self._columns(part, faults)
                kept = self._kept(columns)
                if not kept.all():
                    columns = {name: values[kept] for name, values in columns.items()}
                spill.append(columns)
        faults.check()
        if not spill.num_rows:
            raise DataError(f"{self._reader.path}: there is no edge in it")
        self._features.check(self._reader.path)

    def _kept(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Say which edges are in the graph as far as `src` and `dst` tell: bool [edges]."""
        src, dst = columns["src"], columns["dst"]
        kept = (src >= 0) & (dst >= 0)
        return np.asarray(kept & (src != dst) if self._table.self_loops == "drop" else kept)

    def _columns(self, batch: Batch, faults: Faults) -> dict[str, np.ndarray]:
        table = self._table
        columns = {end: self._rows(end, batch, faults) for end in self._ends}
        if table.weight:
            columns["weight"] = self._weights(batch, table.weight, faults)
        if table.time:
            columns["time"] = self._clock.times(batch, table.time, self._reader.path, faults)
        if table.features:
            columns["features"] = self._features.encode(batch, faults)
        for name, target in self._targets.items():
            columns[f"label {name}"] = target.values(batch, faults)
        splits = self._splits(batch, columns, faults)
        return columns | {f"split {name}": values for name, values in splits.items()}

    def _splits(
        self, batch: Batch, ends: Mapping[str, np.ndarray], faults: Faults
    ) -> dict[str, np.ndarray]:
        """Return each split's part of the edges; both directions of one are drawn together."""
        numbers = batch.ordinals
        if self._table.symmetrise:
            num_src = len(self._ids[self._edge_type[0]].again)
            numbers = pair_keys(ends["src"], ends["dst"], num_src, self._table)
        return self._rules.of(batch, faults) | self._rules.drawn(numbers)

    def _rows(self, end: str, batch: Batch, faults: Faults) -> np.ndarray:
        """Return the node at one end of each edge, int32 where it fits; -1 is unknown."""
        column, node_type = self._ends[end]
        ids, array = self._ids[node_type], batch.columns[column]
        self._check_kind(end, batch, array, ids)
        rows, there = ids.rows(array), known(array)
        faults.note(batch, ~there, column, f"the id of a node {node_type!r} in every row")
        if self._table.unknown_ids == "refuse":
            allowed = f"the id of a node {node_type!r}, or `unknown_ids: drop`"
            faults.note(batch, there & (rows < 0), column, allowed)
        return rows.astype(np.int32) if len(ids.again) < 2**31 else rows

    def _check_kind(self, end: str, batch: Batch, array: pa.Array, ids: IdMap) -> None:
        """Refuse integers for strings and the other way round: nothing would be found."""
        column, node_type = self._ends[end]
        kind = "strings" if pa.types.is_string(array.type) else "integers"
        written = self._reader.is_written(column)
        if not pa.types.is_integer(array.type) and kind == "integers" and known(array).any():
            kind = str(array.type)
        if kind != ids.kind and not written and known(array).any():
            wanted = "text" if ids.kind == "strings" else "integer"
            raise ConfigError(
                f"{self._reader.path}.{end}: {column!r} holds {kind} in {batch.file}, but the ids "
                f"of {node_type!r} are {ids.kind}; "
                f"give {self._reader.path}.types.{column}: {wanted}"
            )

    @staticmethod
    def _weights(batch: Batch, column: str, faults: Faults) -> np.ndarray:
        values, bad = numbers(batch.columns[column])
        fits = (values >= 0) & (values <= LARGEST_WEIGHT)
        faults.note(batch, bad | ~fits, column, "a finite number from 0 in every row")
        return np.where(fits, values, 0).astype(np.float32)
