"""tables: rows of a Parquet file, as many at a time as fit a bound."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from mtl.errors import DataError
from mtl.graphs._tables.files import File

BATCH_BYTES = 1 << 25
MOST_ROWS = 1 << 17


def header(file: File) -> tuple[list[str], int]:
    """Return the names of a file's columns, and how many rows it has.

    Raises:
        DataError: it is no Parquet file.
    """
    with _opened(file) as parquet:
        return list(parquet.schema_arrow.names), int(parquet.metadata.num_rows)


def read(file: File, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield all rows of some columns, in order.

    Raises:
        DataError: the file is broken.
    """
    with _opened(file) as parquet:
        meta = parquet.metadata
        size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        row_bytes = max(size // max(meta.num_rows, 1), 1)
        rows = min(max(BATCH_BYTES // row_bytes, 256), MOST_ROWS)
        try:
            yield from parquet.iter_batches(rows, columns=list(names), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise _broken(file, error) from error


def _opened(file: File) -> pq.ParquetFile:
    try:
        source = file.system.open_input_file(file.path)
        return pq.ParquetFile(source, pre_buffer=not file.is_local)
    except (OSError, pa.ArrowException) as error:
        raise _broken(file, error) from error


def _broken(file: File, error: Exception) -> DataError:
    hint = ""
    if "lists to be of size" in str(error):  # apache/arrow#35692
        hint = "; Arrow cannot read missing lists of fixed length: write the column as lists"
    return DataError(f"{file.name}: cannot be read as Parquet: {error}{hint}")
