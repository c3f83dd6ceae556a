"""tables: the kinds of labels and their options; an empty cell is a missing label."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mtl.graphs._tables.tagged import Tagged

if TYPE_CHECKING:
    from mtl.graphs._tables.targets import Target


def _names(value: Any) -> Any:
    """Take numbers and truths for the words that they are written as."""
    if not isinstance(value, list):
        return value
    return tuple(
        str(name).lower() if isinstance(name, bool | int | float) else name for name in value
    )


Names = Annotated[tuple[str, ...], BeforeValidator(_names), Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Label(Tagged):
    """What there is to predict of a row."""

    @abstractmethod
    def target(self, columns: tuple[str, ...]) -> "Target":
        """Make the label of its columns; Arrow is not needed to read a configuration."""


@dataclass(frozen=True, kw_only=True)
class ClassLabel(Label):
    """One class of several: words or numbers."""

    kind: Literal["class"] = "class"
    """One of several."""
    column: str | None = None
    """Column of the table; default: the name of the label."""
    classes: Names | None = None
    """All classes in their order; default: the values there are, sorted, numbers as numbers."""

    def target(self, columns: tuple[str, ...]) -> "Target":
        """Make the label of its columns."""
        from mtl.graphs._tables.targets import ClassTarget

        return ClassTarget(columns, self.classes)


@dataclass(frozen=True, kw_only=True)
class RegressionLabel(Label):
    """A number."""

    kind: Literal["regression"] = "regression"
    """A number, in the user's units."""
    column: str | None = None
    """Column of the table; default: the name of the label."""

    def target(self, columns: tuple[str, ...]) -> "Target":
        """Make the label of its columns."""
        from mtl.graphs._tables.targets import RegressionTarget

        return RegressionTarget(columns)


@dataclass(frozen=True, kw_only=True)
class MultilabelLabel(Label):
    """Any number of classes at once: a list of those that a row has, or a column for each."""

    kind: Literal["multilabel"] = "multilabel"
    """Any of several."""
    column: str | None = None
    """Column of lists; an empty list is none of them, a missing one unknown. Default: the name."""
    columns: Names | None = None
    """Instead of a list: one column of true and false for each class, a missing cell unknown."""
    classes: Names | None = None
    """All classes in their order; default: the members that there are, sorted."""
    num_classes: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    """Instead of `classes` where the members are numbers: they go from 0 to num_classes - 1."""
    separator: Annotated[str, Field(min_length=1)] = ","
    """Stands between the members where the list is a text, as in CSV."""

    def target(self, columns: tuple[str, ...]) -> "Target":
        """Make the label of its columns."""
        from mtl.graphs._tables.targets import ColumnsTarget, ListTarget

        if self.columns:
            return ColumnsTarget(columns)
        return ListTarget(columns, self.classes, self.num_classes, self.separator)
