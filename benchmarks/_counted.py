"""job/train.py, which also writes down what it sends in all-reduces.

usage: python benchmarks/_counted.py WIRE.jsonl CONFIG.yaml

Those of DDP are not counted: they are made below Python, and are the same whatever the balancing.
"""

import json
import time
from pathlib import Path
from typing import Any

from job import train
from job.runtime import run_command


def main(argv: list[str]) -> None:
    """Count, and train."""
    import torch.distributed as dist  # after run_command has told OpenMP how to wait

    wire, *rest = argv
    with Path(wire).open("a", buffering=1) as file:
        all_reduce = dist.all_reduce

        def counted(tensor: Any, *args: Any, **options: Any) -> Any:
            if dist.get_rank() == 0:
                file.write(json.dumps({"time": time.time(), "bytes": tensor.nbytes}) + "\n")
            return all_reduce(tensor, *args, **options)

        dist.all_reduce = counted
        train.main(rest)


if __name__ == "__main__":
    run_command(main, __doc__ or "")
