"""tables: `where` and `columns`, SQL that DuckDB evaluates for each row by itself."""

import json
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from typing import Any

import duckdb
import pyarrow as pa

from mtl.errors import ConfigError, DataError

ROW = "number of the row"  # a column that goes along: it says which rows `where` left
TABLE = "rows"


class Expressions:
    """The SQL of one table.

    Args:
        path: of the table in YAML.
        where: which rows stay; None is all.
        columns: name -> SQL; it may use the columns of the files and those before it.

    Raises:
        ConfigError: what is written is no expression over one row; names the YAML path.
    """

    def __init__(self, path: str, where: str | None, columns: Mapping[str, str]) -> None:
        self._path, self._where, self._columns = path, where, dict(columns)
        self.paths = {name: f"{path}.columns.{name}" for name in columns}
        self._used = {name: _columns_of(sql, self.paths[name]) for name, sql in columns.items()}
        self._used_where = _columns_of(where, f"{path}.where") if where else set()

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def needs(self, names: set[str]) -> dict[str, str]:
        """Return the columns of the files that names and `where` come from, and who says so."""
        found: dict[str, str] = dict.fromkeys(sorted(names - self._columns.keys()), "")
        for name in self._derived(names):
            found |= dict.fromkeys(self._used[name] - self._columns.keys(), self.paths[name])
        where = dict.fromkeys(self._used_where - self._columns.keys(), f"{self._path}.where")
        return found | where

    def any(self, names: set[str]) -> bool:
        """Say whether SQL is needed to read these columns."""
        return bool(self._where or self._derived(names))

    def apply(self, table: pa.Table, names: set[str], file: str, rows: Any) -> pa.Table:
        """Return the rows that stay, with these columns and ROW.

        Args:
            table: columns of the files, and ROW.
            names: that are wanted.
            file: the rows are from, for errors.
            rows: number of each row in it.

        Raises:
            ConfigError: an expression does not fit the types of the columns.
            DataError: it cannot be evaluated for a row.
        """
        try:
            return self._run(table, names)
        except duckdb.ProgrammingError as error:
            path = next(self._blamed(table, names), self._path)
            raise ConfigError(f"{path}: {_first_line(error)}{_types(table)}") from error
        except duckdb.Error as error:
            bad = self._first_bad(table, names)
            raise DataError(
                f"{file}: row {rows[bad]}: {self._path}: {_first_line(error)}"
            ) from error

    def _run(self, table: pa.Table, names: set[str]) -> pa.Table:
        derived = self._derived(names)
        columns = [f"({self._columns[name]}) AS {_quoted(name)}" for name in derived]
        wanted = ", ".join(_quoted(name) for name in [ROW, *sorted(names)])
        inner = f"SELECT {', '.join(['*', *columns])} FROM {TABLE}"
        self._connection.register(TABLE, table)
        try:
            query = f"SELECT {wanted} FROM ({inner}) WHERE ({self._where or 'true'})"
            return self._connection.sql(query).to_arrow_table()
        finally:
            self._connection.unregister(TABLE)

    def _derived(self, names: set[str]) -> list[str]:
        """Return which of `columns` are needed for names and `where`, in their order."""
        wanted = names | self._used_where
        for name in reversed(self._columns):
            if name in wanted:
                wanted = wanted | self._used[name]
        return [name for name in self._columns if name in wanted]

    def _blamed(self, table: pa.Table, names: set[str]) -> Iterator[str]:
        """Yield the YAML path of what does not even run on no row."""
        alone = Expressions(self._path, None, self._columns)
        for name in self._derived(names):
            try:
                alone._run(table.slice(0, 0), {name})
            except duckdb.Error:
                yield self.paths[name]
        yield f"{self._path}.where"

    def _first_bad(self, table: pa.Table, names: set[str]) -> int:
        """Return the first row that cannot be evaluated, by halving."""
        low, high = 0, len(table)
        while high - low > 1:
            middle = (low + high) // 2
            try:
                self._run(table.slice(low, middle - low), names)
                low = middle
            except duckdb.Error:
                high = middle
        return low

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        return _connect()


def _connect() -> duckdb.DuckDBPyConnection:
    """Connect to an empty database that reaches no file and keeps the order of rows."""
    connection = duckdb.connect(
        ":memory:", config={"threads": 1, "enable_external_access": "false"}
    )
    connection.execute("SET TimeZone = 'UTC'")  # else hours are those of this machine
    connection.execute("SET lock_configuration = true")
    return connection


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    return _connect()


@cache
def _unsteady() -> frozenset[str]:
    """Return the functions that may give another value the next time: tables are read twice."""
    steady = "bool_or(coalesce(stability, 'CONSISTENT') = 'CONSISTENT')"
    scalars = "duckdb_functions() WHERE function_type = 'scalar'"
    query = f"SELECT function_name FROM {scalars} GROUP BY 1 HAVING NOT {steady}"
    return frozenset(row[0] for row in _parser().sql(query).fetchall())


@cache
def _aggregates() -> frozenset[str]:
    query = "SELECT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
    return frozenset(row[0] for row in _parser().sql(query).fetchall())


def _columns_of(sql: str, path: str) -> set[str]:
    """Return the columns that an expression names, having checked that it is one over one row."""
    text = f"SELECT ({sql}) AS value".replace("'", "''")
    answer = _parser().sql(f"SELECT json_serialize_sql('{text}')").fetchall()[0][0]
    tree = json.loads(answer)
    if tree["error"]:
        raise ConfigError(f"{path}: {tree['error_message']}, found {sql!r}")
    (statement, *more) = tree["statements"]
    selected = statement["node"].get("select_list", [])
    if more or len(selected) != 1 or statement["node"]["from_table"]["type"] != "EMPTY":
        raise ConfigError(f"{path}: expected one expression, found {sql!r}")
    for node in _nodes(selected[0]):
        if node.get("class") in ("WINDOW", "SUBQUERY", "STAR") or _called(node) in _aggregates():
            raise ConfigError(f"{path}: expected SQL over the columns of one row, found {sql!r}")
        if _called(node) in _unsteady() or _is_age_today(node):
            name = node["function_name"]
            raise ConfigError(f"{path}: {name}() is another value each time; give a constant")
    return _named(selected[0])


def _named(tree: Any) -> set[str]:
    """Return the columns that a JSON tree names; the variables of a lambda are none."""
    if isinstance(tree, list):
        return set[str]().union(*map(_named, tree))
    if not isinstance(tree, dict):
        return set()
    if tree.get("class") == "COLUMN_REF":
        return {tree["column_names"][0]}
    if tree.get("class") == "LAMBDA":
        return _named(tree["expr"]) - _named(tree["lhs"])
    return _named(list(tree.values()))


def _called(node: Mapping[str, Any]) -> str:
    return str(node["function_name"]) if node.get("class") == "FUNCTION" else ""


def _is_age_today(node: Mapping[str, Any]) -> bool:
    """Say whether a call is age(x), which counts from today, though DuckDB calls it steady."""
    return _called(node) == "age" and len(node.get("arguments") or node["children"]) == 1


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a JSON tree."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _types(table: pa.Table) -> str:
    types = [
        f"{name} {kind}" for name, kind in zip(table.column_names, table.schema.types, strict=True)
    ]
    return f" (columns: {', '.join(kind for kind in types if not kind.startswith(ROW))})"
