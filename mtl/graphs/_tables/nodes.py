"""tables: a table of nodes into the graph folder: ids, labels, splits, times, then features.

Features are never in memory all at once; what is known of a node besides is.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from mtl.errors import DataError
from mtl.graphs._tables.batch import Batch, Faults
from mtl.graphs._tables.feature_matrix import FeatureMatrix
from mtl.graphs._tables.ids import IdMap, id_map
from mtl.graphs._tables.options import Nodes
from mtl.graphs._tables.plain import known
from mtl.graphs._tables.reading import Reader
from mtl.graphs._tables.splitting import RowSplits, node_splits
from mtl.graphs._tables.targets import look, targets_of
from mtl.graphs._tables.times import Clock
from mtl.graphs._tables.values import MISSING, integers
from mtl.graphs.writer import Chunks, GraphWriter


class NodeTable:
    """One table of nodes on its way into a graph folder.

    Args:
        node_type: of all its rows.
        reader: of the table.
        table: its options.
        clock: of all times of the graph.
    """

    def __init__(self, node_type: str, reader: Reader, table: Nodes, clock: Clock) -> None:
        self._type, self._reader, self._table, self._clock = node_type, reader, table, clock
        self._targets = targets_of(table)
        self._features = FeatureMatrix(table)
        if table.id and reader.is_written(table.id):
            reader.as_codes(table.id)

    def write(self, writer: GraphWriter) -> IdMap:
        """Write all of it; return the rows of the ids.

        Raises:
            ConfigError: options do not fit the columns.
            DataError: names file, row, column, value, what is allowed, and how many such rows.
        """
        look(self._reader, self._targets)
        ids, times, labels, splits = self._read_rows()
        features = self._feature_chunks(next(iter(splits.values()), None), len(ids.again))
        time = times if self._table.time else None
        writer.add_nodes(self._type, len(ids.again), features, ids=ids.stored(), time=time)
        for name, values in labels.items():
            spec = self._targets[name].spec()
            writer.add_label(
                self._type,
                name,
                spec.kind,
                values,
                num_classes=spec.num_classes,
                classes=spec.classes,
            )
        for name, values in splits.items():
            writer.add_split(self._type, name, values)
        return ids

    def _read_rows(
        self,
    ) -> tuple[IdMap, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return ids, times, labels and splits of all nodes."""
        table, rules = self._table, RowSplits(self._reader.path, self._table)
        names = {c for target in self._targets.values() for c in target.columns} | rules.columns
        names |= {name for name in (table.id, table.time) if name}
        faults, ids = Faults(), list[pa.Array]()
        parts: dict[tuple[str, str], list[np.ndarray]] = {("time", ""): []}
        for batch in self._reader.batches(names, "reading"):
            ids.append(self._ids(batch, faults))
            if table.time:
                times = self._clock.times(batch, table.time, self._reader.path, faults)
                parts["time", ""].append(times)
            for name, target in self._targets.items():
                parts.setdefault(("label", name), []).append(target.values(batch, faults))
            for name, split in rules.of(batch, faults).items():
                parts.setdefault(("split", name), []).append(split)
        faults.check()
        if not ids:
            raise DataError(f"{self._reader.path}: there is no row in it")
        found = self._mapped(ids)
        joined = {key: np.concatenate(arrays) for key, arrays in parts.items() if arrays}
        labels = {name: joined["label", name] for name in self._targets}
        told = {name: array for (kind, name), array in joined.items() if kind == "split"}
        splits = node_splits(table, len(found.again), told, labels)
        return found, joined.get(("time", ""), np.empty(0)), labels, splits

    def _ids(self, batch: Batch, faults: Faults) -> pa.Array:
        """Return the ids of a batch: int64 or string."""
        column = self._table.id
        if column is None:
            return pa.array(batch.ordinals)
        array = batch.columns[column]
        faults.note(batch, ~known(array), column, "an id in every row")
        if pa.types.is_string(array.type):
            return array.cast(pa.large_string())  # all together may be longer than 2 GB
        values, _ = integers(array)
        none = known(array) & (values == MISSING)
        faults.note(batch, none, column, "an integer above -2**63, or a string")
        return pa.array(values)

    def _mapped(self, parts: list[pa.Array]) -> IdMap:
        """Return the map of all ids.

        Raises:
            DataError: ids are of two kinds, or some stand twice.
        """
        path, column = self._reader.path, self._table.id or ""
        if len({part.type for part in parts}) > 1:
            raise DataError(
                f"{path}.id: {column!r} holds integers in one file and strings in another; give "
                f"{path}.types.{column}"
            )
        found = id_map(pa.concat_arrays(parts))
        if found.again.any():
            self._tell(found.again, column)
        return found

    def _tell(self, again: np.ndarray, column: str) -> None:
        """Refuse ids that stand twice; they are read once more to say where.

        Raises:
            DataError: always.
        """
        faults, start = Faults(), 0
        for batch in self._reader.batches({column}, "ids"):
            faults.note(batch, again[start : start + len(batch)], column, "every id once")
            start += len(batch)
        faults.check()

    def _feature_chunks(self, split: np.ndarray | None, num_nodes: int) -> Chunks | None:
        """Learn from the nodes that train, and return the features of all as they are read."""
        matrix = self._features
        if not self._table.features:
            return None
        train = np.ones(num_nodes, bool) if split is None else split == 1
        start = 0
        for batch in self._reader.batches(matrix.columns, "statistics"):
            matrix.learn(batch, train[start : start + len(batch)])
            start += len(batch)
        matrix.check(self._reader.path)
        return Chunks(matrix.width, matrix.dtype, self._encoded())

    def _encoded(self) -> Iterator[np.ndarray]:
        faults = Faults()
        for batch in self._reader.batches(self._features.columns, "features"):
            for part in self._features.parts(batch):
                yield self._features.encode(part, faults)
        faults.check()
