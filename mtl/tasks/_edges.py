"""tasks: seeds that are edges, which no message passes along while they are scored."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import PlainValidator

from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType, text
from mtl.plugin import nearest
from mtl.tasks import Task
from mtl.tasks._labelled import LabelTask

if TYPE_CHECKING:
    from mtl.graphs.store import GraphStore
    from mtl.tasks.bound import BoundTask


def _edge_type(value: Any) -> EdgeType:
    """Read `source__relation__destination`, or a list of the three."""
    parts = value.split("__") if isinstance(value, str) else value
    words = isinstance(parts, list | tuple) and all(isinstance(p, str) and p for p in parts)
    if not words or len(parts) != 3:
        raise ValueError(f"must be source__relation__destination, found {value!r}")
    return parts[0], parts[1], parts[2]


@dataclass(frozen=True, kw_only=True)
class OnEdges(Task):
    """Options of a task on edges."""

    edge_type: Annotated[EdgeType, PlainValidator(_edge_type)] | None = None
    """Type of the edges, as `user__buys__item`; may be left out where the graph has one."""

    def find(self, name: str, store: "GraphStore") -> EdgeType:
        """Return the type of the edges.

        Raises:
            ConfigError: the graph has no such type, or several to choose from.
        """
        types = [text(kind) for kind in store.edge_types]
        if self.edge_type is None and len(types) == 1:
            return store.edge_types[0]
        found = None if self.edge_type is None else text(self.edge_type)
        if found not in types:
            raise ConfigError(
                f"tasks.{name}.edge_type: expected one of {', '.join(types) or 'none'}, "
                f"found {found!r}{nearest(found, types)}"
            )
        return store.edge_types[types.index(found)]


@dataclass(frozen=True, kw_only=True)
class OnLabelledEdges(OnEdges, LabelTask):
    """Options of a task that predicts a label of edges."""

    hide: Literal["edge", "pair"] = "edge"
    """What carries no message while an edge is scored: the edge and its reverse, or every edge of
    any type between the same two nodes (where another relation would give the label away)."""

    def bind(self, name: str, store: "GraphStore") -> "BoundTask":
        """Look the label and the split up in a graph; see `Task.bind`."""
        from mtl.tasks.bound import bind_label  # torch is not needed to read a configuration

        edge_type = self.find(name, store)
        return bind_label(self, name, store, edge_type, (edge_type[0], edge_type[2]))
