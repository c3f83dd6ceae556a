"""Processes, device, precision, seeds, signals, exit codes: the only code that knows the ranks.

Nothing heavy is imported here before a Runtime is made: the configuration is checked first.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, cast

from job import lock
from job.hardware import (
    Precision,
    check_devices,
    choose_precision,
    device_name,
)
from job.numa import settle
from job.orphans import end_with_launcher, has_launcher
from job.redaction import without_secrets
from job.signals import (
    ECHO_SECONDS,
    SIGNALS,
    Interruption,
    asked_to_end,
    end_on_signals,
    interrupt,
    only_remember,
)
from job.watchdog import Watchdog
from mtl.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.distributed import GradBucket, ProcessGroup  # type: ignore[attr-defined]
    from torch.futures import Future

    from mtl.collective import Exchange

TIMEOUT = timedelta(minutes=10)
SILENT_SECONDS = 2.0
_kept: list[object] = []
"""Every process group, until the process ends: one that goes with its last owner (a model in the
traceback of an error, say) may wait for ever. It holds Python's lock and waits for gloo's thread,
which waits for that lock."""
COMMON_CODES = (64, 65, 75, 76, 77, 78)
"""Endings that all processes of a machine come to together."""


CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EISDIR),
    *(errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP),
}


class CannotWriteError(UserError):
    """The run directory cannot be written."""

    exit_code = 73


class StoppedError(UserError):
    """The job was asked to stop and saved what it needs to go on."""

    exit_code = 75


class NonFiniteError(UserError):
    """A loss or a gradient is infinite or not a number."""

    exit_code = 76


def run_command(main: Callable[[list[str]], None], usage: str) -> NoReturn:
    """Run a command of this package and end the process with its exit code.

    A user's mistake is printed in its own words, by one process; only a bug shows a traceback.
    SIGTERM and SIGINT end it at once with 75, until a Runtime defers them.
    """
    end_with_launcher()
    # OpenMP reads it when torch is imported. Its threads spin where they wait, by default, and take
    # the cores that the loader's threads and other processes need: on two busy cores a step took
    # 5 to 10 times as long; on idle ones spinning gains a tenth.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    argv = sys.argv[1:]
    if {"-h", "--help"} & set(argv):
        print(usage.strip())
        sys.exit(0)
    ending: tuple[int, str] | None = None
    try:
        try:
            end_on_signals()
            main(argv)
            ending = 0, ""
        except BaseException as error:
            ending = _ending(error)
        _leave_on_signals(ending[0])
    except Interruption as late:  # between two lines of these
        ending = ending or _ending(late)
        _leave_on_signals(ending[0])
    code, message = ending
    _say(message, common=code in COMMON_CODES)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads abort some finished processes in the interpreter's own exit


class Runtime:
    """This process among all others of the job.

    Args:
        precision: `train.precision`.
        run_dir: taken for this job alone, and told how it ended; None where nothing is written.
        loader_threads: `loader.num_threads`.
        compression: `train.compression`.

    Raises:
        ConfigError: more processes than GPUs, or a precision that the device does not have.
        RunInUseError: another job owns the run directory (job/lock.py).
    """

    def __init__(
        self,
        precision: Precision = "auto",
        run_dir: Path | None = None,
        loader_threads: int | Literal["auto"] = "auto",
        compression: Literal["none", "bf16"] = "none",
    ) -> None:
        import torch
        from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

        from job.clock import clock_of

        local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        check_devices(local_world_size, num_gpus)
        self.precision, reason = choose_precision(precision, on_gpu=num_gpus > 0)
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self.threads, who_computes_where = settle(
            local_rank, local_world_size, loader_threads, on_gpu=num_gpus > 0
        )
        torch.set_num_threads(self.threads.model)
        self._accelerator = Accelerator(
            cpu=num_gpus == 0,  # without it, processes on CPUs would train apart, silently
            mixed_precision=self.precision if self.precision in ("bf16", "fp16") else "no",
            kwargs_handlers=[
                DistributedDataParallelKwargs(gradient_as_bucket_view=True),
                InitProcessGroupKwargs(timeout=TIMEOUT),
            ],
        )
        assert self._accelerator.num_processes == int(os.environ.get("WORLD_SIZE", "1"))
        _kept.append(torch.distributed.group.WORLD)  # None where there is one process
        self._compression = compression
        self.rank: int = self._accelerator.process_index
        self.world_size: int = self._accelerator.num_processes
        self.local_rank: int = self._accelerator.local_process_index
        self.local_world_size = local_world_size
        self.is_main: bool = self._accelerator.is_main_process
        self.is_local_main: bool = self._accelerator.is_local_main_process
        self.node = socket.gethostname() if self.world_size > local_world_size else None
        """Name of this machine, where there are several."""
        self.device: torch.device = self._accelerator.device
        self.dtype = torch.float64 if self.precision == "fp64" else torch.float32
        self.feature_dtype = torch.bfloat16 if self.precision == "bf16" else None
        """What the loader rounds features to; None leaves them as they are stored."""
        self.clock = clock_of(self.device)
        self._choices = (
            f"{device_name(self.device)}, {self.precision} ({reason}), {who_computes_where}"
        )
        self.stop_requested, self._asked_to_stop = False, 0.0
        self._watchdog: Watchdog | None = None
        self._run_dir, self._lock = run_dir, -1
        self._started = time.time()

    def __enter__(self) -> Self:
        try:
            self.on_main(self._own_run_dir)
        except BaseException:
            self._leave()
            raise
        if self.is_main:
            print(self._choices, file=sys.stderr)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        code, cause = _ending(error) if error else (0, "")
        self.unwatch()
        alone = isinstance(error, Interruption)  # nobody knows whether the others are, too
        only_remember()  # a signal changes nothing any more, unless the others leave for it
        try:
            if code in (0, StoppedError.exit_code) and not alone:
                self._meet()
        except BaseException as left:
            code, cause = _ending(left)
            raise
        finally:
            self._write_ending(code, cause)
        self._leave()

    def _write_ending(self, code: int, cause: str) -> None:
        if not self.is_main or self._run_dir is None:
            return
        record = {"code": code, "cause": cause, "started": self._started, "time": time.time()}
        with suppress(OSError):  # of a full disk: what has ended the job is what counts
            (self._run_dir / "exit.json").write_text(json.dumps(record, indent=2) + "\n")

    def watch(self, seconds: float) -> None:
        """End the job with 79 where nothing moves for so long, and say who is missing."""
        if self.world_size == 1:
            return
        from torch.distributed.distributed_c10d import _get_default_store

        store = _get_default_store().clone()  # type: ignore[attr-defined]
        self._watchdog = Watchdog(store, self.rank, self.world_size, seconds)
        self._watchdog.start(meet=lambda: self.sum_int(0))

    def unwatch(self) -> None:
        """Watch no longer: what comes now may take as long as the disk or MLflow need."""
        if self._watchdog is not None:
            self._watchdog.stop()

    def beat(self) -> None:
        """Say that this process goes on, where it exchanges nothing for a while."""
        if self._watchdog is not None:
            self._watchdog.beat()

    def defer_signals(self) -> None:
        """Let SIGTERM and SIGINT set `stop_requested`, so that what was done is saved first.

        A second one ends the process at once.
        """
        for name in SIGNALS:
            signal.signal(name, self._on_signal)

    def obey_signals(self) -> None:
        """Let SIGTERM and SIGINT end this process from now on: there is nothing to save.

        Raises:
            Interruption: there was one.
        """
        end_on_signals()
        if self.stop_requested:
            interrupt(signal.SIGTERM)

    def on_main(self, action: Callable[[], object]) -> None:
        """Run an action on the main process; where it fails, all processes end, none waits.

        Raises:
            UserError: of the action, or without words on the other processes.
        """
        self._agreed(action if self.is_main else None)

    def on_each_machine(self, action: Callable[[], object]) -> None:
        """Run an action on one process of each machine; where one fails, all processes end.

        Raises:
            UserError: as of `on_main`.
        """
        self._agreed(action if self.is_local_main else None)

    def _agreed(self, action: Callable[[], object] | None) -> None:
        failure: UserError | None = None
        try:
            if action is not None:
                action()
        except UserError as error:
            failure = error
        except OSError as error:
            failure = CannotWriteError(str(error))
        failures = self.sum_int(int(failure is not None))
        code = self.sum_int(failure.exit_code if failure else 0)
        if failure:
            raise failure
        if code:
            raise _silent(code // failures)

    def check_stop(self, doing: str) -> None:
        """End what is being done, on every process, where one was asked to stop.

        Raises:
            StoppedError: one was.
        """
        if self.sum_int(int(self.stop_requested)):
            raise StoppedError(f"stopped {doing}; the same command goes on")

    def all_agree(self, answer: bool) -> bool:
        """Return whether the answer is yes on every process."""
        return self.sum_int(int(answer)) == self.world_size

    def prepare(self, model: nn.Module, optimizer: Any) -> tuple[nn.Module, Any]:
        """Return model and optimizer for this device, precision and number of processes."""
        model, optimizer = self._accelerator.prepare(model.to(self.dtype), optimizer)
        if self._compression == "bf16" and self.world_size > 1:
            hook = cast(Callable[..., object], model.register_comm_hook)
            hook(None, lambda _, bucket: _mean_in_bf16(bucket))
        return model, optimizer

    def prepare_evaluation(self, model: nn.Module) -> nn.Module:
        """Return a model for this device and precision that is not going to be trained."""
        moved = model.to(self.device, self.dtype)
        prepared: nn.Module = self._accelerator.prepare_model(moved, evaluation_mode=True)
        return prepared

    def unwrap(self, model: nn.Module) -> nn.Module:
        """Return the model without what `prepare` added for other processes."""
        inner: nn.Module = self._accelerator.unwrap_model(model)
        return inner

    def accumulate(self, model: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Return the context of one microbatch; gradients meet in the last one of a step."""
        context: AbstractContextManager[Any]
        context = nullcontext() if last else self._accelerator.no_sync(model)
        return context

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which a prepared model computes."""
        context: AbstractContextManager[Any] = self._accelerator.autocast()
        return context

    @property
    def loss_scale(self) -> float:
        """What fp16 multiplies losses by, so that small gradients do not vanish; else 1."""
        scaler = self._accelerator.scaler
        return 1.0 if scaler is None else float(scaler.get_scale())

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss, scaled where the precision needs it.

        Processes exchange gradients while they compute them. What of that is left when the last one
        is computed counts as communication: until all others have come as far, and all have all.
        """
        if self.world_size > 1:
            loss.register_hook(self._in_backward)  # type: ignore[no-untyped-call]
        self._exchange()
        with self.clock("backward"):
            self._accelerator.backward(loss)

    def _in_backward(self, grad: Tensor) -> None:
        """Have the clock told when all gradients of this process are computed.

        Callbacks run then, in the order in which they were queued, and the first gradient comes
        long before the last one, at which DDP queues the one that waits for other processes.
        """
        import torch

        engine = torch.autograd.Variable._execution_engine  # type: ignore[attr-defined]
        engine.queue_callback(partial(self.clock.switch, "communication"))

    def clip(self, model: nn.Module, clip_norm: float | None) -> Tensor:
        """Scale the gradients down to a norm; return the norm they had, the same everywhere."""
        limit = float("inf") if clip_norm is None else clip_norm
        norm: Tensor = self._accelerator.clip_grad_norm_(model.parameters(), limit)
        return norm

    def skip_step(self) -> None:
        """Tell the loss scaling of fp16 that the gradient it has unscaled is not used."""
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.update()

    @property
    def scaler_state(self) -> dict[str, Any]:
        """State of the loss scaling of fp16, else nothing."""
        scaler = self._accelerator.scaler
        return scaler.state_dict() if scaler is not None else {}

    @scaler_state.setter
    def scaler_state(self, state: dict[str, Any]) -> None:
        if self._accelerator.scaler is not None and state:
            self._accelerator.scaler.load_state_dict(state)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.world_size == 1:
            return tensor
        self._exchange()
        with self.clock("communication"):
            total: Tensor = self._accelerator.reduce(tensor, "sum")
        self.beat()
        return total

    def sum_int(self, number: int) -> int:
        """Return the sum of a number over all processes."""
        import torch

        return int(self.sum(torch.tensor(number, device=self.device)))

    def gather(self, tensor: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Return the tensors of all processes, by rank; everybody knows all `sizes`."""
        if self.world_size == 1:
            return [tensor]
        from torch.distributed import all_gather

        padded = tensor.new_zeros(max(sizes))
        padded[: len(tensor)] = tensor
        everyone = [padded.new_empty(len(padded)) for _ in sizes]
        self._exchange()
        all_gather(everyone, padded)  # accelerate's takes one that NCCL's torch warns of
        self.beat()
        return [part[:size] for part, size in zip(everyone, sizes, strict=True)]

    def channel(self) -> Exchange:
        """Return a way to all other processes, for one thread, from memory of the CPU."""
        from torch.distributed import new_group

        group = new_group(backend="gloo")
        _kept.append(group)
        return Channel(self.rank, self.world_size, group)

    @cached_property
    def exchange(self) -> Exchange | None:
        """Return a way to all other processes in turn with all else, from memory of this device."""
        if self.world_size == 1:
            return None
        return Channel(self.rank, self.world_size, told=self._exchange)

    def _exchange(self) -> None:
        if self._watchdog is not None:
            self._watchdog.exchange()

    def _on_signal(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if not self.stop_requested:
            self.stop_requested, self._asked_to_stop = True, now
        elif not has_launcher() or now - self._asked_to_stop > ECHO_SECONDS:
            os._exit(128 + number)

    def _own_run_dir(self) -> None:
        if self._run_dir is not None:
            self._lock = lock.own(self._run_dir)

    def _meet(self) -> None:
        """Wait until all processes have come as far: they leave together."""
        if self.world_size > 1:
            self._accelerator.wait_for_everyone()

    def _leave(self) -> None:
        if self.world_size > 1:
            self._accelerator.end_training()


class Channel:
    """Carries rows from each process to each other.

    Args:
        rank: of this process.
        world_size: processes.
        group: of them, beside all else that they exchange; default: in turn with it.
        told: is told that this process has come to an exchange.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        group: ProcessGroup | None = None,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self.rank, self.world_size, self._group, self._told = rank, world_size, group, told

    def all_to_all(self, rows: Tensor, send: list[int], receive: list[int]) -> Tensor:
        """Send the first `send[0]` rows to process 0, and so on; return what comes, by process."""
        from torch.distributed import all_to_all_single

        self._told()
        received = rows.new_empty(sum(receive), *rows.shape[1:])
        all_to_all_single(received, rows.contiguous(), receive, send, group=self._group)
        return received


def _mean_in_bf16(bucket: GradBucket) -> Future[Tensor]:
    """Exchange a bucket of gradients in bfloat16; torch's own hook refuses processes on CPUs."""
    import torch
    from torch.distributed import all_reduce, get_world_size

    gradient = bucket.buffer()
    rounded = gradient.to(torch.bfloat16).div_(get_world_size())
    mean: Future[Tensor] = all_reduce(rounded, async_op=True).get_future()
    return mean.then(lambda done: gradient.copy_(done.value()[0]))


def _leave_on_signals(code: int) -> None:
    """Let signals end this process as it ends anyway: torchrun ends all as soon as one has gone."""
    for name in SIGNALS:
        signal.signal(name, lambda *_: os._exit(code))


def _say(message: str, *, common: bool) -> None:
    """Print how this process ended.

    What all processes find (a wrong configuration, say) is said once a machine. torchrun ends all
    as soon as one has gone, so those that are silent wait for the one that speaks.
    """
    if not message:
        return
    rank = os.environ.get("RANK", "0")
    if common and os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(SILENT_SECONDS)
    else:
        print(message if rank == "0" else f"[rank {rank}] {message}", file=sys.stderr)


def _ending(error: BaseException) -> tuple[int, str]:
    """Return the exit code of an error and what to tell people about it, without secrets."""
    code, words = _told(error)
    return code, without_secrets(words)


def _told(error: BaseException) -> tuple[int, str]:
    match error:
        case SystemExit():
            return (error.code if isinstance(error.code, int) else 1), ""
        case UserError():
            lines = str(error)
            return error.exit_code, f"error: {lines}" if lines else ""
        case Interruption():
            return error.exit_code, str(error)
        case OSError(errno=number) if number in CANNOT_WRITE:
            return CannotWriteError.exit_code, f"error: {error}"
    if (interruption := asked_to_end()) is not None:
        return interruption.exit_code, str(interruption)
    return 70, "".join(traceback.format_exception(error)).rstrip()


def _silent(code: int) -> UserError:
    """Return an error without words, for a process whose main process has said them."""
    error = UserError()
    error.exit_code = code  # type: ignore[misc]
    return error
