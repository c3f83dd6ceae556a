"""doctor: each task on the graph: how many labels it has in each split, and of which classes."""

from collections.abc import Iterator

import numpy as np

from job.doctor_findings import Finding, problem, warning
from job.doctor_job import NO_GRAPH, Job, known
from mtl.errors import DataError, UserError
from mtl.tasks._classification import Classification
from mtl.tasks.bound import SPLITS, BoundLabel, BoundTask, bind_tasks

RARE = 100
"""A class that is so many times as rare as the most frequent one is easily never predicted."""
NAMED = 3


def tasks(job: Job) -> Iterator[Finding]:
    """Bind each task by itself, so that the mistakes of one hide no other."""
    store = known(job.store, NO_GRAPH)
    bound: dict[str, BoundTask] = {}
    for name, task in job.readable_tasks.items():
        what = f"tasks.{name}"
        try:
            bound |= bind_tasks({name: task}, store)
            counts = {split: len(bound[name].seeds(split)) for split in SPLITS}
        except UserError as error:
            yield problem(str(error), "", type(error), what)
            continue
        words = ", ".join(f"{split} {count:,}" for split, count in counts.items())
        yield Finding(f"{task.type} of {bound[name].group}: {words}", what=what)
        yield from _balance(bound[name], what)
    if job.config is not None and len(bound) == len(job.config.tasks):
        job.tasks = bound


def _balance(task: BoundTask, what: str) -> Iterator[Finding]:
    """Say which classes are hard, or impossible, to learn from the training split."""
    if not isinstance(task, BoundLabel) or not isinstance(task.task, Classification):
        return
    number = task.label.num_classes
    counts = np.bincount(task.label.values[task.seeds("train")], minlength=number)
    names = task.label.classes or tuple(map(str, range(number)))
    present = {name: int(n) for name, n in zip(names, counts, strict=True) if n}
    most = max(present, key=lambda name: present[name])
    rare = {name: n for name, n in present.items() if n * RARE < present[most]}
    if len(present) == 1:
        words = f"every training label is {most}: there is nothing to learn"
        yield problem(words, "another split or label, or leave the task out", DataError, what)
    elif rare and task.task.class_weights is None:
        shown = ", ".join(f"{name} ({n:,})" for name, n in list(rare.items())[:NAMED])
        more = f" and {len(rare) - NAMED} more" * (len(rare) > NAMED)
        yield warning(
            f"rare in training: {shown}{more}; {most} is there {present[most]:,} times",
            f"{what}.class_weights=balanced; accuracy says little, macro_f1 more",
            what,
        )


TASKS = (tasks,)
