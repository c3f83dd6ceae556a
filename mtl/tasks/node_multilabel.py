"""task: which of several classes apply, of nodes."""

from dataclasses import dataclass

from mtl.tasks._multilabel import Multilabel
from mtl.tasks._nodes import OnNodes


@dataclass(frozen=True, kw_only=True)
class NodeMultilabel(OnNodes, Multilabel):
    """Predict which of several classes apply for each node."""
