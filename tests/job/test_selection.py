"""The best checkpoint is best in what `evaluate.select` names, and patience counts from it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from job.checkpoint import Checkpoints
from job.config import CONFIGS, Checkpoint, load
from job.evaluation import Evaluation
from job.scores import Scores
from job.state import Progress, Snapshot
from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.tasks import Task
from mtl.tasks.bound import bind_tasks

TASKS = {
    "value": {"type": "node_regression", "label": "value"},
    "odd": {"type": "node_classification", "label": "odd"},
}
SCORES = st.lists(st.sampled_from([math.nan, -1.0, 0.0, 0.25, 0.5, 2.0]), max_size=12)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A graph whose validation split has one class of `odd`, and no label of `early`."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("graph") / "graph"
    split = np.repeat([1, 2, 3], 20)
    odd = np.where(split == 2, 0, np.arange(60) % 2)
    writer = GraphWriter(folder, name="little")
    writer.add_nodes("node", 60, rng.standard_normal((60, 2), np.float32))
    writer.add_label("node", "value", "regression", rng.standard_normal(60))
    writer.add_label("node", "odd", "class", odd, num_classes=2)
    early = np.where(split == 2, -1, np.arange(60) % 2)
    writer.add_label("node", "early", "class", early, num_classes=2)
    writer.add_split("node", "random", split)
    writer.add_edges(("node", "to", "node"), *rng.integers(60, size=(2, 120)))
    writer.finish()
    return GraphStore(folder)


def selecting(store, metric):
    """Return evaluations that select by a metric."""
    config = load([str(CONFIGS / "smoke.yaml"), f"tasks={TASKS}", f"evaluate.select={metric}"])
    runtime = SimpleNamespace(
        threads=SimpleNamespace(loader=1), feature_dtype=None, device=torch.device("cpu")
    )
    return Evaluation(config, store, bind_tasks(config.tasks, store), runtime)


def scores(**values):
    """Return a task's scores."""
    found = Scores()
    found.update(values)
    return found


def after(found, sign):
    """Return how good a training was whose evaluations found scores, one a step."""
    progress = Progress()
    for progress.step, score in enumerate(found, 1):
        progress.update(score, sign)
    return progress


@given(SCORES, st.sampled_from([1, -1]))
def test_the_best_is_the_first_of_the_best_scores_that_have_a_value(found, sign):
    progress = after(found, sign)
    known = [sign * score for score in found if not math.isnan(score)]
    best = sign * max(known) if known else None
    assert (progress.best_score, progress.best_step) == (
        best,
        None if best is None else 1 + found.index(best),
    )


@given(SCORES, st.sampled_from([1, -1]), st.integers(1, 12))
def test_patience_ends_with_so_many_evaluations_since_the_best(found, sign, patience):
    progress = after(found, sign)
    since = len(found) - (progress.best_step or 0)
    assert progress.is_over(len(found) + 1, patience) == (since >= patience)
    assert not progress.is_over(len(found) + 1, None)


@pytest.mark.parametrize(("metric", "best"), [("value/mae", 2), ("value/r2", 1)])
def test_of_an_error_the_lowest_is_the_best(store, metric, best):
    evaluation = selecting(store, metric)
    results = [{"value": scores(r2=2.0, mae=2.0)}, {"value": scores(r2=1.0, mae=1.0)}]
    assert after(map(evaluation.score, results), evaluation.sign).best_step == best


def test_a_metric_without_a_value_in_validation_is_refused(store):
    with pytest.raises(ConfigError, match=r"select: odd/auroc is undefined .* of class 1"):
        selecting(store, "odd/auroc")


def test_an_evaluation_in_which_it_is_undefined_is_not_the_best(store):
    evaluation = selecting(store, "value/mae")
    results = [{"value": scores(mae=3.0)}, {"value": scores()}, {"value": scores(mae=4.0)}]
    progress = after(map(evaluation.score, results), evaluation.sign)
    assert (progress.best_step, progress.evaluations_without_gain) == (1, 2)


def test_the_mean_gain_is_of_the_tasks_that_have_a_loss_in_validation(store):
    evaluation = selecting(store, "mean_gain")
    trivial = evaluation.baseline("val")
    half = {"value": scores(loss=trivial["value"]["loss"] / 2), "odd": scores()}
    assert evaluation.score(half) == pytest.approx(0.5)
    assert evaluation.sign == 1


def test_a_task_that_could_not_be_selected_by_is_refused(store):
    task = Task.read({"type": "node_classification", "label": "early"})
    with pytest.raises(ConfigError, match=r"tasks.early: no node of the val split .* 'early'"):
        bind_tasks({"early": task}, store)


def test_the_newest_stands_for_the_best_where_nothing_was(tmp_path):
    checkpoints = Checkpoints(tmp_path, Checkpoint(keep=1), "graph")
    for step in (10, 20, 30):
        progress = {"step": step, "best_score": None, "best_step": None}
        checkpoints._write(Snapshot({}, "{}", progress))
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step_00000030"]
    assert checkpoints.best() == 30
