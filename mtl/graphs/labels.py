"""Label: what is known of every node or edge of a type, and what a task learns to predict."""

from dataclasses import dataclass, field

import numpy as np

from mtl.graphs.schema import Kind


@dataclass(frozen=True, eq=False)
class Label:
    """What is known of every node of a type, or of every edge of one.

    Attributes:
        name: of the label.
        kind: class, multilabel or regression.
        values: class int32 [rows], missing -1; multilabel int8 [rows, num_classes] of
            0 and 1, missing -1; regression float32 [rows], missing NaN. A row is a node, or an
            edge by its position in CSC order.
        num_classes: classes, or columns of a multilabel; 1 for a regression.
        best: metric -> best reachable score, where the source knows it.
        classes: names of the classes, or of the columns of a multilabel, where they have some.
    """

    name: str
    kind: Kind
    values: np.ndarray
    num_classes: int
    best: dict[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None

    def labelled(self, ids: np.ndarray) -> np.ndarray:
        """Say which of these rows have the label: bool [len(ids)]; any column is enough."""
        values = np.asarray(self.values[ids])
        if self.kind == "regression":
            return np.asarray(~np.isnan(values))
        known = np.asarray(values >= 0)
        return np.asarray(known.any(axis=1)) if self.kind == "multilabel" else known
