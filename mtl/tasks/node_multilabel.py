"""task: which of several classes apply, of nodes."""

from dataclasses import dataclass

from mtl.tasks._multilabel import Multilabel
from mtl.tasks._nodes import OnLabelledNodes


@dataclass(frozen=True, kw_only=True)
class NodeMultilabel(OnLabelledNodes, Multilabel):
    """Predict which of several classes apply for each node."""
