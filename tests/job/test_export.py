"""What is asked of an export is checked before anything is loaded."""

import pytest

from job.config import CONFIGS
from job.export import main
from mtl.errors import ConfigError


@pytest.fixture
def run(tmp_path):
    """A run directory, as far as the command line is concerned."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text((CONFIGS / "smoke.yaml").read_text())
    return folder


MISTAKES = {
    "chekpoint=best": ["chekpoint", "did you mean 'checkpoint'", "graph.path"],
    "track.mlflow=null": ["track.mlflow", "keys of evaluate, loader, train"],
    "evaluate.batch_sice=3": ["evaluate.batch_sice", "did you mean 'batch_size'"],
    "checkpoint=best": ["does not say what graph it was trained on"],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_what_is_allowed(mistake, run, tmp_path):
    with pytest.raises(ConfigError) as caught:
        main([str(run), str(tmp_path / "out"), mistake])
    assert [word for word in MISTAKES[mistake] if word not in str(caught.value)] == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_not_written_over(run, tmp_path):
    with pytest.raises(ConfigError, match="is there already"):
        main([str(run), str(tmp_path)])
    with pytest.raises(ConfigError, match="expected RUN_DIR"):
        main([str(tmp_path / "nothing"), str(tmp_path / "out")])


def test_what_mlflow_has_not_got_is_registered_nowhere(run, tmp_path):
    with pytest.raises(ConfigError, match=r"send it first: python -m job\.track"):
        main([str(run), str(tmp_path / "out"), "register=shop"])
    assert not (tmp_path / "out").exists()
