"""What a sweep proposes, and what it makes of the run directories it finds."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from job.config import load
from job.sweep import main
from job.sweep_slots import slots
from job.sweep_space import Range, Sweep, assignments, read_sweep
from job.sweep_trials import Run, Trials
from job.yaml12 import parse
from mtl.errors import ConfigError

SMOKE = str(Path(__file__).parents[2] / "job" / "configs" / "smoke.yaml")
LR = {"low": 1e-4, "high": 1e-1, "log": True}
SHARING = [{"type": "hard"}, {"type": "mmoe", "num_experts": 2}]


def sweep(**options: Any) -> Sweep:
    return TypeAdapter(Sweep).validate_json(json.dumps(options))


def trials(folder: Path, *overrides: str, **options: Any) -> Trials:
    given = [SMOKE, *overrides]
    return Trials(load(given), given, sweep(**options), folder)


def finish(run: Run, score: float | None) -> None:
    run.dir.mkdir(parents=True, exist_ok=True)
    metrics = {} if score is None else {"val/mean_gain": score}
    summary = {"status": "finished", "metrics": metrics}
    (run.dir / "summary.json").write_text(json.dumps(summary))


words = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


@given(values)
def test_an_override_is_read_as_the_value_that_it_was(value: Any) -> None:
    (text,) = assignments({"a.b": value})
    assert parse(text.removeprefix("a.b="), "") == value


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_grid_tries_every_combination_once(sizes: list[int]) -> None:
    found = sweep(space={f"k{i}": list(range(size)) for i, size in enumerate(sizes)})
    tried = Counter(tuple(found.propose(n, [], 1).values()) for n in range(found.num_trials))
    assert set(tried.values()) == {1}
    assert found.num_trials == len(tried) == len(list(found.corners()))


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_random_trial_follows_from_its_number_and_stays_in_range(number: int, seed: int) -> None:
    space = {"lr": LR, "dim": {"low": 8, "high": 64, "step": 8}, "k": {"low": 1, "high": 3}}
    found = sweep(method="random", trials=9, seeds=[seed], space=space)
    drawn = found.propose(number, [], 1)
    assert drawn == found.propose(number, [({"lr": 1}, 0.5)], 1)
    assert 1e-4 <= drawn["lr"] <= 1e-1
    assert drawn["dim"] in range(8, 65, 8)
    assert drawn["k"] in (1, 2, 3)


def test_draws_on_a_logarithmic_scale_are_as_often_below_the_geometric_mean_as_above() -> None:
    found = sweep(method="random", trials=400, space={"lr": LR})
    drawn = [found.propose(number, [], 1)["lr"] for number in range(400)]
    assert 160 < sum(lr < 10**-2.5 for lr in drawn) < 240


@pytest.mark.parametrize("sign", [1, -1])
def test_tpe_comes_nearer_to_what_is_best_in_either_direction(sign: int) -> None:
    found = sweep(method="tpe", trials=40, space={"x": {"low": 0.0, "high": 1.0}})
    history: list[tuple[dict[str, Any], float | None]] = []
    for number in range(40):
        x = found.propose(number, history, sign)["x"]
        history.append(({"x": x}, -sign * abs(x - 0.8)))
    late = [abs(values["x"] - 0.8) for values, _ in history[30:]]
    assert sum(late) / len(late) < 0.2  # 0.34 at random


def test_tpe_goes_on_after_a_stop_as_if_there_had_been_none() -> None:
    found = sweep(method="tpe", trials=20, space={"sharing": SHARING, "lr": LR})
    history: list[tuple[dict[str, Any], float | None]] = []
    for number in range(14):
        proposed = found.propose(number, history, 1)
        assert proposed == found.propose(number, list(history), 1)
        history.append((proposed, None if number == 13 else proposed["lr"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": {}}, "space"),
        ({"space": {"a": []}}, "space.a"),
        ({"space": {"a": LR}}, "space.a: a grid needs a list, or a range with a step"),
        ({"space": {"a": [1]}, "trials": 3}, "a grid tries all"),
        ({"space": {"a": [1]}, "method": "random"}, "random needs to know how many"),
        ({"space": {"a": {"low": 2, "high": 1}}}, "low (2) must be below high (1)"),
        ({"space": {"a": [1]}, "methd": "grid"}, "did you mean 'method'?"),
    ],
)
def test_a_wrong_space_is_refused_by_file_and_key(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(json.dumps(options))
    with pytest.raises(ConfigError, match=r"space\.yaml: ") as error:
        read_sweep(path)
    assert message in str(error.value)


def test_every_value_that_does_not_fit_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        trials(tmp_path, space={"optim.lr": [0.1, -1.0], "model.dmi": [8]})
    assert "model.dmi: unknown key; did you mean 'dim'?" in str(error.value)
    with pytest.raises(ConfigError, match=r"optim.lr=-1.0"):
        trials(tmp_path, space={"optim.lr": [0.1, -1.0]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": {"run.seed": [1, 2]}}, "list seeds in `seeds:`"),
        ({"space": {"optim.lr": [1.0]}, "score": "tpoic/accuracy"}, "one of segment, value"),
    ],
)
def test_what_a_sweep_does_itself_is_not_for_the_space(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        trials(tmp_path, **options)


def test_the_score_of_a_trial_is_the_mean_over_all_of_its_seeds(tmp_path: Path) -> None:
    found = trials(tmp_path, space={"optim.lr": [0.1, 0.01]}, seeds=[3, 4])
    found.write()
    found.values(0)
    three, four = found.runs(0)
    finish(three, 0.2)
    assert found.mean(0) is None
    finish(four, 0.4)
    assert found.mean(0) == pytest.approx(0.3)
    assert [(run.number, run.seed) for run in found.waiting()] == [(1, 3), (1, 4)]
    assert found.num_done() == 2


def test_a_training_without_a_score_is_over_and_never_the_best(tmp_path: Path) -> None:
    found = trials(tmp_path, space={"optim.lr": [0.1, 0.01, 0.001]})
    for number, score in enumerate((None, -0.5, -0.7)):
        found.values(number)
        finish(found.runs(number)[0], score)
    assert list(found.waiting()) == []
    assert found.best() == 1


def test_a_training_that_diverged_is_not_started_again(tmp_path: Path) -> None:
    found = trials(tmp_path, space={"optim.lr": [0.1, 0.01]})
    for number, code in enumerate((76, 137)):
        (run,) = found.runs(number)
        run.dir.mkdir()
        (run.dir / "exit.json").write_text(json.dumps({"code": code}))
    assert [run.number for run in found.waiting()] == [1]


def test_the_folder_of_another_sweep_is_refused_but_more_trials_are_not(tmp_path: Path) -> None:
    options: dict[str, Any] = {"method": "random", "space": {"optim.lr": LR}}
    first = trials(tmp_path, trials=2, **options)
    first.write()
    before = [first.values(number) for number in range(2)]
    more = trials(tmp_path, trials=3, **options)
    assert [more.values(number) for number in range(2)] == before
    with pytest.raises(ConfigError, match=r"model\.dim: 32 there, 16 here"):
        trials(tmp_path, "model.dim=16", trials=2, **options)


def test_each_training_has_a_name_a_seed_and_a_folder_of_its_own(tmp_path: Path) -> None:
    found = trials(tmp_path, "optim.clip_norm=1", space={"model.sharing": SHARING}, seeds=[0, 7])
    found.parent = "abc"
    configs = [load(found.arguments(run)) for number in (0, 1) for run in found.runs(number)]
    assert [config.run.seed for config in configs] == [0, 7, 0, 7]
    assert [config.model.sharing.type for config in configs] == ["hard", "hard", "mmoe", "mmoe"]
    assert len({config.run.dir for config in configs}) == 4
    assert {config.run.name for config in configs} == {"smoke_000", "smoke_001"}
    assert {config.track.mlflow and config.track.mlflow.parent for config in configs} == {"abc"}


def test_steps_of_a_range_reach_its_end() -> None:
    assert Range(low=0.1, high=0.5, step=0.1).steps() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert Range(low=8, high=20, step=8).steps() == [8, 16]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--parallel", "0", SMOKE, "space.yaml"], "--parallel: invalid positive value: '0'"),
        ([SMOKE], "expected CONFIG.yaml and SPACE.yaml, found"),
        (["--dri", SMOKE, "space.yaml"], "unrecognized arguments: --dri"),
    ],
)
def test_a_wrong_command_line_is_refused_with_64(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        main(words)
    assert error.value.exit_code == 64


def test_slots_share_all_cores_out_and_no_core_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(7)))
    for parallel in range(1, 8):
        cores = [core for slot in slots(parallel, 1) for core in slot.cores]
        assert sorted(cores) == list(range(7))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5,7")
    assert [slot.gpus for slot in slots(None, 2)] == [("2", "3"), ("5", "7")]
    with pytest.raises(ConfigError, match="6 processes, but this machine has 4 GPUs"):
        slots(3, 2)
