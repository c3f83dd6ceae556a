"""launch: whether a start that failed is worth another one, and when."""

import shlex
from pathlib import Path

from launch.ending import meaning, worth_restarting
from launch.headway import Headway
from launch.output import say

FOLLOW_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
SAME_ENDINGS = 3  # in a row, without a newer checkpoint: the next one would be the same again


class Restarts:
    """The starts of a run, counted from its newest checkpoint on.

    Args:
        run_dir: of the job: checkpoints and metrics tell how far it came.
        budget: starts after the first one, or after the last one that came to a checkpoint.
    """

    def __init__(self, run_dir: Path, budget: int) -> None:
        self._run_dir, self._budget = run_dir, budget
        self._newest = Headway(run_dir).checkpoint()
        self._endings: list[tuple[int, int | None]] = []

    def pause(self, code: int, headway: Headway) -> float | None:
        """Return the seconds until another start; None where there shall be none.

        Args:
            code: that the last one has ended with.
            headway: of the last one.
        """
        if headway.checkpoint() > self._newest:
            self._newest, self._endings = headway.checkpoint(), []
        self._endings.append((code, headway.step()))
        count, latest = len(self._endings), self._endings[-SAME_ENDINGS:]
        if not worth_restarting(code) or count > self._budget:
            return None
        if count >= SAME_ENDINGS and len({*latest}) == 1:
            say(_no_headway(*latest[0], self._run_dir))
            return None
        seconds = pause_seconds(count)
        say(f"exit code {code}; restart {count} of {self._budget} in {seconds:g} s")
        return seconds


class RestartsOfAnother:
    """The starts of a run where the first machine counts: it alone needs to see the run directory.

    It says when it gives up, and it waits for this machine, or this one for it.
    """

    def pause(self, code: int, headway: Headway) -> float | None:
        """Return the seconds until another start; None where there shall be none."""
        if not worth_restarting(code):
            return None
        say(f"exit code {code}; starts again with the first machine")
        return FOLLOW_SECONDS


def pause_seconds(restart: int) -> float:
    """Return how long to wait before a restart: twice as long each time, up to a minute."""
    return min(2.0 ** (restart - 1), LONGEST_PAUSE_SECONDS)


def _no_headway(code: int, step: int | None, run_dir: Path) -> str:
    """Say that restarts do not help, and where to look."""
    where = "before the first step" if step is None else f"after step {step}"
    text = (
        f"{SAME_ENDINGS} starts in a row ended with {meaning(code)} {where}, without a newer "
        "checkpoint; another start would end there too"
    )
    if step is None:
        return text
    command = ["python", "job/train.py", str(run_dir / "config.yaml"), f"replay={step + 1}"]
    return f"{text}. To look at the next step:\n  {shlex.join(command)}"
