"""task: one of several classes, of nodes."""

from dataclasses import dataclass

from mtl.tasks._classification import Classification
from mtl.tasks._nodes import OnLabelledNodes


@dataclass(frozen=True, kw_only=True)
class NodeClassification(OnLabelledNodes, Classification):
    """Predict one of several classes for each node."""
