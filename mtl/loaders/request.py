"""stream: what the tasks ask of one microbatch: nodes to sample around, edges to hide, rows."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Topology
from mtl.loaders.seeds import Seeds
from mtl.loaders.wanted import Nodes, Wanted
from mtl.tasks._hiding import numbers_in
from mtl.tasks._links import NO_PAIR, BoundLinks
from mtl.tasks.bound import BoundTask

Asked = tuple[str, slice]


class Request:
    """What the tasks want for the seeds of a microbatch.

    Args:
        topology: the graph.
        tasks: by name.
        seeds: of each group.
        split: which of the seeds a task reads.
        key: of the run and the microbatch; negatives follow from it.
        temporal: whether seeds have a time.
        seed_time: of all of them; default: the time of each node or edge.
    """

    def __init__(
        self,
        topology: Topology,
        tasks: Mapping[str, BoundTask],
        seeds: Seeds,
        split: str,
        key: int,
        *,
        temporal: bool,
        seed_time: int | None,
    ) -> None:
        self._topology, self._tasks, self._seeds = topology, tasks, seeds
        self._temporal, self._seed_time = temporal, seed_time
        self._wanted = Wanted()
        self._rows = {name: task.rows(seeds[task.group], split) for name, task in tasks.items()}
        self.read = {name: seeds[task.group][self._rows[name]] for name, task in tasks.items()}
        """Seeds of each task."""
        links = {name: task for name, task in tasks.items() if isinstance(task, BoundLinks)}
        others = {task.group: task for name, task in tasks.items() if name not in links}
        self._ends = {group: self._ask(task, seeds[group]) for group, task in others.items()}
        self._pairs = {name: self._ask_pairs(t, name, split, key) for name, t in links.items()}
        self.nodes = self._wanted.nodes()
        """Nodes to sample around, by type."""
        self.times = self._wanted.times()
        """Their times, where they have some."""

    def hidden(self) -> dict[EdgeType, Int[np.ndarray, " edges"]]:
        """Return the edges that carry no message: those that are scored, and what tells of them."""
        hidden: dict[EdgeType, list[np.ndarray]] = {}
        for name, task in self._tasks.items():
            if task.hiding is not None:
                for kind, edges in task.hiding.hidden(self.read[name]).items():
                    hidden.setdefault(kind, []).append(edges)
        return {kind: np.concatenate(parts) for kind, parts in hidden.items()}

    def rows(self, name: str) -> Int[Tensor, "*ends rows"]:
        """Return what a task reads among the nodes: [seeds], [2, seeds] or [2, seeds, pairs]."""
        if name in self._pairs:
            return torch.from_numpy(self._rows_of_pairs(*self._pairs[name]))
        task = self._tasks[name]
        ends, its = self._ends[task.group], self._rows[name]
        if task.graph_ptr is not None:
            its = self._nodes_of(task, its)
        rows = [self._wanted.rows(end)[its] for end in ends]
        return torch.from_numpy(rows[0] if len(rows) == 1 else np.stack(rows))

    def graph_ptr(self, name: str) -> Int[Tensor, " graphs_and_one"]:
        """Return where the rows of each graph begin that a task reads, and where the last end."""
        return torch.from_numpy(np.append(0, np.cumsum(self._sizes(name))))

    def _nodes_of(self, task: BoundTask, rows: Nodes) -> Nodes:
        """Return where the nodes of some graphs of the group stand among those asked for."""
        assert task.graph_ptr is not None
        graphs = self._seeds[task.group]
        last = np.cumsum(task.graph_ptr[graphs + 1] - task.graph_ptr[graphs])
        first = np.append(0, last[:-1])[: len(last)]
        return numbers_in(first[rows], last[rows])

    def _sizes(self, name: str) -> Nodes:
        pointer, graphs = self._tasks[name].graph_ptr, self.read[name]
        assert pointer is not None
        return np.asarray(pointer[graphs + 1] - pointer[graphs])

    def _ask(self, task: BoundTask, seeds: Nodes) -> list[Asked]:
        """Ask for the ends of the seeds of a group."""
        if task.graph_ptr is not None:
            nodes = numbers_in(task.graph_ptr[seeds], task.graph_ptr[seeds + 1])
            return [self._wanted.add(task.node_types[0], nodes, self._time(task, nodes))]
        time = self._time(task, seeds)
        if isinstance(task.owner, str):
            return [self._wanted.add(task.owner, seeds, time)]
        assert task.hiding is not None
        ends = zip(task.node_types, task.hiding.ends(seeds), strict=True)
        return [self._wanted.add(kind, nodes, time) for kind, nodes in ends]

    def _ask_pairs(
        self, task: BoundLinks, name: str, split: str, key: int
    ) -> tuple[Asked, Asked, tuple[int, ...], np.ndarray]:
        """Ask for the ends of edges, negatives and candidates."""
        src, dst = task.pairs(self.read[name], split, key)
        there, time = dst != NO_PAIR, self._time(task, self.read[name])
        times: list[Nodes | None] = [None, None]
        if time is not None:
            times = [
                np.broadcast_to(time[:, None], src.shape).ravel(),
                np.broadcast_to(time[:, None], dst.shape)[there],
            ]
        first, second = task.node_types
        return (
            self._wanted.add(first, src.ravel(), times[0]),
            self._wanted.add(second, dst[there], times[1]),
            src.shape,
            there,
        )

    def _rows_of_pairs(
        self, src: Asked, dst: Asked, shape: tuple[int, ...], there: np.ndarray
    ) -> Int[np.ndarray, "ends seeds pairs"]:
        """Return both ends of all pairs; `NO_PAIR` where a candidate is left out."""
        rows = np.full((2, *there.shape), NO_PAIR, np.int64)
        sources = self._wanted.rows(src).reshape(shape)
        rows[0, :, : shape[1]], rows[0, :, shape[1] :] = sources, sources[:, :1]
        rows[1][there] = self._wanted.rows(dst)
        return rows

    def _time(self, task: BoundTask, seeds: Nodes) -> Nodes | None:
        """Return as of when each seed is looked at; None where time plays no part."""
        if not self._temporal:
            return None
        if self._seed_time is not None:
            return np.full(len(seeds), self._seed_time)
        owner = task.owner
        time = (
            self._topology.time[owner]
            if isinstance(owner, str)
            else self._topology.edges[owner].time
        )
        assert time is not None  # build_stream has checked it
        return np.asarray(time[seeds])
