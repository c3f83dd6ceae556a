"""Start job commands as forks of a process that has imported torch: 1 s each instead of 8.

Reads orders from stdin, a line of JSON each. `{"argv": ..., "cwd": ..., "env": ..., "stdout": ...,
"stderr": ..., "timeout": ..., "stop_at": ...}` is answered by a process id, `{"wait": PID,
"timeout": ...}` by its exit code. The process sends itself SIGTERM in the step `stop_at`, if that
is a number, or in the first evaluation, if it is "evaluation".
"""

import faulthandler
import json
import os
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

if not Path("/dev/nvidiactl").exists():  # to ask CUDA would forbid to fork
    os.environ.setdefault("TRITON_INTERPRET", "1")  # its kernels run on the CPU, too
import accelerate.utils  # noqa: F401
import numba  # noqa: F401
import plotly.graph_objects  # noqa: F401
import safetensors.torch  # noqa: F401
import torch._dynamo  # noqa: F401
import torch_geometric.loader  # noqa: F401
import torchmetrics.classification
import torchmetrics.regression  # noqa: F401


def start(order: dict[str, Any]) -> int:
    """Fork a process that runs the command; return its id."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(order["timeout"])  # a process that hangs ends with -14, and says where it hung
    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    faulthandler.dump_traceback_later(order["timeout"] - 2, file=2)
    sys.argv = order["argv"]
    if order["stop_at"] is not None:
        stop_in(order["stop_at"])
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)  # commands leave by os._exit themselves


def stop_in(moment: int | str) -> None:
    """Send SIGTERM to this very process in the middle of a step, or of an evaluation."""
    from job.evaluation import Evaluation
    from job.meter import Meter

    close, run = Meter.close, Evaluation.run

    def signalled(self: Meter, step: int, *rest: Any) -> None:
        if step == moment:
            os.kill(os.getpid(), signal.SIGTERM)
        close(self, step, *rest)

    def interrupted(self: Evaluation, *rest: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return run(self, *rest)

    Meter.close = signalled  # type: ignore[method-assign, assignment]
    if moment == "evaluation":
        Evaluation.run = interrupted  # type: ignore[method-assign]


def wait(pid: int, timeout: float) -> int:
    """Return the exit code of a process; one that is frozen hears no alarm, and is killed."""
    deadline = time.monotonic() + timeout
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def main() -> None:
    """Serve orders until stdin ends."""
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            print(wait(order["wait"], order["timeout"]), flush=True)
        else:
            print(start(order), flush=True)


if __name__ == "__main__":
    main()
