"""tasks: seeds that are whole graphs: all their nodes come into the batch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mtl.errors import ConfigError
from mtl.plugin import nearest
from mtl.tasks._labelled import LabelTask

if TYPE_CHECKING:
    from mtl.graphs.store import GraphStore
    from mtl.tasks.bound import BoundTask


@dataclass(frozen=True, kw_only=True)
class OnGraphs(LabelTask):
    """Options of a task on graphs."""

    collection: str | None = None
    """Which collection of graphs, such as molecule; may be left out where there is one."""
    pool: Literal["mean", "sum"] = "mean"
    """What the embeddings of a graph's nodes become one by."""

    def bind(self, name: str, store: "GraphStore") -> "BoundTask":
        """Look the label and the split up in a graph; see `Task.bind`."""
        from mtl.tasks.bound import bind_label  # torch is not needed to read a configuration

        found, names = self.collection, store.collections
        collection = names[0] if found is None and len(names) == 1 else found
        if collection not in names:
            raise ConfigError(
                f"tasks.{name}.collection: expected one of {', '.join(names) or 'none'}, found "
                f"{found!r}{nearest(found, names)}"
            )
        return bind_label(self, name, store, collection, (store.members(collection)[0],))
