"""Metrics of random predictions are scikit-learn's, and those of one process to the last bit.

One start of 1, of 2 and of 4 processes scores 600 random cases of every kind of task:
ties, one class alone, empty splits, single rows, unknown labels, large outputs, constant targets.
"""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sk

NUM_CASES = 600
HITS = (1, 3)
KINDS = ("binary", "classes", "multilabel", "regression", "links", "features")
WORKER = Path(__file__).with_name("metrics_worker.py")
Scores = dict[str, float]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Return the scores of all cases, by number of processes and rank."""
    out = tmp_path_factory.mktemp("metrics")
    command = [sys.executable, str(WORKER), str(out), str(NUM_CASES), "1", "2", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


def test_any_number_of_processes_finds_the_same_bits(found):
    assert sorted(found) == ["1.0", "2.0", "2.1", "4.0", "4.1", "4.2", "4.3"]
    assert len(found["1.0"]) == NUM_CASES
    for scores in found.values():
        assert scores == found["1.0"]  # JSON tells floats apart to the last bit


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_are_those_of_scikit_learn(found, kind):
    seen = 0
    for number, scores in enumerate(found["1.0"]):
        if scores["kind"] != kind:
            continue
        outputs, target = np.array(scores["outputs"]), np.array(scores["target"])
        labelled = len(target) and (kind in VALUES or (target != -1).any())
        wanted = ORACLES[kind](outputs, target) if labelled else {}
        defined = {k: v for k, v in scores["defined"].items() if k != "loss"}
        assert defined == pytest.approx(wanted, rel=1e-6, abs=1e-6), number
        seen += 1
    assert seen == NUM_CASES // len(KINDS)


def test_what_has_no_value_has_a_reason(found):
    for scores in found["1.0"]:
        assert all(scores["undefined"].values())
        assert not scores["undefined"].keys() & scores["defined"].keys()
        assert all(map(math.isfinite, scores["defined"].values()))
        assert scores["target"] or set(scores["undefined"].values()) == {"no example has a label"}
    assert sum(bool(scores["undefined"]) for scores in found["1.0"]) > NUM_CASES / 10


def areas(target: np.ndarray, scores: np.ndarray) -> Scores:
    found = {"average_precision": sk.average_precision_score(target, scores)} if any(target) else {}
    both = len(np.unique(target)) == 2
    return found | ({"auroc": sk.roc_auc_score(target, scores)} if both else {})


def classes(outputs: np.ndarray, target: np.ndarray) -> Scores:
    chances = softmax(outputs, 1)
    predicted = chances.argmax(1)
    found = {
        "accuracy": sk.accuracy_score(target, predicted),
        "macro_f1": sk.f1_score(target, predicted, average="macro"),
    }
    return found | (areas(target, chances[:, 1]) if outputs.shape[1] == 2 else {})


def multilabel(outputs: np.ndarray, target: np.ndarray) -> Scores:
    known, predicted = target >= 0, outputs > 0
    found = {"accuracy": sk.accuracy_score(target[known], predicted[known])}
    if (target[known] | predicted[known]).any():
        found["micro_f1"] = sk.f1_score(target[known], predicted[known])
    columns = [
        areas(target[k, i], expit(outputs[k, i])).get("auroc") for i, k in enumerate(known.T)
    ]
    return found if None in columns else found | {"auroc": float(np.mean(columns))}


def regression(outputs: np.ndarray, target: np.ndarray) -> Scores:
    found = {
        "mae": sk.mean_absolute_error(target, outputs),
        "rmse": sk.root_mean_squared_error(target, outputs),
    }
    varies = len(np.unique(target)) > 1
    return found | ({"r2": sk.r2_score(target, outputs)} if varies else {})


def features(outputs: np.ndarray, target: np.ndarray) -> Scores:
    found = {"cosine": float(np.mean(1 - sk.pairwise.paired_cosine_distances(outputs, target)))}
    varies = len(np.unique(target, axis=0)) > 1
    weighted = "variance_weighted"
    return found | ({"r2": sk.r2_score(target, outputs, multioutput=weighted)} if varies else {})


def links(outputs: np.ndarray, target: np.ndarray) -> Scores:
    ranks = []
    for edge, candidates in zip(outputs[:, 0], outputs[:, 2:], strict=True):
        above, ties = sum(c > edge for c in candidates), sum(c == edge for c in candidates)
        ranks.append(1 + above + ties / 2)
    rank = np.array(ranks)
    found = {"mrr": np.mean(1 / rank), **{f"hits_at_{k}": np.mean(rank <= k) for k in HITS}}
    return found | areas(target.ravel(), outputs[:, :2].ravel())


VALUES = ("regression", "features")
ORACLES: dict[str, Callable[[np.ndarray, np.ndarray], Scores]] = {
    "binary": classes,
    "classes": classes,
    "multilabel": multilabel,
    "regression": regression,
    "links": links,
    "features": features,
}
