"""task: one of several classes, of edges."""

from dataclasses import dataclass

from mtl.tasks._classification import Classification
from mtl.tasks._edges import OnLabelledEdges


@dataclass(frozen=True, kw_only=True)
class EdgeClassification(OnLabelledEdges, Classification):
    """Predict one of several classes for each edge."""
