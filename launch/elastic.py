"""launch: torchrun inside this process, so that the workers' own exit codes come through.

torchrun as a command turns every worker's exit code, and SIGTERM, into 1, and restarts on any.
"""

import logging
import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousError,
)
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args

from launch.ending import (
    TIMED_OUT,
    Failure,
    as_exit_code,
    describe,
    first,
    meaning,
    worth_restarting,
)
from launch.headway import Headway
from launch.output import Output
from launch.signals import LEFT_TO_TORCH, Stop, kill_workers
from launch.worker_log import WorkerLog

LONGEST_PAUSE_SECONDS = 60.0
SAME_ENDINGS = 3  # in a row, without a newer checkpoint: the next one would be the same again
MEET_PAUSE_SECONDS = 2
MEET_SECONDS = 900  # machines of one job may start as far apart as images take to arrive


def supervise(command: list[str], run_dir: Path, max_restarts: int) -> int:
    """Run the workers, again where that may help, and return the exit code of the last start.

    Args:
        command: torchrun's arguments, with the script and its arguments.
        run_dir: of the job: exit.json, checkpoints and metrics tell how far it came.
        max_restarts: starts after the first one, or after the last one that came to a checkpoint.
    """
    Stop().install()
    # what it says of failing workers is said here, once
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    newest = Headway(run_dir).checkpoint()
    endings: list[tuple[int, int | None]] = []
    while True:
        headway = Headway(run_dir)
        try:
            code = start(command, run_dir / "logs")
        except SignalException as stop:
            kill_workers()  # one that was just being made; the others have ended
            left = headway.exit_code()
            return 128 + int(stop.sigval) if left is None else left
        if headway.checkpoint() > newest:
            newest, endings = headway.checkpoint(), []
        endings.append((code, headway.step()))
        if not worth_restarting(code) or len(endings) > max_restarts:
            return code
        if len(endings) >= SAME_ENDINGS and len({*endings[-SAME_ENDINGS:]}) == 1:
            _say(_no_headway(*endings[-1], run_dir))
            return code
        seconds = pause_seconds(len(endings))
        _say(f"exit code {code}; restart {len(endings)} of {max_restarts} in {seconds:g} s")
        try:
            time.sleep(seconds)
        except SignalException as stop:
            return 128 + int(stop.sigval)


def pause_seconds(restart: int) -> float:
    """Return how long to wait before a restart: twice as long each time, up to a minute."""
    return min(2.0 ** (restart - 1), LONGEST_PAUSE_SECONDS)


def start(command: list[str], logs: Path) -> int:
    """Run all workers once and return 0 or the exit code that explains the failure.

    A start that fails closes its rendezvous id for good. Where the store outlives it, on another
    machine, the machines and a replaced one meet again at the first id that is still open.
    """
    deadline = time.monotonic() + MEET_SECONDS
    attempt = 0
    while True:
        arguments = parse_args(command)  # type: ignore[no-untyped-call]
        arguments.log_dir = os.devnull  # else a folder is left in /tmp for each start
        arguments.rdzv_id = f"{arguments.rdzv_id}.{attempt}"
        try:
            return _run(arguments, logs)
        except RendezvousClosedError:
            attempt += 1
        except RendezvousConnectionError as error:
            if time.monotonic() > deadline:
                _say(f"the first machine does not answer: {error}")
                return TIMED_OUT
            attempt = 0  # a store that went away comes back with all ids open
            _say(f"waiting for the first machine at {arguments.rdzv_endpoint}")
            time.sleep(MEET_PAUSE_SECONDS)
        except RendezvousError as error:
            _say(f"the machines did not meet: {error}")
            return TIMED_OUT


def _run(arguments: object, logs: Path) -> int:
    """Do what torchrun does, with streams of our own."""
    config, entrypoint, argv = config_from_args(arguments)  # type: ignore[no-untyped-call]
    config.signals_to_handle = LEFT_TO_TORCH
    config.logs_specs = output = Output(logs)
    failures: dict[int, ProcessFailure] = {}
    try:
        elastic_launch(config, entrypoint)(*argv)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        failures = error.failures
    finally:
        output.finish()
    if not failures:
        return 0
    found = _failures(failures, output.workers)
    _say(describe(found))
    _say(f"all that was printed: {logs}")
    return first(found).code


def _failures(
    seen: Mapping[int, ProcessFailure], workers: Mapping[int, WorkerLog]
) -> list[Failure]:
    return [
        Failure(
            rank,
            failure.pid,
            as_exit_code(failure.exitcode),
            failure.timestamp,
            workers[rank].spoke,
            workers[rank].tail,
        )
        for rank, failure in seen.items()
    ]


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


def _say(message: str) -> None:
    for line in message.splitlines():
        print(f"launch: {line}", file=sys.stderr, flush=True)
