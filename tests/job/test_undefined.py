"""A metric is undefined where torchmetrics warns about it, not where some other thread warns."""

import threading
import warnings

import numpy as np
import torch

from job.scores import TaskScore, _own_warnings
from mtl.graphs.cache import open_graph
from mtl.graphs.synthetic import Synthetic
from mtl.tasks import Task


def test_what_other_threads_warn_of_is_theirs():
    with _own_warnings() as caught:
        other = threading.Thread(target=warnings.warn, args=("theirs",))
        other.start()
        other.join()
        assert caught == []
        warnings.warn("ours", stacklevel=1)
    assert caught == ["ours"]


def test_an_area_without_an_example_of_a_class_is_left_out():
    churn = Task.read({"type": "node_classification", "label": "churn"})
    bound = churn.bind("churn", open_graph(Synthetic(num_nodes=300)))
    score, seeds = TaskScore(bound), bound.seeds("train")
    one = seeds[bound.label.values[seeds] == 0][:3]
    score.update(torch.zeros(len(one), 2), np.asarray(one))
    found = score.compute()
    assert {"loss", "accuracy"} <= found.keys()
    assert "auroc" not in found


def test_an_area_is_left_out_where_nothing_is_known_of_a_column():
    interests = Task.read({"type": "node_multilabel", "label": "interests"})
    bound = interests.bind("interests", open_graph(Synthetic(num_nodes=300)))
    score, seeds = TaskScore(bound), bound.seeds("val")
    some = seeds[bound.label.values[seeds, 0] < 0]
    score.update(torch.zeros(len(some), bound.num_outputs), some)
    found = score.compute()
    assert {"loss", "micro_f1"} <= found.keys()
    assert "auroc" not in found
