"""task: which of several classes apply, of whole graphs."""

from dataclasses import dataclass

from mtl.tasks._graphs import OnGraphs
from mtl.tasks._multilabel import Multilabel


@dataclass(frozen=True, kw_only=True)
class GraphMultilabel(OnGraphs, Multilabel):
    """Predict which of several classes apply for each graph."""
