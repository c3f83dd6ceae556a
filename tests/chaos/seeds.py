"""Run job/train.py, and write down the seeds of each microbatch that it trains on.

A line of JSON a step for each process, in `seeds.RANK.jsonl` of the working directory: its number
and the seeds of this process.
"""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import job.meter as meter

TRAIN = Path(__file__).parents[2] / "job" / "train.py"


def record() -> None:
    """Write down what the training tells its meter."""
    add, close = meter.Meter.add, meter.Meter.close
    seeds: list[int] = []

    def adding(self: Any, losses: Any, batch: Any) -> None:
        seeds.extend(batch.n_id[: batch.batch_size].tolist())
        add(self, losses, batch)

    def closing(self: Any, step: int, *rest: Any) -> None:
        with open(f"seeds.{os.environ.get('RANK', '0')}.jsonl", "a") as file:
            print(json.dumps({"step": step, "seeds": seeds}), file=file)
        seeds.clear()
        close(self, step, *rest)

    meter.Meter.add = adding  # type: ignore[method-assign]
    meter.Meter.close = closing  # type: ignore[method-assign]


if __name__ == "__main__":
    record()
    sys.argv[0] = str(TRAIN)
    runpy.run_path(str(TRAIN), run_name="__main__")
