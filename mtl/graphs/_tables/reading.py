"""tables: a table's rows in batches, whatever its files are, with the columns that SQL adds."""

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from mtl.errors import ConfigError, DataError
from mtl.graphs._report import Report
from mtl.graphs._tables import csv, parquet
from mtl.graphs._tables.batch import Batch, Faults
from mtl.graphs._tables.files import File, find
from mtl.graphs._tables.options import Table
from mtl.graphs._tables.plain import plain
from mtl.graphs._tables.sql import ROW, Expressions
from mtl.graphs._tables.uses import uses
from mtl.graphs._tables.values import as_type
from mtl.plugin import nearest

FILENAME = "filename"


class Reader:
    """Read a table; `filename` is a column of each file: its name without folder and suffixes.

    Args:
        path: of the table in YAML.
        table: its options.
        root: where relative names of files start.
        report: is told how many rows of how many are read.

    Raises:
        ConfigError: there is no such file or column, or SQL is wrong.
        DataError: a file is broken.
    """

    def __init__(self, path: str, table: Table, root: str, report: Report) -> None:
        self.path, self.table, self._report = path, table, report
        self.files = find(root, table, path)
        self._sql = Expressions(path, table.where, table.columns)
        self._what = path.removeprefix("graph.").replace(".", " ")
        self._num_rows = 0  # of CSV files: nobody knows
        self._types: dict[str, str] = dict(table.types)
        self._names: dict[str, list[str]] = {}
        self._check_names()

    def is_written(self, name: str) -> bool:
        """Say whether a column is text in a CSV file that may be read as what is wanted."""
        csv_only = all(file.format == "csv" for file in self.files)
        return csv_only and name not in self._sql and name not in self.table.types

    def as_written(self, name: str) -> None:
        """Leave a column of a CSV file as it is written."""
        self._types[name] = "text"

    def as_codes(self, name: str) -> None:
        """Read a column of a CSV file as integers, or else as it is written: it holds ids."""
        self._look([name])
        if self._types[name] != "integer":
            self._types[name] = "text"

    def batches(self, names: set[str], doing: str) -> Iterator[Batch]:
        """Yield the rows that `where` leaves, with some columns, in the order of the files.

        Args:
            names: of the columns.
            doing: what for, in progress reports.

        Raises:
            DataError: a file is broken, or a value is not of the type that `types` asks for.
        """
        raw = sorted(self._sql.needs(names))
        if self.files[0].format == "csv":
            self._look(raw)
        faults, before = Faults(), 0
        for file in self.files:
            done = 0
            for records in self._records(file, raw):
                rows = np.arange(done + 1, done + 1 + records.num_rows)
                columns = dict(zip(records.schema.names, records.columns, strict=True))
                batch = self._typed(Batch(file.name, rows, before, columns), faults)
                done += len(rows)
                self._report(f"{self._what}: {doing}", before + done, self._num_rows)
                if len(chosen := self._computed(batch, names, faults)):
                    yield chosen
            before += done
        faults.check()

    def _records(self, file: File, names: list[str]) -> Iterator[pa.RecordBatch]:
        written = [name for name in names if name != FILENAME]
        some = written or self._names[file.name][:1]  # any column, to count the rows
        is_csv = file.format == "csv"
        found = csv.read(file, self.table, some) if is_csv else parquet.read(file, some)
        for records in found:
            if FILENAME in names:
                stem = pa.repeat(PurePosixPath(file.path).name.split(".")[0], records.num_rows)
                records = records.append_column(FILENAME, stem)
            yield records

    def _look(self, names: list[str]) -> None:
        """Find out what the columns of CSV files look like, once."""
        new = [name for name in names if name not in self._types and name != FILENAME]
        if new:
            records = (part for file in self.files for part in csv.read(file, self.table, new))
            self._types |= csv.looks(records, new)

    def _typed(self, batch: Batch, faults: Faults) -> Batch:
        columns = {}
        for name, column in batch.columns.items():
            kind = self._types.get(name)
            columns[name], bad = as_type(column, kind) if kind else plain(column)
            faults.note(batch, bad, name, self._allowed(name))
        return Batch(batch.file, batch.rows, batch.first, columns)

    def _allowed(self, name: str) -> str:
        if name in self._types:
            return f"{self._types[name]}, as {self.path}.types says"
        advice = "cast it" if name in self._sql else f"give {self.path}.types.{name}: text"
        return f"what fits 64 bits; {advice}"

    def _computed(self, batch: Batch, names: set[str], faults: Faults) -> Batch:
        if not self._sql.any(names):
            columns = {name: batch.columns[name] for name in names}
            return Batch(batch.file, batch.rows, batch.first, columns)
        given = pa.table({**batch.columns, ROW: np.arange(len(batch))})
        found = self._sql.apply(given, names, batch.file, batch.rows)
        rows = batch.rows[found[ROW].to_numpy()]
        columns = {name: found[name].combine_chunks() for name in names}
        return self._typed(Batch(batch.file, rows, batch.first, columns), faults)

    def _check_names(self) -> None:
        """Refuse columns that there are not, and names that SQL cannot tell apart."""
        if len({file.format for file in self.files}) > 1:
            raise ConfigError(f"{self.path}.files: one table is either Parquet or CSV, not both")
        for file in self.files:
            self._names[file.name], num_rows = _header(file, self.table)
            self._num_rows += num_rows
        columns = self.table.columns
        exact = {n: f"{self.path}.{o}" for n, o in uses(self.table) if n not in self._sql}
        in_sql = self._sql.needs(set(columns))
        used = [*exact.items(), *in_sql.items()]
        wrong = [text for name, path in used if (text := self._missing(name, path))]
        there = {name.lower() for names in self._names.values() for name in names}
        for name, path in self._sql.paths.items():
            if name.lower() in there:
                wrong.append(f"{path}: the files have a column of this name; choose another")
        if wrong:
            raise ConfigError("\n".join(wrong))
        known = {*exact, *in_sql, *columns}
        if self._sql.any(set(columns)) and len({name.lower() for name in known}) < len(known):
            raise ConfigError(
                f"{self.path}: SQL cannot tell columns apart that differ in case alone"
            )

    def _missing(self, name: str, path: str) -> str | None:
        """Say which file has no such column, if one has none."""
        for file, names in self._names.items():
            if name not in names and name != FILENAME:
                there = [*names, *self.table.columns]
                hint = f"{nearest(name, there)} (there are: {', '.join(there)})"
                return f"{path}: {file} has no column {name!r}{hint}"
        return None


def _header(file: File, table: Table) -> tuple[list[str], int]:
    """Return the names of a file's columns and how many rows it has, 0 where only reading tells.

    Raises:
        DataError: the file is broken, or two columns have one name.
    """
    is_csv = file.format == "csv"
    names, num_rows = (csv.column_names(file, table), 0) if is_csv else parquet.header(file)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{file.name}: two columns have the name {twice[0]!r}")
    if FILENAME in names:
        raise DataError(f"{file.name}: a column is called filename, which is the file's own name")
    return names, num_rows
