"""tables: which columns of its table an option names, and where in YAML it stands."""

from collections.abc import Iterator

from mtl.graphs._tables.labels import MultilabelLabel
from mtl.graphs._tables.options import Edges, Nodes, Table
from mtl.graphs._tables.rules import ColumnSplit, TemporalSplit


def column_of_feature(table: Table, name: str) -> str:
    """Return the column of a feature."""
    return table.features[name].column or name


def columns_of_label(table: Table, name: str) -> tuple[str, ...]:
    """Return the columns of a label: one, or as many as a multilabel names."""
    label = table.labels[name]
    if isinstance(label, MultilabelLabel) and label.columns:
        return label.columns
    return (getattr(label, "column", None) or name,)


def column_of_split(table: Table, name: str) -> str | None:
    """Return the column that a split rule reads, if it reads one."""
    rule = table.rules[name]
    if isinstance(rule, TemporalSplit):
        return rule.column or table.time
    return rule.column if isinstance(rule, ColumnSplit) else None


def uses(table: Table) -> Iterator[tuple[str, str]]:
    """Yield every column that a table's options name, and the option, from the table on."""
    for name in table.features:
        yield column_of_feature(table, name), f"features.{name}"
    for name in table.labels:
        yield from ((column, f"labels.{name}") for column in columns_of_label(table, name))
    for name in table.rules:
        column = column_of_split(table, name)
        if column:
            yield column, "split" if table.split else f"splits.{name}"
    for name in table.types:
        yield name, f"types.{name}"
    singles = {Nodes: ("id", "time"), Edges: ("src", "dst", "weight", "time")}
    for option in singles[type(table)]:
        if column := getattr(table, option):
            yield column, option
