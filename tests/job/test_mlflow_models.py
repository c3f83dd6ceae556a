"""A model comes to MLflow once, whatever happens on the way, and never ends a run."""

import json

import pytest
from mlflow import MlflowClient
from mlflow.models import Model

from job.mlflow_models import REGISTER, STEP, send_model
from job.mlflow_sink import send_run
from job.mlflow_store import open_client, open_experiment
from job.track import MLflow, Track, open_tracker

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]


@pytest.fixture
def model(tmp_path):
    """A folder that MLflow takes for a model, to be registered."""
    folder = tmp_path / "model"
    folder.mkdir()
    Model(metadata={STEP: 3, REGISTER: "shop"}).save(str(folder / "MLmodel"))
    (folder / "weights").write_text("1 2 3")
    return folder


@pytest.fixture
def client(store):
    return open_client(store)


@pytest.fixture
def run_id(client, store):
    return client.create_run(open_experiment(client, store, "graphmtl")).info.run_id


def models(client):
    return client.search_logged_models([client.get_experiment_by_name("graphmtl").experiment_id])


def test_a_model_is_sent_once_and_is_one_version(client, run_id, model):
    said = [send_model(client, run_id, model) for _ in range(2)]
    assert said == ["models:/shop/1"] * 2
    (sent,) = models(client)
    assert (sent.status, sent.source_run_id) == ("READY", run_id)
    (version,) = client.search_model_versions("name = 'shop'")
    assert version.source == sent.artifact_location


def test_another_model_of_the_run_is_another_version(client, run_id, model):
    send_model(client, run_id, model)
    Model(metadata={STEP: 6, REGISTER: "shop"}).save(str(model / "MLmodel"))
    assert send_model(client, run_id, model) == "models:/shop/2"
    assert len(models(client)) == 2


def test_without_a_name_it_is_a_model_of_its_run_alone(client, run_id, model):
    Model(metadata={STEP: 3, REGISTER: None}).save(str(model / "MLmodel"))
    assert send_model(client, run_id, model) == f"models:/{models(client)[0].model_id}"
    assert client.search_registered_models() == []


@pytest.mark.parametrize("step", ["log_model_artifacts", "create_model_version"])
def test_what_a_store_refused_is_sent_later_and_once(
    step, store, client, model, tmp_path, monkeypatch
):
    run_dir = finished(tmp_path / "run", MLflow(uri=store))
    model.rename(run_dir / "model")

    def refuse(*args, **kwargs):
        raise OSError("the bucket is closed")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, step, refuse)
        assert "took no artifacts: OSError: the bucket is closed" in send_run(run_dir, None, None)
    run_id = json.loads((run_dir / "mlflow.json").read_text())["run_id"]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert "bucket" not in send_run(run_dir, None, None)
    (version,) = client.search_model_versions("name = 'shop'")
    (sent,) = models(client)
    assert (version.run_id, version.source) == (run_id, sent.artifact_location)
    assert sent.status == "READY"


def finished(run_dir, options):
    """Return the directory of a run that has finished, without checkpoints."""
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text("{}")
    tracker = open_tracker(
        Track(mlflow=options), run_dir, "shop", is_main=True, total_steps=3, world_size=1
    )
    tracker.begin({}, {"name": "shop"}, {}, 0)
    tracker.finish("finished", {"step": 3, "metrics": {}})
    return run_dir


def test_a_model_that_cannot_be_written_ends_no_run(store, client, tmp_path, capsys):
    run_dir = finished(tmp_path / "run", MLflow(uri=store, log_model=True))
    assert "no model was written: ConfigError" in capsys.readouterr().err
    run_id = json.loads((run_dir / "mlflow.json").read_text())["run_id"]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_model_of_an_earlier_training_is_not_sent_again(store, model, tmp_path):
    run_dir = tmp_path / "run"
    finished(run_dir, None)
    model.rename(run_dir / "model")
    tracker = open_tracker(
        Track(mlflow=None), run_dir, "shop", is_main=True, total_steps=3, world_size=1
    )
    tracker.begin({}, {"name": "shop"}, {}, 0)
    assert not (run_dir / "model").exists()
    tracker.finish("stopped", {})


@pytest.mark.parametrize("options", [{"register": "shop"}, {"log_model": True, "register": "a/b"}])
def test_a_name_that_cannot_be_registered_is_a_mistake(options):
    with pytest.raises(ValueError, match="register"):
        MLflow(**options)
