"""Runs of MLflow side by side."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job.compare import main
from job.track import MLflow, Track, open_tracker

# mlflow, sqlalchemy and their imports warn; our own warnings stay errors.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
ACCURACY, MAE = "test/topic/accuracy", "test/degree/mae"


def train(folder: Path, uri: str, name: str, seed: int, type: str, **metrics: float) -> None:
    folder.mkdir()
    (folder / "config.yaml").write_text("")
    track = Track(mlflow=MLflow(uri=uri, experiment="cora"))
    tracker = open_tracker(track, folder, name, is_main=True, total_steps=1, world_size=1)
    config = {"run": {"name": name, "seed": seed}, "model": {"sharing": {"type": type, "dim": 8}}}
    tracker.begin(config, {}, {}, 0)
    tracker.log({"train/topic/loss": 0.1, "val/mean_gain": 0.3}, 1)
    finals = {"test/mean_gain": 0.2, "test/topic/loss": 1.0}
    finals |= {f"test/{key.replace('_', '/')}": value for key, value in metrics.items()}
    throughput = {"seeds_per_second": 1234.0}
    tracker.finish("finished", {"step": 1, "metrics": finals, "throughput": throughput})


@pytest.fixture(scope="module")
def uri(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with two seeds of `hard` and one run of `mimo`."""
    folder = tmp_path_factory.mktemp("compare")
    uri = f"sqlite:///{shutil.copy(empty_store, folder / 'mlflow.db')}"
    train(folder / "a", uri, "hard", 0, "hard", topic_accuracy=0.80, topic_f1=0.7, degree_mae=2.0)
    train(folder / "b", uri, "hard", 1, "hard", topic_accuracy=0.82, topic_f1=0.7, degree_mae=2.2)
    train(folder / "c", uri, "mimo", 0, "mimo", topic_accuracy=0.88, topic_f1=0.5, degree_mae=1.6)
    return uri


def compare(uri: str, folder: Path, *options: str) -> list[dict[str, Any]]:
    assert main(["--uri", uri, "--json", str(folder / "out.json"), *options]) == 0
    rows: list[dict[str, Any]] = json.loads((folder / "out.json").read_text())["rows"]
    return rows


def test_runs_are_side_by_side_the_newest_first_where_none_is_better(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    rows = compare(uri, tmp_path, "--no-group")
    assert [row["name"] for row in rows] == ["mimo", "hard", "hard"]
    words = capsys.readouterr().out.split()
    assert {"accuracy", "0.88", "0.82", "f1", "mae", "mean_gain", "1,234", "finished"} <= {*words}


def test_parameters_that_differ_are_shown_and_no_others(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(uri, tmp_path, "--no-group")
    params = json.loads((tmp_path / "out.json").read_text())["params"]
    assert params == {"model.sharing.type": ["mimo", "hard", "hard"], "run.seed": ["0", "1", "0"]}
    out = capsys.readouterr().out
    assert "model.sharing.type" in out
    assert "model.sharing.dim" not in out


def test_best_value_of_each_column_is_bold(
    uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    main(["--uri", uri, "--no-group", "hard", "mimo"])
    parts = capsys.readouterr().out.split("\x1b[1m")[1:]
    bold = {part.split("\x1b[0m")[0].strip() for part in parts}
    assert {"0.88", "1.6", "0.7"} <= bold
    assert not {"0.8", "0.82", "0.5", "2", "2.2", "1,234"} & bold


def test_gain_is_the_mean_over_tasks_and_lower_errors_are_better(uri: str, tmp_path: Path) -> None:
    mimo, first, hard = compare(uri, tmp_path, "--no-group", "--baseline", "hard")
    better = ((0.88 - 0.81) / 0.81 - (1.6 - 2.1) / 2.1) / 2
    assert mimo["metrics"]["delta_m"] == pytest.approx(better)
    assert hard["metrics"]["delta_m"] == pytest.approx(-first["metrics"]["delta_m"])


def test_seeds_of_a_run_are_grouped(uri: str, tmp_path: Path) -> None:
    mimo, hard = compare(uri, tmp_path)
    assert (mimo["name"], hard["name"], len(hard["run_ids"])) == ("mimo", "hard", 2)
    assert hard["metrics"][ACCURACY] == pytest.approx(0.81)
    assert hard["spread"][ACCURACY] == pytest.approx(0.02 / 2**0.5)
    assert hard["params"]["run.seed"] == "0, 1"


def test_a_filter_is_that_of_mlflow(uri: str, tmp_path: Path) -> None:
    (row,) = compare(uri, tmp_path, "--filter", "params.`model.sharing.type` = 'mimo'")
    assert row["name"] == "mimo"


def test_csv_has_a_line_for_each_run(uri: str, tmp_path: Path) -> None:
    main(["--uri", uri, "--no-group", "--csv", str(tmp_path / "out.csv"), "mimo", "hard"])
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == ["mimo", "hard", "hard"]
    assert [float(row[MAE]) for row in rows] == [1.6, 2.2, 2.0]
    assert [row["model.sharing.type"] for row in rows] == ["mimo", "hard", "hard"]
    assert [row["seeds"] for row in rows] == ["0", "1", "0"]


@pytest.mark.parametrize("width", [40, 60, 200])
def test_tables_fit_the_terminal_and_lose_no_column(
    width: int, uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    main(["--uri", uri])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert all(head in out for head in ["accuracy", "f1", "mae", "mean_gain", "seeds/s", "status"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["mino"], "RUN: 'mino' does not exist; did you mean 'mimo'? (there are: mimo, hard)"),
        (["--baseline", "x"], "--baseline: 'x' does not exist (there are: mimo, hard)"),
        (["--experiment", "cara"], "did you mean 'cora'? (there are: cora, Default)"),
        (["--experiment", "Default"], "no runs in Default: train a model first"),
        (["--filter", "params.a = 'b'"], "no runs in cora, Default that match --filter"),
        (["--filter", "model.dim > 64"], "--filter: 'model.dim > 64': "),
    ],
)
def test_an_unknown_name_is_answered_with_those_that_exist(
    options: list[str], said: str, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--uri", uri, *options]) == 64
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--csv", "--html"])
def test_a_file_that_cannot_be_written_is_named(
    option: str, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder" / "in the way").mkdir(parents=True)
    assert main(["--uri", uri, option, str(tmp_path / "folder")]) == 73
    assert f"{tmp_path}/folder cannot be written: Is a directory" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_missing_database_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--uri", f"sqlite:///{tmp_path}/x.db"]) == 64
    assert f"no database at {tmp_path}/x.db" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_comes_without_mlflow() -> None:
    code = "import sys, job.compare as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'mlflow', 'torch'} & sys.modules.keys()"
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--baseline RUN" in done.stdout
