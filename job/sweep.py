"""Train a configuration with many values of some of its options, then compare the runs: a sweep."""

import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from job.arguments import Parser, positive
from job.config import load
from job.progress import clock
from job.runtime import StoppedError, run_command
from mtl.errors import ConfigError, UserError

if TYPE_CHECKING:
    from job.sweep_slots import Slot, Training
    from job.sweep_trials import Run, Trials

USAGE = """
usage: python job/sweep.py CONFIG.yaml SPACE.yaml [options] [key.path=value ...]

Train CONFIG.yaml once for each trial that SPACE.yaml asks for (and each of its seeds), then compare
the runs. The same command goes on with a sweep that was stopped.

  --dir DIR         folder of the sweep; default sweeps/NAME, where NAME is run.name
  --parallel N      trainings at a time; default: as many as there are GPUs for, one on the CPU
  --nproc N         processes of each training; default 1
  --dry-run         print the trainings that are left and start none
  key.path=value    changes CONFIG.yaml, as in training

SPACE.yaml:
  method: grid                   # or random, or tpe (Optuna), both with `trials: 20`
  seeds: [0, 1, 2]               # of each trial, whose score is the mean over them; default [0]
  score: mean_gain               # or TASK/METRIC of the validation split; default evaluate.select
  space:
    balancing.type: [equal, uncertainty, upgrad]
    model.sharing: [{type: hard}, {type: mmoe, num_experts: 4}]
    model.dim: {low: 64, high: 256, step: 64}
    optim.lr: {low: 1e-4, high: 1e-2, log: true}        # for random and tpe
"""
POLL_SECONDS = 0.1


class TrainingsFailedError(UserError):
    """Some trainings of a sweep failed, and not because their numbers grew out of bounds."""

    exit_code = 70


def main(argv: list[str]) -> None:
    """Check configuration and space, train, compare."""
    usage = USAGE.strip().partition("\n")[0].removeprefix("usage: ")
    parser = Parser(usage=usage, add_help=False, allow_abbrev=False)
    for option, kind in (("--dir", Path), ("--parallel", positive), ("--nproc", positive)):
        parser.add_argument(option, type=kind)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("words", nargs="*")
    args = parser.parse_intermixed_args(argv)
    files = [word for word in args.words if "=" not in word]
    if len(files) != 2:
        raise ConfigError(
            f"expected CONFIG.yaml and SPACE.yaml, found {' '.join(files) or 'no file'}"
        )
    given = [files[0], *(word for word in args.words if "=" in word)]
    from job.sweep_slots import slots
    from job.sweep_space import read_sweep
    from job.sweep_trials import Trials

    config = load(given)
    folder = args.dir or Path("sweeps") / config.run.name
    trials = Trials(config, given, read_sweep(Path(files[1])), folder)
    if args.dry_run:
        for run in trials.waiting():
            print("python job/train.py", shlex.join(trials.arguments(run)))
        return
    nproc = args.nproc or 1
    sweep(trials, slots(args.parallel, nproc), nproc)


def sweep(trials: "Trials", slots: Sequence["Slot"], nproc: int) -> None:
    """Train all that is not trained yet, then show what came out.

    Raises:
        StoppedError: it was asked to stop; the same command goes on.
        TrainingsFailedError: some trainings failed; those that did not are compared.
    """
    from job.sweep_results import compared, show
    from job.sweep_tracking import catch_up, close_parent, open_parent

    trials.write()
    _say(open_parent(trials))
    with _stopping() as stopping:
        _train(trials, slots, nproc, stopping)
        if stopping():
            raise StoppedError(f"{trials.folder}: stopped; the same command goes on")
    show(trials)
    catch_up(trials)
    page = compared(trials)
    _say(close_parent(trials, page))
    if page is not None:
        print(f"all runs side by side: {page}")
    failed = [f"{run}: {code}" for run, code in trials.failed.items()]
    if failed:
        raise TrainingsFailedError(
            f"{len(failed)} of {trials.num_runs} trainings failed (exit codes: "
            f"{', '.join(failed)}); what they said is in {trials.folder}/*/console.log; the same "
            "command tries again"
        )


def _train(
    trials: "Trials", slots: Sequence["Slot"], nproc: int, stopping: Callable[[], int]
) -> None:
    """Keep every slot at work until nothing is left; asked to stop, let all of them save."""
    from job.sweep_slots import Training

    free, at_work = list(slots), {}
    waiting, start = trials.waiting(), time.monotonic()
    first = trials.num_done()
    try:
        while True:
            while free and not stopping() and (run := next(waiting, None)) is not None:
                slot = free.pop()
                at_work[run] = Training(trials.arguments(run), run.dir, nproc, slot)
            if not at_work:
                return
            time.sleep(POLL_SECONDS)
            for run, training in list(at_work.items()):
                if stopping() == 1:
                    training.stop()
                if (code := training.exit_code) is not None:
                    free.append(at_work.pop(run).slot)
                    _note(trials, run, training, code)
                    _say(_pace(trials, first, start))
            if stopping() > 1:
                return
    finally:
        for training in at_work.values():
            training.kill()


def _note(trials: "Trials", run: "Run", training: "Training", code: int) -> None:
    """Say how a training ended, and remember if it failed."""
    from job.sweep_space import assignments
    from job.sweep_trials import DIVERGED

    words = " ".join(assignments(trials.values(run.number)))
    if code == 0:
        value = trials.score_of(run)
        text = "undefined" if value is None else f"{value:.4g}"
        return _say(f"{run}: val/{trials.score} {text}  {words}")
    if code == StoppedError.exit_code:
        return _say(f"{run}: stopped, saved  {words}")
    if code != DIVERGED:
        trials.failed[run] = code
    last = "".join(f"\n    {line}" for line in training.last_words())
    return _say(f"{run}: failed with exit code {code}  {words}{last}")


def _pace(trials: "Trials", first: int, start: float) -> str:
    """Say how many trainings are done and how long the rest may take."""
    done, total = trials.num_done(), trials.num_runs
    left = (total - done) * (time.monotonic() - start) / max(done - first, 1)
    best = trials.best()
    words = f", best so far: trial {best:03} ({trials.mean(best):.4g})" if best is not None else ""
    return f"[{done}/{total}]{words}" + (f", about {clock(left)} left" if done < total else "")


@contextmanager
def _stopping() -> Iterator[Callable[[], int]]:
    """Count SIGINT and SIGTERM instead of dying of them."""
    received: list[int] = []
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(name, lambda number, _: received.append(number)) for name in names]
    try:
        yield lambda: len(received)
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def _say(text: str | None) -> None:
    if text is not None:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main, USAGE)
