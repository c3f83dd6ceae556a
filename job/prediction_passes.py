"""predict: what is wanted of a run as passes over its graph, one for the tasks of each owner."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from job.prediction import Pass, Segment, segments
from job.prediction_columns import Columns, Embedded, Scored, predicted
from job.prediction_inputs import read_pairs
from job.prediction_names import row_names
from mtl.errors import ConfigError
from mtl.graphs.schema import text
from mtl.graphs.store import GraphStore
from mtl.tasks._asked import ask, ask_nodes, ask_pairs
from mtl.tasks._elsewhere import num_rows
from mtl.tasks._links import BoundLinks
from mtl.tasks.bound import BoundTask

if TYPE_CHECKING:
    from job.predict import Wish

NODES = "nodes of {}"
"""Name of what reads nodes for their embeddings alone; no task can be called that."""


def build_passes(
    wish: "Wish", store: GraphStore, tasks: Mapping[str, BoundTask], about: Mapping[str, str]
) -> list[Pass]:
    """Return the passes that compute what is wanted.

    Args:
        wish: what is wanted.
        store: the graph.
        tasks: all of the run, by name.
        about: metadata of all files.

    Raises:
        ConfigError: pairs are listed for links of several types.
        DataError: the listed pairs are not all nodes of the graph.
    """
    passes: dict[str, Pass] = {}
    columns = _embedded(wish, store, tasks, about) if wish.embeddings else {}
    labels = {n: task for n, task in tasks.items() if not isinstance(task, BoundLinks)}
    for name in wish.tasks:
        if name in labels and (group := labels[name].group) not in passes:
            same = [task for task in labels.values() if task.group == group]
            written: dict[str, Columns] = {
                task.name: predicted(task, store, wish.split, about)
                for task in same
                if task.name in wish.tasks
            }
            rows = num_rows(store, same[0].owner)
            asked = {task.name: ask(task) for task in same}
            parts = segments(same, rows, wish.split)
            passes[group] = Pass(asked, written | columns.pop(group, {}), parts)
    for kind, written in columns.items():  # nodes that no task of the wish predicts something of
        name = NODES.format(kind)
        unmasked = next(task for task in tasks.values() if not task.masks)
        reader = ask_nodes(unmasked, kind, name)
        every = segments([], store.num_nodes(kind), "all")
        passes[kind] = Pass({name: reader}, written, every)
    links = {n: task for n in wish.tasks if isinstance(task := tasks[n], BoundLinks)}
    return [*passes.values(), *([_scored(wish, store, links, about)] if links else [])]


def _scored(
    wish: "Wish", store: GraphStore, links: Mapping[str, BoundLinks], about: Mapping[str, str]
) -> Pass:
    """Return the pass over listed pairs."""
    kinds = sorted({task.group for task in links.values()})
    if len(kinds) > 1:
        raise ConfigError(
            f"pairs: {', '.join(links)} score pairs of {' and '.join(kinds)}; name those of one "
            "edge type in tasks="
        )
    first, second = next(iter(links.values())).node_types
    assert wish.pairs is not None
    return scored(read_pairs(wish.pairs, store, (first, second)), store, links, about)


def scored(
    listed: tuple[np.ndarray, np.ndarray],
    store: GraphStore,
    links: Mapping[str, BoundLinks],
    about: Mapping[str, str],
) -> Pass:
    """Return the pass over pairs of nodes of one edge type."""
    kind = next(iter(links.values())).group
    first, second = next(iter(links.values())).node_types
    asked = {name: ask_pairs(task, store, listed) for name, task in links.items()}
    names = (store.ids(first), store.ids(second))
    columns = {
        name: Scored(
            reads=(name, None),
            metadata={**about, "task": name, "type": task.task.type, "edge_type": kind},
            task=task,
            names=names,
        )
        for name, task in asked.items()
    }
    return Pass(asked, columns, [Segment("test", np.arange(len(listed[0])))])


def _embedded(
    wish: "Wish", store: GraphStore, tasks: Mapping[str, BoundTask], about: Mapping[str, str]
) -> dict[str, dict[str, Columns]]:
    """Return the embeddings to write, by node type and folder.

    With hard sharing all tasks read the same ones; else each has its own.
    """
    found: dict[str, dict[str, Columns]] = {}
    shared = wish.config.model.sharing.type == "hard"
    for name in wish.tasks:
        for kind in () if tasks[name].masks else dict.fromkeys(tasks[name].node_types):
            folder = f"embeddings/{kind}" if shared else f"embeddings/{name}/{kind}"
            found.setdefault(kind, {}).setdefault(
                folder,
                Embedded(
                    reads=(name, kind),
                    metadata={**about, "node_type": text(kind)},
                    name=row_names(store, kind),
                    dim=wish.config.model.dim,
                ),
            )
    return found
