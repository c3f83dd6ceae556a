"""A graph that is shared out over the processes changes no number."""

import json
from pathlib import Path

import pytest
import yaml

CONFIGS = Path(__file__).parents[2] / "job" / "configs"
JOB = ["train.epochs=2", "track.mlflow=null", "track.report=false"]
KINDS = {
    "smoke": ["graph.num_nodes=300", "loader.batch_size=16", "loader.global_batch_size=64"],
    "marketplace": [
        *("graph.num_users=200", "graph.num_items=80", "graph.num_shops=10"),
        *("loader.batch_size=128", "train.precision=bf16"),
    ],
}


FEATURES = ["graph.features=replicated"], ["graph.features=sharded"]
EDGES = [["loader.backend=cuda", f"loader.edges={where}"] for where in ("device", "sharded")]
ALL = ["evaluate.num_neighbors=all"]


@pytest.mark.parametrize(
    ("kind", "nproc", "ways", "more"),
    [
        ("smoke", 2, FEATURES, []),
        ("marketplace", 2, FEATURES, []),
        ("smoke", 2, EDGES, ALL),
        ("marketplace", 2, EDGES, []),
        pytest.param("smoke", 4, FEATURES, [], marks=pytest.mark.soak),
        pytest.param("smoke", 4, EDGES, [], marks=pytest.mark.soak),
        pytest.param("marketplace", 4, EDGES, ALL, marks=pytest.mark.soak),
    ],
)
def test_weights_and_metrics_are_those_of_a_whole_copy(kind, nproc, ways, more, start, tmp_path):
    runs = [tmp_path / "whole", tmp_path / "shared"]
    for run, way in zip(runs, ways, strict=True):
        config = [str(CONFIGS / f"{kind}.yaml"), *KINDS[kind], *JOB, *way, *more]
        ending = start(tmp_path, *config, f"run.dir={run}", nproc=nproc).end()
        assert ending.code == 0, ending.stderr
    one, other = runs
    for run, way in zip(runs, ways, strict=True):
        edges = yaml.safe_load((run / "config.yaml").read_text())["loader"]["edges"]
        assert ways is FEATURES or way[-1] == f"loader.edges={edges}"
    weights = sorted(path.relative_to(one) for path in one.glob("checkpoints/*/model.safetensors"))
    assert weights
    for path in weights:
        assert (one / path).read_bytes() == (other / path).read_bytes()
    summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
    assert summaries[0]["metrics"] == summaries[1]["metrics"]
