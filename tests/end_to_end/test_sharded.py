"""Features that are shared out over the processes change no number."""

import json
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "job" / "configs"
JOB = ["train.epochs=2", "track.mlflow=null", "track.report=false"]
KINDS = {
    "smoke": ["graph.num_nodes=300", "loader.batch_size=16", "loader.global_batch_size=64"],
    "marketplace": [
        *("graph.num_users=200", "graph.num_items=80", "graph.num_shops=10"),
        *("loader.batch_size=128", "train.precision=bf16"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "nproc"),
    [("smoke", 2), ("marketplace", 2), pytest.param("smoke", 4, marks=pytest.mark.soak)],
)
def test_weights_and_metrics_are_those_of_a_whole_copy_on_each_machine(
    kind, nproc, start, tmp_path
):
    for features in ("replicated", "sharded"):
        (tmp_path / features).mkdir()
        ending = start(
            tmp_path / features,
            str(CONFIGS / f"{kind}.yaml"),
            *KINDS[kind],
            *JOB,
            f"graph.features={features}",
            nproc=nproc,
        ).end()
        assert ending.code == 0, ending.stderr
    one, other = (tmp_path / f / "runs" / kind for f in ("replicated", "sharded"))
    weights = sorted(path.relative_to(one) for path in one.glob("checkpoints/*/model.safetensors"))
    assert weights
    for path in weights:
        assert (one / path).read_bytes() == (other / path).read_bytes()
    summaries = [json.loads((run / "summary.json").read_text()) for run in (one, other)]
    assert summaries[0]["metrics"] == summaries[1]["metrics"]
