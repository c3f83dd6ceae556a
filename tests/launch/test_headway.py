"""What one start has left is told from what others left before."""

import json

import pytest

from launch.headway import Headway


@pytest.fixture
def run_dir(tmp_path):
    """A run directory in which an earlier start has written everything."""
    (tmp_path / "exit.json").write_text('{"code": 75}')
    (tmp_path / "summary.json").write_text('{"step": 40}')
    (tmp_path / "metrics.jsonl").write_text('{"step": 30}\n{"step": 40}\n')
    (tmp_path / "checkpoints" / "step_00000040").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step_00000040" / "manifest.json").touch()
    return tmp_path


def test_what_was_there_before_is_of_no_account(run_dir):
    headway = Headway(run_dir)
    assert (headway.exit_code(), headway.step(), headway.checkpoint()) == (None, None, 40)


def test_an_empty_directory_says_nothing(tmp_path):
    headway = Headway(tmp_path / "none")
    assert (headway.exit_code(), headway.step(), headway.checkpoint()) == (None, None, -1)


def test_the_same_words_written_again_are_new(run_dir):
    headway = Headway(run_dir)
    (run_dir / "new").write_text('{"code": 75}')
    (run_dir / "new").replace(run_dir / "exit.json")
    assert headway.exit_code() == 75


def test_a_killed_job_is_as_far_as_its_last_whole_metrics(run_dir):
    headway = Headway(run_dir)
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50}\n{"step": 5')
    assert headway.step() == 50


def test_a_job_that_could_still_write_says_itself_how_far_it_was(run_dir):
    headway = Headway(run_dir)
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50}\n')
    (run_dir / "summary.json").write_text(json.dumps({"step": 57}))
    assert headway.step() == 57


def test_a_summary_that_the_start_has_removed_says_nothing(run_dir):
    headway = Headway(run_dir)
    (run_dir / "summary.json").unlink()
    assert headway.step() is None


def test_half_a_file_is_none(run_dir):
    headway = Headway(run_dir)
    (run_dir / "exit.json").write_text('{"co')
    assert headway.exit_code() is None


def test_a_checkpoint_without_its_manifest_is_none(run_dir):
    (run_dir / "checkpoints" / "step_00000050").mkdir()
    (run_dir / "checkpoints" / ".step_00000060.7").mkdir()
    assert Headway(run_dir).checkpoint() == 40
