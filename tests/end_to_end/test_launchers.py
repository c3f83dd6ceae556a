"""However the job is started, and with however many processes: the same numbers."""

import json

import pytest

WORLD_SIZES = {"python": 1, "torchrun2": 2, "torchrun4": 4, "accelerate": 1, "local": 2}
OTHERS = [name for name in WORLD_SIZES if name != "python"]


@pytest.mark.parametrize("launcher", WORLD_SIZES)
def test_every_launcher_ends_well_with_as_many_processes_as_it_was_told(launcher, launched):
    ending, _ = launched[launcher]
    assert ending.code == 0, ending.stderr
    assert summary(launched, launcher)["world_size"] == WORLD_SIZES[launcher]


@pytest.mark.parametrize("launcher", OTHERS)
def test_every_launcher_gives_the_metrics_of_one_process(launcher, launched):
    metrics, expected = (summary(launched, name)["metrics"] for name in (launcher, "python"))
    assert metrics == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("launcher", OTHERS)
def test_every_launcher_gives_the_training_losses_of_one_process(launcher, launched):
    losses, expected = (train_losses(launched, name) for name in (launcher, "python"))
    assert len(expected) == 3
    assert losses == [pytest.approx(step, rel=1e-9) for step in expected]


@pytest.mark.parametrize("launcher", OTHERS)
def test_every_launcher_gives_the_diagnosis_of_one_process(launcher, launched):
    found, expected = (of_run(launched, name, "diagnosis.json") for name in (launcher, "python"))
    said, theirs = (task["segment"]["reliability"].pop("said") for task in (found, expected))
    assert said == pytest.approx(theirs, abs=1e-6)  # of probabilities; all others are counts
    assert found == expected


def summary(launched, launcher):
    """Return summary.json."""
    return of_run(launched, launcher, "summary.json")


def of_run(launched, launcher, name):
    """Return a JSON file of the run directory."""
    _, folder = launched[launcher]
    return json.loads((folder / "runs" / "smoke" / name).read_text())


def train_losses(launched, launcher):
    """Return the training losses of each step."""
    _, folder = launched[launcher]
    lines = (folder / "runs" / "smoke" / "metrics.jsonl").read_text().splitlines()
    steps = [{k: v for k, v in json.loads(x).items() if k.startswith("train/")} for x in lines]
    return [step for step in steps if step]
