"""task: a number, of whole graphs."""

from dataclasses import dataclass

from mtl.tasks._graphs import OnGraphs
from mtl.tasks._regression import Regression


@dataclass(frozen=True, kw_only=True)
class GraphRegression(OnGraphs, Regression):
    """Predict a number for each graph."""
