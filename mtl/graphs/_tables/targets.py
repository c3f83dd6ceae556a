"""tables: label columns of any kind as labels; see labels.py for the options."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from mtl.graphs._chunks import LabelSpec
from mtl.graphs._tables.batch import Batch, Faults
from mtl.graphs._tables.options import Table
from mtl.graphs._tables.plain import known
from mtl.graphs._tables.reading import Reader
from mtl.graphs._tables.statistics import Words
from mtl.graphs._tables.uses import columns_of_label
from mtl.graphs._tables.values import numbers, truths
from mtl.graphs._tables.words import coded, listed, respelled

MOST_CLASSES = 100_000
LARGEST = float(np.finfo(np.float32).max)


class Target(ABC):
    """One label.

    Args:
        columns: of the table.
    """

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns

    @property
    def is_known(self) -> bool:
        """Whether all classes are known; else `look` must see every row first."""
        return True

    def look(self, batch: Batch) -> None:  # noqa: B027 nothing to find is right for most
        """Find the classes of some rows."""

    @abstractmethod
    def spec(self) -> LabelSpec:
        """Describe the label."""

    @abstractmethod
    def values(self, batch: Batch, faults: Faults) -> np.ndarray:
        """Return the label of each row; -1 is missing, NaN in a regression."""


class RegressionTarget(Target):
    """A number: float32 [rows]."""

    def spec(self) -> LabelSpec:
        """Describe the label."""
        return LabelSpec(kind="regression")

    def values(self, batch: Batch, faults: Faults) -> np.ndarray:
        """Return the numbers."""
        (column,) = self.columns
        values, bad = numbers(batch.columns[column])
        faults.note(batch, bad | (np.abs(values) > LARGEST), column, "a finite number, or nothing")
        with np.errstate(over="ignore"):
            return values.astype(np.float32)


class Classes:
    """The names of classes: given, or found and sorted.

    Args:
        given: all of them; None is those that there are.
    """

    def __init__(self, given: tuple[str, ...] | None) -> None:
        self.given = given
        self._found = Words()
        self._places: dict[pa.DataType, dict[str, int]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All names in their order."""
        return self.given or tuple(self._found.sorted())

    def add(self, array: pa.Array) -> None:
        """Find the classes of some rows."""
        if len(self._found.counts) <= MOST_CLASSES:
            codes, words, _ = coded(array)
            self._found.add(codes, words)

    def numbers(self, array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Return the class of each row, -1 where it is missing, and which rows have another."""
        place = self._placed(array.type)
        codes, words, bad = coded(array)
        found = np.array([*(place.get(word, -1) for word in words), -1])[codes]
        return found, bad | ((codes >= 0) & ((found < 0) | (len(self.names) > MOST_CLASSES)))

    def _placed(self, kind: pa.DataType) -> dict[str, int]:
        """Return the number of each class by the word that a column of a type has for it."""
        if kind not in self._places:
            words = respelled(self.names, kind)
            count = Counter(words)  # two names of one number would be one class
            self._places[kind] = {w: n for n, w in enumerate(words) if count[w] == 1}
        return self._places[kind]

    @property
    def allowed(self) -> str:
        """Say which classes there are, for errors."""
        if not self.names:
            return "a word or a number, or nothing"
        if len(self.names) > MOST_CLASSES:
            return f"one of at most {MOST_CLASSES} classes; is it a regression?"
        some = ", ".join(self.names[:20]) + (" ..." if len(self.names) > 20 else "")
        return f"one of the classes {some}, or nothing"


class ClassTarget(Target):
    """One class of several: int32 [rows]."""

    def __init__(self, columns: tuple[str, ...], classes: tuple[str, ...] | None) -> None:
        super().__init__(columns)
        self._classes = Classes(classes)

    @property
    def is_known(self) -> bool:
        """Whether the options name all classes."""
        return self._classes.given is not None

    def look(self, batch: Batch) -> None:
        """Find the classes of some rows."""
        self._classes.add(batch.columns[self.columns[0]])

    def spec(self) -> LabelSpec:
        """Describe the label."""
        names = self._classes.names
        return LabelSpec(kind="class", num_classes=max(len(names), 1), classes=names or None)

    def values(self, batch: Batch, faults: Faults) -> np.ndarray:
        """Return the numbers of the classes."""
        (column,) = self.columns
        values, bad = self._classes.numbers(batch.columns[column])
        faults.note(batch, bad, column, self._classes.allowed)
        return values.astype(np.int32)


class ListTarget(Target):
    """A list of the classes that a row has: int8 [rows, classes]; no list is all unknown."""

    def __init__(
        self,
        columns: tuple[str, ...],
        classes: tuple[str, ...] | None,
        num_classes: int | None,
        separator: str,
    ) -> None:
        super().__init__(columns)
        numbered = tuple(map(str, range(num_classes))) if num_classes else None
        self._classes, self._named = Classes(classes or numbered), num_classes is None
        self._separator = separator

    @property
    def is_known(self) -> bool:
        """Whether the options name all classes."""
        return self._classes.given is not None

    def look(self, batch: Batch) -> None:
        """Find the classes of some rows."""
        self._classes.add(listed(batch.columns[self.columns[0]], self._separator)[1])

    def spec(self) -> LabelSpec:
        """Describe the label."""
        names = self._classes.names
        classes = names if names and self._named else None
        return LabelSpec(kind="multilabel", num_classes=max(len(names), 1), classes=classes)

    def values(self, batch: Batch, faults: Faults) -> np.ndarray:
        """Return 1 for each class that a row has, 0 for the others."""
        (column,) = self.columns
        lists = batch.columns[column]
        starts, members, bad = listed(lists, self._separator)
        faults.note(batch, bad, column, "a list of classes, or nothing")
        classes, wrong = self._classes.numbers(members)
        rows = np.repeat(np.arange(len(lists)), np.diff(starts))
        bad = np.zeros(len(lists), bool)
        bad[rows[wrong]] = True
        faults.note(batch, bad, column, f"{self._classes.allowed}, in each place of the list")
        values = np.zeros((len(lists), self.spec().num_classes), np.int8)
        values[rows[classes >= 0], classes[classes >= 0]] = 1
        values[~known(lists)] = -1
        return values


class ColumnsTarget(Target):
    """A column of true and false for each class: int8 [rows, classes]; an empty cell is unknown."""

    def spec(self) -> LabelSpec:
        """Describe the label."""
        return LabelSpec(
            kind="multilabel", num_classes=len(self.columns), classes=tuple(self.columns)
        )

    def values(self, batch: Batch, faults: Faults) -> np.ndarray:
        """Return 1 for true, 0 for false."""
        values = np.empty((len(batch), len(self.columns)), np.int8)
        for number, column in enumerate(self.columns):
            truth, bad = truths(batch.columns[column])
            faults.note(batch, bad, column, "true or false, yes or no, 1 or 0, or nothing")
            values[:, number] = np.where(np.isnan(truth), -1, truth)
        return values


def targets_of(table: Table) -> dict[str, Target]:
    """Make the labels of a table by name."""
    return {
        name: label.target(columns_of_label(table, name)) for name, label in table.labels.items()
    }


def look(reader: Reader, targets: Mapping[str, Target]) -> None:
    """Find the classes that the options do not name, by reading those columns alone."""
    unknown = [target for target in targets.values() if not target.is_known]
    if unknown:
        for batch in reader.batches({c for target in unknown for c in target.columns}, "classes"):
            for target in unknown:
                target.look(batch)
