"""task: a number, of nodes."""

from dataclasses import dataclass

from mtl.tasks._nodes import OnNodes
from mtl.tasks._regression import Regression


@dataclass(frozen=True, kw_only=True)
class NodeRegression(OnNodes, Regression):
    """Predict a number for each node."""
