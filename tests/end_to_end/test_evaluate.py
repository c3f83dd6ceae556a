"""job/evaluate.py: the numbers of the run, of any of its checkpoints, on any split."""

import json
from pathlib import Path

import pytest

EVALUATE = "job/evaluate.py"


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    """A folder with a run whose intervals were asked for; of three epochs the second was best."""
    folder = tmp_path_factory.mktemp("run")
    epochs = ["train.epochs=3", "optim.lr=0.3"]
    ending = train(folder, *epochs, "evaluate.confidence=0.9", "evaluate.resamples=20")
    assert ending.code == 0, ending.stderr
    assert " to " in ending.stdout
    return folder


@pytest.fixture
def evaluate(run, start, tmp_path):
    """Evaluate the run; return what json= got."""

    def evaluate(*options, nproc=1):
        file = tmp_path / "out.json"
        ending = start(run, "runs/smoke", f"json={file}", *options, script=EVALUATE, nproc=nproc)
        ended = ending.end()
        assert ended.code == 0, ended.stderr
        return json.loads(file.read_text())

    return evaluate


def summary(run):
    return json.loads((run / "runs" / "smoke" / "summary.json").read_text())


@pytest.mark.parametrize("nproc", [1, 2])
def test_all_numbers_of_the_run_come_again_to_the_last_bit(nproc, run, evaluate):
    found, known = evaluate(nproc=nproc), summary(run)
    tested = {k: v for k, v in known["metrics"].items() if not k.startswith("val/")}
    assert found["metrics"] == tested
    assert found["confidence"] == known["confidence"]
    for key, (low, high) in found["confidence"].items():
        assert low <= high
        assert key in tested


def test_the_validation_split_comes_again_and_training_may_be_asked_for(run, evaluate):
    found, known = evaluate("split=val", "evaluate.confidence=null"), summary(run)["metrics"]
    assert {k: v for k, v in found["metrics"].items() if k.startswith("val/")} == {
        k: v for k, v in known.items() if k.startswith("val/")
    }
    assert "confidence" not in found
    assert "train/value/r2" in evaluate("split=train")["metrics"]


def test_a_checkpoint_is_chosen_by_its_step(run, evaluate):
    steps = sorted(int(p.name[5:]) for p in (run / "runs/smoke/checkpoints").iterdir())
    last = evaluate("checkpoint=last")["metrics"]
    assert last == evaluate(f"checkpoint={steps[-1]}")["metrics"]
    best = evaluate("checkpoint=best")["metrics"]
    assert last != best == evaluate(f"checkpoint={steps[0]}")["metrics"]


def test_a_checkpoint_has_the_validation_that_its_epoch_had(run, evaluate):
    folder = run / "runs" / "smoke"
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for step in (int(path.name[5:]) for path in (folder / "checkpoints").iterdir()):
        options = ["split=val", f"checkpoint={step}", "evaluate.confidence=null"]
        found = evaluate(*options)["metrics"]
        then = next(r for r in records if r["step"] == step and "val/mean_gain" in r)
        validated = {k: v for k, v in then.items() if k.startswith("val/")}
        assert {k: v for k, v in found.items() if k.startswith("val/")} == validated


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        ("splitt=val", "did you mean 'split'?"),
        ("split=dev", "expected one of train, val, test"),
        ("checkpoint=newest", "expected best, last or a step, found 'newest'"),
        ("checkpoint=77", "has none of step 77 (it has: "),
        ("evaluate.confidence=1.5", "evaluate.confidence: input should be less than 1"),
    ],
)
def test_what_cannot_be_evaluated_is_said_with_64(run, start, option, answer):
    ending = start(run, "runs/smoke", option, script=EVALUATE).end()
    assert ending.code == 64
    assert answer in ending.stderr


def test_help_names_all_options(command, tmp_path):
    ending = command(tmp_path, str(Path(__file__).parents[2] / EVALUATE), "--help")()
    assert ending.code == 0
    assert all(word in ending.stdout for word in ("split=", "checkpoint=", "json=", "RUN_DIR"))
    assert not (tmp_path / "runs").exists()
