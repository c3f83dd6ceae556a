"""job/train.py, which writes down where the lines of its loop ask a tensor for a number.

On a GPU each of these calls waits for all that the device was given. Other threads may ask, and the
meter may, which reads the step before.

usage: python waits.py OUT.json CONFIG.yaml [key=value ...]
"""

import ast
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from job import train
from job.meter import Meter
from job.runtime import run_command

ASKING = ("item", "tolist", "numpy", "cpu", "nonzero")
ASKING += ("__bool__", "__int__", "__float__", "__index__")


def main(argv: list[str]) -> None:
    """Train, and write down who asked."""
    out, *rest = argv
    lines, asked = lines_of_a_step(), list[str]()
    for name in ASKING:
        setattr(torch.Tensor, name, noted(name, getattr(torch.Tensor, name), lines, asked))
    try:
        train.main(rest)
    finally:
        Path(out).write_text(json.dumps(asked))


def lines_of_a_step() -> range:
    """Return the lines of the loop over steps."""
    source, start = inspect.getsourcelines(train.train)
    loops = [node for node in ast.walk(ast.parse("".join(source))) if isinstance(node, ast.For)]
    (loop,) = (node for node in loops if ast.unparse(node.iter).startswith("islice(steps"))
    return range(start + loop.lineno - 1, start + (loop.end_lineno or 0))


def noted(name: str, method: Callable[..., Any], lines: range, asked: list[str]) -> Any:
    """Return the method, which notes the functions that ask from inside a step."""

    def call(self: torch.Tensor, *args: Any, **options: Any) -> Any:
        frame, names = sys._getframe(1), [name]
        while frame is not None:
            code = frame.f_code
            names.append(code.co_name)
            if code is Meter.sums.__code__:
                break
            if code is train.train.__code__ and frame.f_lineno in lines:
                asked.append(" < ".join(names))
            frame = frame.f_back  # type: ignore[assignment]
        return method(self, *args, **options)

    return call


if __name__ == "__main__":
    run_command(main, __doc__ or "")
