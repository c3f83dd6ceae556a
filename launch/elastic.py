"""launch: torchrun inside this process, so that the workers' own exit codes come through.

torchrun as a command turns every worker's exit code, and SIGTERM, into 1, and restarts on any.
"""

import logging
import os
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

from launch.ending import STOPPED, TIMED_OUT, Failure, as_exit_code, describe, first, meaning
from launch.headway import Headway
from launch.meeting import MEET_SECONDS, Meeting, NotMetError
from launch.output import Output, say
from launch.restarts import Restarts, RestartsOfAnother
from launch.signals import LEFT_TO_TORCH, Stop, kill_workers
from launch.worker_log import WorkerLog


def supervise(command: list[str], run_dir: Path, max_restarts: int) -> int:
    """Run the workers, again where that may help, and return the exit code of the last start.

    Args:
        command: torchrun's arguments, with the script and its arguments.
        run_dir: of the job: exit.json, checkpoints and metrics tell how far it came.
        max_restarts: starts after the first one, or after the last one that came to a checkpoint.
    """
    # what it says of failing workers is said here, once
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    with Meeting.of(parse_args(command)) as meeting:  # type: ignore[no-untyped-call]
        Stop().install()
        counts = meeting.is_first or not max_restarts
        restarts = Restarts(run_dir, max_restarts) if counts else RestartsOfAnother()
        while True:
            headway = Headway(run_dir)
            try:
                code = start(command, run_dir / "logs", meeting)
                seconds = restarts.pause(code, headway)
                if seconds is None:
                    break
                headway = Headway(run_dir)  # it is another start that a signal ends from now on
                time.sleep(seconds)
            except NotMetError as error:
                say(str(error))
                code = TIMED_OUT
                break
            except SignalException as stop:
                kill_workers()  # one that was just being made; the others have ended
                if meeting.ending is not None:
                    say(f"{meeting.ending.host} gave up with {meaning(meeting.ending.code)}")
                    return meeting.ending.code
                left = headway.exit_code()
                return 128 + int(stop.sigval) if left is None else left
        if code not in (0, STOPPED):  # those all machines come to together
            meeting.give_up(code)
        return code


def start(command: list[str], logs: Path, meeting: Meeting) -> int:
    """Run all workers once and return 0 or the exit code that explains the failure.

    A start that fails closes its rendezvous id for good, and the store outlives it: the machines,
    and one that replaces another, meet again at the first id that is still open.

    Raises:
        NotMetError: a machine is missing.
    """
    attempt = 0
    while True:
        meeting.wait_for_first()
        arguments = parse_args(command)  # type: ignore[no-untyped-call]
        arguments.log_dir = os.devnull  # else a folder is left in /tmp for each start
        arguments.rdzv_id = f"{arguments.rdzv_id}.{attempt}"
        arguments.rdzv_conf = f"{arguments.rdzv_conf},join_timeout={MEET_SECONDS}".lstrip(",")
        try:
            return _run(arguments, logs)
        except RendezvousClosedError:
            attempt += 1
        except RendezvousConnectionError:
            attempt = 0  # a store that went away comes back with all ids open
        except RendezvousError as error:
            raise NotMetError(f"the machines did not meet: {error}") from error


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
    say(describe(found))
    say(f"all that was printed: {logs}")
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
