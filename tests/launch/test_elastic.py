"""What the workers end with is what the launcher ends with; it starts again where that may help."""

import re
import textwrap
from pathlib import Path

import pytest

from launch.restarts import SAME_ENDINGS, pause_seconds

KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
COUNT = "open('starts', 'a').write('x')\n"


def starts(folder: Path) -> int:
    """Return how often a worker that does COUNT was started."""
    return len((folder / "starts").read_text())


@pytest.mark.parametrize("code", [64, 65, 73, 75, 76, 77, 78])
def test_the_code_of_a_failing_worker_comes_through_without_a_restart(supervise, tmp_path, code):
    fail = f"import os, sys\nif os.environ['RANK'] == '1': {COUNT.strip()}; sys.exit({code})"
    ended, _, stderr = supervise(fail, "--nproc", "2", "--max-restarts", "3").end()
    assert ended == code
    assert re.search(rf"^launch: rank 1 failed.*: exit code {code} \(", stderr, re.MULTILINE)
    assert "Traceback" not in stderr
    assert starts(tmp_path) == 1


def test_a_killed_worker_is_started_again_within_the_budget(supervise, tmp_path):
    once = f"from pathlib import Path\nif not Path('starts').exists():\n  {COUNT}  {KILLED}\n"
    code, _, stderr = supervise(once, "--nproc", "1", "--max-restarts", "1").end()
    assert code == 0
    assert "exit code 137; restart 1 of 1 in 0.1 s" in stderr


def test_a_spent_budget_ends_with_the_last_code(supervise, tmp_path):
    launcher = supervise(f"{COUNT}import sys; sys.exit(79)", "--nproc", "1", "--max-restarts", "1")
    assert launcher.end()[0] == 79
    assert starts(tmp_path) == 2


FAILS_AT_STEP = """\
import json, os, sys
from pathlib import Path
number = Path("starts").stat().st_size if Path("starts").exists() else 0
open("starts", "a").write("x")
def come_to(step, *, checkpoint=False):
    Path("run/checkpoints").mkdir(parents=True, exist_ok=True)
    Path("run/metrics.jsonl").open("a").write(json.dumps({"step": step}) + "\\n")
    if checkpoint:
        folder = Path(f"run/checkpoints/step_{step:08}")
        folder.mkdir()
        (folder / "manifest.json").touch()
"""


def test_starts_that_end_at_the_same_step_are_given_up_and_the_step_is_named(supervise, tmp_path):
    script = FAILS_AT_STEP + "come_to(7); sys.exit(70)"
    code, _, stderr = supervise(script, "--nproc", "1", "--max-restarts", "9").end()
    assert code == 70
    assert starts(tmp_path) == SAME_ENDINGS
    assert "3 starts in a row ended with exit code 70 (bug) after step 7" in stderr
    assert "python job/train.py run/config.yaml replay=8" in stderr


def test_starts_that_end_elsewhere_each_time_spend_the_budget(supervise, tmp_path):
    script = FAILS_AT_STEP + "come_to(7 + number); sys.exit(70)"
    code, _, stderr = supervise(script, "--nproc", "1", "--max-restarts", "3").end()
    assert (code, starts(tmp_path)) == (70, 4)
    assert "in a row" not in stderr


def test_a_newer_checkpoint_gives_the_whole_budget_again(supervise, tmp_path):
    script = FAILS_AT_STEP + "come_to(number, checkpoint=True); sys.exit(79 if number < 3 else 0)"
    code, _, stderr = supervise(script, "--nproc", "1", "--max-restarts", "1").end()
    assert (code, starts(tmp_path)) == (0, 4)
    assert stderr.count("restart 1 of 1 in 0.1 s") == 3


def test_each_pause_is_twice_as_long_up_to_a_minute():
    assert [pause_seconds(restart) for restart in (1, 2, 3, 7, 99)] == [1, 2, 4, 60, 60]


def test_the_first_failure_is_named_with_its_last_words_and_all_is_kept(supervise, tmp_path):
    script = """\
        import os, sys, time
        from pathlib import Path
        if os.environ["RANK"] == "1":
            print("the cause", file=sys.stderr)
            Path("failed").touch()
            os._exit(1)
        while not Path("failed").exists():
            time.sleep(0.02)
        time.sleep(0.5)
        sys.exit("a follower")
    """
    code, _, stderr = supervise(textwrap.dedent(script), "--nproc", "3").end()
    assert code == 1
    named = stderr[stderr.index("launch: ") :].splitlines()
    assert named[0].startswith("launch: rank 1 failed first: exit code 1, pid ")
    assert named[1] == "launch:     the cause"
    assert named[2].startswith("launch: then rank 0: ")
    assert "the cause" in (tmp_path / "run" / "logs" / "rank_1.log").read_text()


def test_lines_of_all_workers_arrive_in_their_streams(supervise):
    script = "import os, sys; r = os.environ['RANK']; print('out'); print('err', file=sys.stderr)"
    code, stdout, stderr = supervise(script, "--nproc", "2").end()
    assert code == 0
    assert sorted(stdout.splitlines()) == ["[rank 1] out", "out"]
    assert sorted(stderr.splitlines()) == ["[rank 1] err", "err"]
