"""evaluation: all neighbours, layer by layer: each layer once for all nodes, then the heads.

Each process computes every W-th chunk of nodes into tables that all of its machine read; on several
machines each one computes all of it. Chunks follow from the configuration alone, and so does what
stands in the tables.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data, HeteroData

from job.config import JobConfig
from job.progress import Progress
from job.runtime import Runtime
from job.scratch import Scratch
from mtl.graphs.store import GraphStore
from mtl.graphs.topology import Bits
from mtl.loaders import ALL, message_types
from mtl.loaders.gather import gather
from mtl.loaders.microbatch import features_of
from mtl.loaders.stream import Stream
from mtl.loaders.transfer import moved
from mtl.models.layerwise import Shapes, finish, step, width
from mtl.models.multitask import MultiTaskModel
from mtl.models.neighborhood import node_values
from mtl.models.sharing._bottom import Bottom
from mtl.models.trunk import layer_types
from mtl.tasks._asked import ask_nodes
from mtl.tasks._links import BoundLinks
from mtl.tasks.bound import BoundTask

if TYPE_CHECKING:
    from mtl.models.sharing import SeedEmbeddings

NODES = "nodes of {}"
"""Name of what reads all nodes of a type; no task can be called that."""
EDGES = 1 << 20


class Table(NamedTuple):
    """What one layer hands on for nodes of a type.

    Attributes:
        values: a row for each node.
        nodes: which ones, ascending; None is all of the type.
    """

    values: Float[Tensor, "nodes columns"]
    nodes: Int[np.ndarray, " nodes"] | None

    def rows(self, nodes: Int[np.ndarray, " some"]) -> Int[np.ndarray, " some"]:
        """Return where nodes stand."""
        return nodes if self.nodes is None else np.searchsorted(self.nodes, nodes)


class ReadModel(nn.Module):
    """The model for batches of seeds alone: what lies below its heads is looked up.

    Args:
        model: the whole one.
        tables: of its last layer, by node type.
        shapes: what stands in them.
        runtime: knows the precision.
    """

    def __init__(
        self, model: nn.Module, tables: Mapping[str, Table], shapes: Shapes, runtime: Runtime
    ) -> None:
        super().__init__()
        assert isinstance(model, MultiTaskModel)
        self._model, self._tables, self._shapes, self._runtime = model, tables, shapes, runtime
        self.train(model.training)

    def forward(self, batch: Data | HeteroData) -> dict[str, Float[Tensor, "rows outputs"]]:
        """Return the outputs of each task of the batch."""
        with self._runtime.autocast():
            return self._model.read(self.embed(batch), batch)

    def embed(self, batch: Data | HeteroData) -> "SeedEmbeddings":
        """Return what the heads read."""
        device, none = self._runtime.device, torch.empty(0, dtype=torch.long)
        seeds = node_values(batch, "n_id")
        found = {
            kind: moved(
                gather(table.values, table.rows(seeds.get(kind, none).cpu().numpy())), device
            )
            for kind, table in self._tables.items()
        }
        return finish(self._model.bottom, found, self._shapes)


class Layers:
    """Computes the layers of a model for all nodes of a graph.

    Args:
        config: of the job.
        store: the graph.
        tasks: all of the run, by name: what they hold out carries no message.
        make: makes streams of evaluation, see `stream_maker`.
        runtime: this process among all.
    """

    def __init__(
        self,
        config: JobConfig,
        store: GraphStore,
        tasks: Mapping[str, BoundTask],
        make: Callable[..., Stream],
        runtime: Runtime,
    ) -> None:
        self._store, self._make, self._runtime = store, make, runtime
        encoder = config.model.encoder
        self._active = config.evaluate.num_neighbors == ALL and encoder.num_hops > 0
        if self._active and runtime.is_main:
            print(
                "evaluation: all neighbours, layer by layer over the whole graph", file=sys.stderr
            )
        self._said: set[str] = set()
        self.num_bytes = 0
        """What the tables of the last computation took on the disk."""
        self._scratch_folder = config.evaluate.scratch
        self._holding_out = {
            f"{name} holds out": task
            for name, task in tasks.items()
            if isinstance(task, BoundLinks)
        }
        self._any = next((task for task in tasks.values() if not task.masks), None)
        seed_types = {kind for task in tasks.values() for kind in task.node_types}
        edge_types = message_types(config.loader.num_neighbors, store.edge_types)
        self._types = layer_types(encoder, seed_types, edge_types)
        self._features = None if store.shards is None else features_of(store)
        """What the first layer reads, where that is not where the graph's features live."""

    def seeds(self, make: Callable[..., Stream], **which: Any) -> Stream:
        """Make the stream of a pass: of seeds alone, where the layers are computed before.

        Args:
            make: makes it; takes `num_hops`.
            which: what else it is told.
        """
        if not self._active:
            return make(**which)
        stream = make(**which, num_hops=0)
        reason = own_graph(stream)
        if reason is None:
            return stream
        if self._runtime.is_main and reason not in self._said:
            self._said.add(reason)
            print(f"all neighbours around each chunk by itself: {reason}", file=sys.stderr)
        return make(**which)

    def reader(
        self, model: nn.Module, streams: Iterable[Stream], *, show: bool = False
    ) -> Callable[[Stream], nn.Module]:
        """Compute the layers, where some of the streams have seeds alone; return who reads each.

        Args:
            model: on its device.
            streams: that are going to be read.
            show: how far it is.
        """
        alone = [stream for stream in streams if self._is_alone(stream)] if self._active else []
        if not alone:
            return lambda _: model
        was_training = model.training
        tables, shapes = self._compute(model.eval(), alone, show=show)
        read = ReadModel(model.train(was_training), tables, shapes, self._runtime)
        return lambda stream: read if self._is_alone(stream) else model

    def _is_alone(self, stream: Stream) -> bool:
        return self._active and not stream.loader.node_sampler.num_hops

    @torch.no_grad()
    def _compute(
        self, model: nn.Module, streams: Sequence[Stream], *, show: bool
    ) -> tuple[dict[str, Table], Shapes]:
        """Return what the last layer hands on for the seeds of streams."""
        bottom = bottom_of(model)
        scratch = Scratch(self._scratch_folder, self._runtime)
        tables: dict[str, Table] | None = None
        shapes: Shapes | None = None
        for layer in range(bottom.num_layers):
            last = layer + 1 == bottom.num_layers
            nodes = _seeds(streams, self._types[-1]) if last else {}
            stream = self._stream(layer, nodes, tables)
            tables, shapes = self._layer(layer, bottom, stream, nodes, shapes, scratch, show=show)
        self.num_bytes = scratch.num_bytes
        assert tables is not None
        assert shapes is not None
        return tables, shapes

    def _stream(
        self,
        layer: int,
        nodes: Mapping[str, np.ndarray | None],
        tables: Mapping[str, Table] | None,
    ) -> Stream:
        """Return the stream of the nodes that a layer is computed for, with their neighbours."""
        assert self._any is not None
        asked = {
            NODES.format(kind): ask_nodes(self._any, kind, NODES.format(kind))
            for kind in self._types[layer + 1]
        }
        return self._make(
            self._store,
            {**self._holding_out, **asked},
            split="test",
            only=list(asked),
            num_hops=1,
            seeds={
                kind: np.arange(self._store.num_nodes(kind)) if some is None else some
                for kind in self._types[layer + 1]
                for some in [nodes.get(kind)]
            },
            features=self._features if tables is None else _values(tables),
        )

    def _layer(
        self,
        layer: int,
        bottom: Bottom,
        stream: Stream,
        nodes: Mapping[str, np.ndarray | None],
        below: Shapes | None,
        scratch: Scratch,
        *,
        show: bool,
    ) -> tuple[dict[str, Table], Shapes]:
        """Compute one layer; this process every W-th chunk of it.

        Raises:
            StoppedError: a process was asked to stop.
        """
        runtime, order = self._runtime, stream.order
        dtype = runtime.feature_dtype or runtime.dtype
        with runtime.autocast():
            _, shapes = step(bottom, layer, stream.loader([None]).to(runtime.device), below)
        tables = {
            kind: Table(
                scratch.table(order.sizes[kind], width(shapes, kind), dtype), nodes.get(kind)
            )
            for kind in self._types[layer + 1]
        }
        numbers = range(runtime.local_rank, order.steps_per_epoch, runtime.local_world_size)
        progress = None
        if show and runtime.is_main:
            progress = Progress(f"layer {layer + 1}", order.steps_per_epoch)
            progress.start(0)
        try:
            with closing(stream.microbatches(numbers)) as batches:
                for number, batch in zip(numbers, batches, strict=True):
                    if runtime.stop_requested:
                        break  # the others learn of it below
                    with runtime.autocast():
                        found, _ = step(bottom, layer, batch.to(runtime.device), below)
                    for kind, ids in node_values(batch, "n_id").items():
                        if kind in found:
                            _write(tables[kind], ids, found[kind])
                    runtime.beat()
                    if progress:
                        progress.advance(number + 1, order.size(number))
        finally:
            if progress:
                progress.stop()
        runtime.check_stop(f"in layer {layer + 1}")  # and until here all tables are written
        return tables, shapes


def _values(tables: Mapping[str, Table]) -> dict[str, Tensor]:
    return {kind: table.values for kind, table in tables.items()}


def _write(table: Table, nodes: Tensor, found: Tensor) -> None:
    """Put what was found for the first nodes of a batch into their rows."""
    rows = table.rows(nodes[: len(found)].cpu().numpy())
    table.values[torch.from_numpy(rows)] = found.to("cpu", table.values.dtype)


def bottom_of(model: nn.Module) -> Bottom:
    """Return what lies below the heads."""
    assert isinstance(model, MultiTaskModel)
    return model.bottom


def own_graph(stream: Stream) -> str | None:
    """Return why each chunk of a stream sees a graph of its own; None where all see the same.

    Edges that are hidden anyway, as those that validation and test predict, are hidden for all.
    """
    sampler = stream.loader.node_sampler
    if sampler.temporal is not None:
        return "loader.temporal: each seed sees what was there before its time"
    for name, task in stream.loader.tasks.items():
        if task.masks:
            return f"{name} masks the features of its seeds"
        if task.hiding is None:
            continue
        seeds = stream.order.groups[task.group]
        for start in range(0, len(seeds), EDGES):
            part = seeds[start : start + EDGES]
            hidden = task.hiding.hidden(part[task.rows(part, stream.loader.split)])
            if not all(_has(sampler.hidden.get(kind), edges) for kind, edges in hidden.items()):
                return f"{name} hides the edges that it scores"
    return None


def _has(bits: Bits | None, edges: np.ndarray) -> bool:
    """Say whether all edges are marked."""
    if bits is None or not len(edges):
        return not len(edges)
    return bool(((bits[edges >> 3] >> (edges & 7)) & 1).all())


def _seeds(streams: Sequence[Stream], node_types: Sequence[str]) -> dict[str, np.ndarray | None]:
    """Return the nodes that tasks read: their seeds, or all of a type where pairs or graphs are."""
    found: dict[str, list[np.ndarray] | None] = {kind: [] for kind in node_types}
    for stream in streams:
        for task in stream.loader.tasks.values():
            for kind in task.node_types:
                some = found[kind]
                if task.owner == kind and task.graph_ptr is None and some is not None:
                    some.append(stream.order.groups[task.group])
                else:
                    found[kind] = None
    none = np.empty(0, np.int64)
    return {
        kind: None if some is None else np.unique(np.concatenate([none, *some]))
        for kind, some in found.items()
    }
