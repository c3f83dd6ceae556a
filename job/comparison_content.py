"""compare: what the page is made of: the rows, how each one looks, and their curves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from job.comparison import Row, heads
from job.comparison_curves import Histories, read
from job.comparison_table import unique_names
from job.conflicts import COSINE, WEIGHT
from job.page import Style, styles

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass
class Content:
    """What all sections of the page read."""

    rows: Mapping[str, Row]
    """By a name that no other has."""
    histories: Histories
    looks: Mapping[str, Style]
    heads: Mapping[str, str]
    """The metric that stands for each task."""

    @property
    def all(self) -> list[Row]:
        """The rows without their names."""
        return [*self.rows.values()]


def gather(rows: list[Row], client: "MlflowClient") -> Content:
    """Read the curves that the page shows."""
    named = dict(zip(unique_names(rows), rows, strict=True))
    first = heads(rows)
    losses = [f"train/{task}/loss" for task in first]
    validations = [validation(key) for key in first.values()]
    logged = sorted({key for row in rows for key in row.metrics})
    others = [key for key in logged if key.startswith((f"{COSINE}/", f"{WEIGHT}/"))]
    histories = read(client, rows, [*losses, *validations, *others])
    return Content(named, histories, styles(named), first)


def validation(key: str) -> str:
    """Return the metric of the validation split for one of the test split."""
    return key.replace("test/", "val/", 1) if key.startswith("test/") else key
