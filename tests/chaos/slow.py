"""Run job/train.py with a third step that takes a minute."""

import runpy
import sys
import time
from pathlib import Path
from typing import Any

import job.meter as meter

TRAIN = Path(__file__).parents[2] / "job" / "train.py"

if __name__ == "__main__":
    close = meter.Meter.close

    def slow(self: Any, step: int, *rest: Any) -> None:
        close(self, step, *rest)
        time.sleep(60 * (step == 3))

    meter.Meter.close = slow  # type: ignore[method-assign]
    sys.argv[0] = str(TRAIN)
    runpy.run_path(str(TRAIN), run_name="__main__")
