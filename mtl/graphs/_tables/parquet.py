"""tables: rows of a Parquet file, as many at a time as fit a bound."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from mtl.errors import DataError
from mtl.graphs._tables.files import File

BATCH_BYTES = 1 << 25
MOST_ROWS = 1 << 17
PART_ROWS = 1 << 12
BROKEN = (OSError, pa.ArrowException, UnicodeError)
"""What pyarrow raises where a file is none: the last one for a name in its footer."""


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
        parts = parquet.iter_batches(_rows(parquet, names), columns=list(names), use_threads=False)
        try:
            yield from _joined(parts)
        except BROKEN as error:
            raise _broken(file, error) from error


def _rows(parquet: pq.ParquetFile, names: Sequence[str]) -> int:
    """Return how many rows to decode at once: few, where only that tells how long they are."""
    types = [parquet.schema_arrow.field(name).type for name in names]
    row_bytes: int = sum(kind.bit_width for kind in types if pa.types.is_primitive(kind)) // 8
    most = MOST_ROWS
    if not all(map(pa.types.is_primitive, types)):
        meta = parquet.metadata
        size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        row_bytes, most = size // max(meta.num_rows, 1), min(PART_ROWS, MOST_ROWS)
    return min(max(BATCH_BYTES // max(row_bytes, 1), 256), most)


def _joined(parts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join small batches: a file does not say how large its rows are once they are decoded."""
    held: list[pa.RecordBatch] = []
    num_rows = num_bytes = 0
    for part in map(_decoded, parts):
        num_rows, num_bytes = num_rows + len(part), num_bytes + part.nbytes
        if held and (num_rows > MOST_ROWS or num_bytes > BATCH_BYTES):
            yield from _together(held)
            held, num_rows, num_bytes = [], len(part), part.nbytes
        held.append(part)
    if held:
        yield from _together(held)


def _decoded(part: pa.RecordBatch) -> pa.RecordBatch:
    """Write out what is stored as numbers of words."""
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in part.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=part.schema.names)


def _together(parts: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return list(pa.Table.from_batches(parts).combine_chunks().to_batches())


def _opened(file: File) -> pq.ParquetFile:
    try:
        source = file.system.open_input_file(file.path)
        return pq.ParquetFile(source, pre_buffer=not file.is_local)
    except BROKEN as error:
        raise _broken(file, error) from error


def _broken(file: File, error: Exception) -> DataError:
    hint = ""
    if "lists to be of size" in str(error):  # apache/arrow#35692
        hint = "; Arrow cannot read missing lists of fixed length: write the column as lists"
    return DataError(f"{file.name}: cannot be read as Parquet: {error}{hint}")
