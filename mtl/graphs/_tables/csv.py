"""tables: rows of a CSV file, and what type its columns look like."""

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from mtl.errors import DataError
from mtl.graphs._tables.batch import shown, such_rows
from mtl.graphs._tables.files import File
from mtl.graphs._tables.options import Table
from mtl.graphs._tables.parse import parsed
from mtl.graphs._tables.plain import TYPES

BLOCK_BYTES = 1 << 23
CODES = {  # numbers that would come back as other texts, such as zip codes and long ids
    "integer": r"^\s*(\+|-?0[0-9a-zA-Z]|-0\s*$)",
    "number": r"^\s*[+-]?(0[0-9a-zA-Z]|[0-9]{16})",
}


def column_names(file: File, table: Table) -> list[str]:
    """Return the names of a file's columns.

    Raises:
        DataError: it is no CSV file.
    """
    try:
        with _opened(file, table, None, []) as reader:
            return list(reader.schema.names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _broken(file, error) from error


def read(file: File, table: Table, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield all rows of some columns as texts, in order; an empty cell is missing.

    Raises:
        DataError: the file is broken, or rows have too many or too few cells.
    """
    uneven: list[csv.InvalidRow] = []
    try:
        with _opened(file, table, names, uneven) as reader:
            yield from reader
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _broken(file, error) from error
    if uneven:
        first, lines = uneven[0], 0 if table.header else 1
        raise DataError(
            f"{file.name}: row {first.number - lines}: {first.actual_columns} cells: "
            f"{shown(first.text)}; allowed: {first.expected_columns} ({such_rows(len(uneven))})"
        )


def looks(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> dict[str, str]:
    """Return the narrowest type that fits all cells of each column: a key of TYPES."""
    fits: dict[str, list[str]] = {name: list(TYPES) for name in names}
    for batch in batches:
        for name in names:
            cells = batch.column(name)
            while fits[name][0] != "text" and not _fits(cells, fits[name][0]):
                fits[name].pop(0)
    return {name: kinds[0] for name, kinds in fits.items()}


def _fits(cells: pa.Array, kind: str) -> bool:
    """Say whether all cells are of a type; `yes` is a word, and 007 no number, unless asked for."""
    if kind == "boolean":
        words = pa.array(["true", "false"])
        return pc.all(pc.is_in(pc.utf8_lower(cells.drop_null()), words)).as_py() is not False
    first = cells.drop_null().slice(0, 1)  # most columns of texts are told by their first cell
    if any(parsed(part, TYPES[kind])[1].any() for part in (first, cells)):
        return False
    code = CODES.get(kind)
    return code is None or not pc.any(pc.match_substring_regex(cells, code)).as_py()


def _opened(
    file: File, table: Table, names: Sequence[str] | None, uneven: list[csv.InvalidRow]
) -> csv.CSVStreamingReader:
    def skip(row: csv.InvalidRow) -> str:
        uneven.append(row)
        return "skip"

    delimiter = table.delimiter or ("\t" if file.suffix == ".tsv" else ",")
    stream = file.system.open_input_stream(file.path, compression="detect")
    return csv.open_csv(
        pa.TransformInputStream(stream, _without_last_lines()),
        read_options=csv.ReadOptions(
            block_size=BLOCK_BYTES,
            use_threads=False,  # else rows have no numbers
            column_names=list(table.header) if table.header else None,
        ),
        parse_options=csv.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=True,
            ignore_empty_lines=False,  # else rows have other numbers
            invalid_row_handler=skip,
        ),
        convert_options=csv.ConvertOptions(
            column_types={name: pa.string() for name in names or ()},
            include_columns=list(names) if names else None,
            strings_can_be_null=True,
            null_values=[""],
        ),
    )


def _without_last_lines() -> Callable[[pa.Buffer], bytes]:
    """Return what leaves empty lines out of a stream of bytes where they stand at its end.

    It also checks that they are UTF-8: what pyarrow calls with an uneven row gets none that is not.
    """
    held, decoder = b"", getincrementaldecoder("utf-8")()

    def leave_out(part: pa.Buffer) -> bytes:
        nonlocal held
        decoder.decode(part.to_pybytes())
        content: bytes = held + part.to_pybytes()
        end = len(content.rstrip(b"\r\n"))
        if end:  # the line break of the last line stays
            end += 2 if content.startswith(b"\r\n", end) else 1
        held = content[end:]
        return content[:end]

    return leave_out


def _broken(file: File, error: Exception) -> DataError:
    return DataError(f"{file.name}: cannot be read as CSV in UTF-8: {error}")
