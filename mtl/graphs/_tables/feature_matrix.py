"""tables: all features of a table, one beside the other."""

import numpy as np

from mtl.errors import DataError
from mtl.graphs._tables.batch import Batch, Faults
from mtl.graphs._tables.options import Table
from mtl.graphs._tables.uses import column_of_feature

CHUNK_BYTES = 1 << 25
LARGEST = {"float32": 3.4e38, "float16": 65504.0, "bfloat16": 3.38e38}


class FeatureMatrix:
    """The features of a table: learn from training rows, then encode all rows.

    Args:
        table: its options.
    """

    def __init__(self, table: Table) -> None:
        self.dtype = table.feature_dtype
        self._encoders = {
            name: feature.encoder(column_of_feature(table, name))
            for name, feature in table.features.items()
        }
        self.columns = {encoder.column for encoder in self._encoders.values()}
        self._num_train = 0

    @property
    def width(self) -> int:
        """Columns of the matrix; right after all training rows were seen."""
        return sum(encoder.width for encoder in self._encoders.values())

    def learn(self, batch: Batch, train: np.ndarray) -> None:
        """Take the training rows of a batch into account."""
        self._num_train += int(np.count_nonzero(train))
        for encoder in self._encoders.values():
            encoder.learn(batch.columns[encoder.column], train)

    def parts(self, batch: Batch, more_bytes: int = 0) -> list[Batch]:
        """Cut a batch so that features, and more bytes a row, take bounded memory."""
        return batch.slices(max(CHUNK_BYTES // max(4 * self.width + more_bytes, 1), 1))

    def check(self, path: str) -> None:
        """Refuse features of which nothing was learned.

        Raises:
            DataError: no row of the table trains.
        """
        if self._encoders and not self._num_train:
            raise DataError(
                f"{path}: features are learned from the rows that train, and in the first split "
                "there is none"
            )

    def encode(self, batch: Batch, faults: Faults) -> np.ndarray:
        """Return the features of a batch, [rows, width], bfloat16 as uint16."""
        out = np.zeros((len(batch), self.width), np.float32)
        start = 0
        for encoder in self._encoders.values():
            columns = out[:, start : start + encoder.width]
            start += encoder.width
            with np.errstate(over="ignore"):
                encoder.encode(batch, columns, faults)
            large = np.isfinite(columns) & (np.abs(columns) > LARGEST[self.dtype])
            fitting = f"what fits {self.dtype} once transformed"
            faults.note(batch, np.asarray(large.any(axis=1)), encoder.column, fitting)
        return self._stored(out)

    def _stored(self, values: np.ndarray) -> np.ndarray:
        if self.dtype != "bfloat16":
            with np.errstate(over="ignore"):  # noted above
                return values.astype(self.dtype)
        bits = values.view(np.uint32)
        rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return (rounded >> np.uint32(16)).astype(np.uint16)  # to nearest, ties to even
