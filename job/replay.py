"""replay: one step of a training once more, for people to look at: batch, losses, gradients.

The run directory is only read, and its lock not asked for: a run that goes on may be looked at.
"""

from dataclasses import dataclass
from pathlib import Path

from job.config import JobConfig
from job.runtime import Runtime
from mtl.errors import ConfigError

OWN = ("replay", "replay_out")


@dataclass(frozen=True)
class Wanted:
    """What is to be replayed.

    Attributes:
        step: its number as in metrics.jsonl: the first optimizer step is 1.
        out: folder for what a notebook reads.
    """

    step: int
    out: Path


def asked(argv: list[str]) -> tuple[list[str], Wanted | None]:
    """Return the arguments that are the configuration's, and what is to be replayed, if anything.

    Raises:
        ConfigError: that is no step.
    """
    starts = tuple(f"{name}=" for name in OWN)
    own = dict(arg.split("=", 1) for arg in argv if arg.startswith(starts))
    if not own:
        return argv, None
    step = own.get("replay", "nothing")
    if not step.isdecimal() or int(step) == 0:
        raise ConfigError(f"replay: expected a step, the first is 1, found {step}")
    out = Path(own.get("replay_out", f"replay_{int(step)}"))
    return [arg for arg in argv if not arg.startswith(starts)], Wanted(int(step), out)


def replay(config: JobConfig, wanted: Wanted) -> None:
    """Make a step again, from the newest whole checkpoint before it; show and write what is seen.

    Raises:
        ConfigError: there is no such run or step, or it is of another configuration or graph.
    """
    from job.replay_card import describe
    from job.replay_files import write
    from job.replay_look import look
    from job.replay_run import Again
    from job.replay_table import show

    with Runtime(config.train.precision, loader_threads=config.loader.num_threads) as runtime:
        again = Again(config, runtime)
        again.check(wanted.step)
        runtime.on_main(lambda: wanted.out.mkdir(parents=True, exist_ok=True))
        checkpoint = again.go_before(wanted.step)
        made = again.make(wanted.step)

        def tell() -> None:  # every microbatch can be made anywhere: no other process is asked
            seen = look(again, wanted.step)
            card = describe(again, made, seen, wanted.step, checkpoint)
            write(wanted.out, card, seen)
            show(card, wanted.out)

        runtime.on_main(tell)
