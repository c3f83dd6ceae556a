"""Eight tasks of every kind on the made-up marketplace, and the jobs that train some of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median_low
from typing import Any

from _jobs import Ours, Shape
from _processes import ROOT

USER, ITEM, SHOP = ({"node_type": kind} for kind in ("user", "item", "shop"))
BUYS, FOLLOWS = {"edge_type": "user__buys__item"}, {"edge_type": "user__follows__user"}
TASKS: dict[str, dict[str, Any]] = {
    "churn": {"type": "node_classification", "label": "churn", **USER},
    "value": {"type": "node_regression", "label": "value", **USER},
    "interests": {"type": "node_multilabel", "label": "interests", **USER},
    "category": {"type": "node_classification", "label": "category", **ITEM},
    "quality": {"type": "node_regression", "label": "quality", **SHOP},
    "returned": {"type": "edge_classification", "label": "returned", **BUYS},
    "buys": {"type": "link_prediction", "loss": "ranking", "num_negatives": 4, **BUYS},
    "follows": {"type": "link_prediction", "loss": "binary", **FOLLOWS},
}


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """A marketplace, and the share that each of its tasks has in a step.

    Attributes:
        graph: the `graph:` section.
        batch_size: seeds of a step.
        tasks: names of those that are measured.
    """

    graph: Mapping[str, Any]
    batch_size: int = 1024
    dim: int = 128
    num_neighbors: tuple[int, ...] = (10, 5)
    tasks: tuple[str, ...] = tuple(TASKS)

    @cached_property
    def _bound(self) -> tuple[Any, Any, dict[str, int]]:
        """Return the graph, the tasks on it, and the seeds of each group in an epoch."""
        from job.config import read  # torch: seconds that --help does not wait for
        from mtl.graphs.cache import open_graph
        from mtl.loaders import Loader
        from mtl.loaders.stream import build_stream
        from mtl.tasks.bound import bind_tasks

        model = {"encoder": {"type": "sage", "num_layers": 2}, "sharing": {"type": "hard"}}
        tasks = {name: TASKS[name] for name in self.tasks}
        tree = {"run": {"name": "mixed"}, "graph": dict(self.graph), "tasks": tasks}
        config = read({**tree, "model": model, "train": {"epochs": 1}}, [])
        store = open_graph(config.graph)
        bound = bind_tasks(config.tasks, store)
        return store, bound, build_stream(Loader(), store, bound).order.sizes

    @property
    def shape(self) -> Shape:
        """What a step does."""
        return Shape(
            graph=self._bound[0].folder,
            num_neighbors=self.num_neighbors,
            batch_size=self.batch_size,
            dim=self.dim,
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Training seeds of each group."""
        return self._bound[2]

    @property
    def rates(self) -> dict[str, float]:
        """Rates at which a step holds as many seeds of one group as of another."""
        sizes = self.sizes
        middle = median_low(sizes.values())
        return {group: middle / size for group, size in sizes.items()}

    def seeds(self) -> dict[str, int]:
        """Return how many seeds of a mixed step each task reads."""
        bound, sizes = self._bound[1], self.sizes
        return {
            name: round(self.batch_size / len(sizes) * len(task.seeds("train")) / sizes[task.group])
            for name, task in bound.items()
        }

    def of_the_same_kinds(self, seconds: Mapping[str, float]) -> float:
        """Return the time of a step in which each kind of seeds serves one task, the costliest.

        A link brings six nodes and a shop one: what a step costs depends on what its seeds are, and
        a mixed one has as many of each kind.

        Args:
            seconds: of a step of each task alone.
        """
        kinds: dict[str, list[float]] = {}
        for name, task in self._bound[1].items():
            kinds.setdefault(task.group, []).append(seconds[name])
        return sum(map(max, kinds.values())) / len(kinds)

    def together(self) -> Ours:
        """Return one job of all tasks."""
        tasks = {name: TASKS[name] for name in self.tasks}
        return Ours(shape=self.shape, precision="auto", tasks=tasks, rates=self.rates)

    def plain(self) -> "PlainMixed":
        """Return plain PyG's job of all tasks, at the seeds that each has in a mixed step."""
        return PlainMixed(shape=self.shape, seeds=self.seeds())

    def alone(self, task: str, batch_size: int) -> Ours:
        """Return the job of one task."""
        shape = replace(self.shape, batch_size=batch_size)
        return Ours(shape=shape, precision="auto", tasks={task: TASKS[task]})


@dataclass(frozen=True, kw_only=True)
class PlainMixed:
    """A loader and a pass for each task; see _plain_mixed.py.

    Attributes:
        seeds: of each task in a step.
    """

    shape: Shape
    seeds: Mapping[str, int]
    alone: bool = True

    def command(self, folder: Path) -> list[str]:
        """Return the command."""
        shape, script = self.shape, str(ROOT / "benchmarks" / "_plain_mixed.py")
        places = ["--graph", str(shape.graph), "--metrics", str(self.metrics(folder))]
        sizes = ["--dim", str(shape.dim), "--num-neighbors", *map(str, shape.num_neighbors)]
        seeds = ["--seeds", *(f"{task}={number}" for task, number in self.seeds.items())]
        return [script, *places, *sizes, *seeds]

    def metrics(self, folder: Path) -> Path:
        """Return the file that it is told to write."""
        return folder / "metrics.jsonl"
