"""task: a number, of nodes."""

from dataclasses import dataclass

from mtl.tasks._nodes import OnLabelledNodes
from mtl.tasks._regression import Regression


@dataclass(frozen=True, kw_only=True)
class NodeRegression(OnLabelledNodes, Regression):
    """Predict a number for each node."""
