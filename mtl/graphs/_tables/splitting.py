"""tables: split rules at work on rows of nodes and of edges."""

import numpy as np
import pyarrow as pa

from mtl.errors import ConfigError
from mtl.graphs._tables.batch import Batch, Faults
from mtl.graphs._tables.options import Table
from mtl.graphs._tables.plain import known
from mtl.graphs._tables.rules import (
    ColumnSplit,
    PerClassSplit,
    RandomSplit,
    Split,
    TemporalSplit,
    moment_of,
)
from mtl.graphs._tables.uses import column_of_split
from mtl.graphs._tables.values import MISSING, integers, moments
from mtl.graphs._tables.words import coded
from mtl.graphs.splits import hashed_split, per_class_split, random_split, temporal_split

PARTS = {"none": 0, "train": 1, "val": 2, "valid": 2, "validation": 2, "test": 3}
PARTS |= {str(number): number for number in range(4)}


class RowSplits:
    """The splits of a table whose rules need to see one row alone.

    Args:
        path: of the table in YAML.
        table: its options.
    """

    def __init__(self, path: str, table: Table) -> None:
        self._path = f"{path}.split" if table.split else f"{path}.splits"
        rules, told = table.rules.items(), (ColumnSplit, TemporalSplit)
        self._told = {name: rule for name, rule in rules if isinstance(rule, told)}
        self._random = {name: rule for name, rule in rules if isinstance(rule, RandomSplit)}
        self._columns = {name: column_of_split(table, name) or "" for name in self._told}
        self.columns = set(self._columns.values())

    def of(self, batch: Batch, faults: Faults) -> dict[str, np.ndarray]:
        """Return the part of each row, uint8 [rows], in each split that its columns tell."""
        return {name: self._one(name, rule, batch, faults) for name, rule in self._told.items()}

    def drawn(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Return parts that are drawn at random, uint8 [rows]; equal numbers draw the same one."""
        return {
            name: hashed_split(numbers, rule.train, rule.seed, val=rule.val, test=rule.test)
            for name, rule in self._random.items()
        }

    def _one(self, name: str, rule: Split, batch: Batch, faults: Faults) -> np.ndarray:
        column = self._columns[name]
        array = batch.columns[column]
        if isinstance(rule, TemporalSplit):
            times, bad = self._times(array, rule, column)
            faults.note(batch, bad, column, "a date or an integer, or nothing")
            split = temporal_split(times, moment_of(rule.val_from), moment_of(rule.test_from))
            return np.asarray(np.where(times == MISSING, 0, split), np.uint8)
        codes, words, bad = coded(array)
        numbers = np.array([*(PARTS.get(word.lower(), 4) for word in words), 0], np.uint8)[codes]
        allowed = "train, val, test, none or nothing, or 0 to 3"
        faults.note(batch, bad | (numbers == 4), column, allowed)
        return np.asarray(numbers)

    def _times(
        self, array: pa.Array, rule: TemporalSplit, column: str
    ) -> tuple[np.ndarray, np.ndarray]:
        dates = isinstance(rule.val_from, str)
        if known(array).any() and dates != (not is_number(array)):
            what = "dates" if dates else "integers"
            raise ConfigError(f"{self._path}: val_from and test_from are {what}, {column!r} not")
        return moments(array) if dates else integers(array)


def is_number(array: pa.Array) -> bool:
    """Say whether a column holds numbers."""
    return bool(pa.types.is_integer(array.type) or pa.types.is_floating(array.type))


def node_splits(
    table: Table, num_nodes: int, found: dict[str, np.ndarray], labels: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return all splits of a type of nodes in their order, uint8 [nodes].

    Args:
        table: its options.
        num_nodes: rows.
        found: splits that rows told by themselves.
        labels: all labels by name.
    """
    splits = {}
    for name, rule in table.rules.items():
        if isinstance(rule, RandomSplit):
            rng, shares = np.random.default_rng(rule.seed), {"val": rule.val, "test": rule.test}
            splits[name] = random_split(num_nodes, rule.train, rng, **shares)
        elif isinstance(rule, PerClassSplit):
            rng, classes = np.random.default_rng(rule.seed), labels[rule.label]
            splits[name] = per_class_split(classes, rule.train, rule.val, rng, test=rule.test)
        else:
            splits[name] = found[name]
    return splits
