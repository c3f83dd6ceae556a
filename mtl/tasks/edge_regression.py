"""task: a number, of edges."""

from dataclasses import dataclass

from mtl.tasks._edges import OnLabelledEdges
from mtl.tasks._regression import Regression


@dataclass(frozen=True, kw_only=True)
class EdgeRegression(OnLabelledEdges, Regression):
    """Predict a number for each edge."""
