"""tasks: seeds that are nodes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtl.errors import ConfigError
from mtl.plugin import nearest
from mtl.tasks import Task
from mtl.tasks._labelled import LabelTask

if TYPE_CHECKING:
    from mtl.graphs.store import GraphStore
    from mtl.tasks.bound import BoundTask


@dataclass(frozen=True, kw_only=True)
class OnNodes(Task):
    """Options of a task on nodes."""

    node_type: str | None = None
    """Type of the nodes; may be left out where the graph has one."""

    def find(self, name: str, store: "GraphStore") -> str:
        """Return the type of the nodes.

        Raises:
            ConfigError: the graph has no such type, or several to choose from.
        """
        found, types = self.node_type, store.node_types
        node_type = found or types[0]
        if node_type not in types or (found is None and len(types) > 1):
            raise ConfigError(
                f"tasks.{name}.node_type: expected one of {', '.join(types)}, "
                f"found {found!r}{nearest(found, types)}"
            )
        return node_type


@dataclass(frozen=True, kw_only=True)
class OnLabelledNodes(OnNodes, LabelTask):
    """Options of a task that predicts a label of nodes."""

    def bind(self, name: str, store: "GraphStore") -> "BoundTask":
        """Look the label and the split up in a graph; see `Task.bind`."""
        from mtl.tasks.bound import bind_label  # torch is not needed to read a configuration

        node_type = self.find(name, store)
        return bind_label(self, name, store, node_type, (node_type,))
