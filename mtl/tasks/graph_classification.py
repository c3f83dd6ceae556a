"""task: one of several classes, of whole graphs."""

from dataclasses import dataclass

from mtl.tasks._classification import Classification
from mtl.tasks._graphs import OnGraphs


@dataclass(frozen=True, kw_only=True)
class GraphClassification(OnGraphs, Classification):
    """Predict one of several classes for each graph."""
