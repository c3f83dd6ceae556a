"""replay: the training as it was before a step, then that step."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from job.checkpoint_files import folders, step_of, verify
from job.config import JobConfig
from job.conversion import ConversionProgress
from job.initial import begin_with, set_up
from job.meter import Meter
from job.nonfinite import BrokenStepError
from job.optim import build_optimizer, learning_rate
from job.placement import placed
from job.rundir import as_recorded
from job.runtime import Runtime
from job.state import TrainState
from job.step import Stepper, warm_up
from mtl.errors import ConfigError
from mtl.graphs.cache import open_graph
from mtl.graphs.schema import read_schema
from mtl.loaders import message_types
from mtl.loaders.stream import build_stream
from mtl.models.multitask import build_model
from mtl.tasks.bound import bind_tasks


@dataclass(frozen=True)
class Made:
    """What a step has told about itself, of all processes together.

    Attributes:
        metrics: as in metrics.jsonl; nothing where the step could not be made.
        fault: what is no finite number, where that is known before the backward.
    """

    metrics: dict[str, float]
    fault: str = ""


class Again:
    """A training that is made again: built as job/train.py builds it, in its order.

    Args:
        config: the configuration.
        runtime: of these processes, as many as you like; as many as the run's give its very bits.

    Raises:
        ConfigError: nothing was trained there, or with another configuration or graph.
    """

    def __init__(self, config: JobConfig, runtime: Runtime) -> None:
        self.config, self.runtime = as_recorded(config), runtime
        seed = config.run.seed
        with ConversionProgress() as report:
            self.store = store = open_graph(config.graph, report)
        self.config = config = placed(self.config, store, runtime)
        check_graph(config.run.dir, store.fingerprint)
        self.tasks = bind_tasks(config.tasks, store)
        loader = replace(config.loader, num_threads=runtime.threads.loader)
        self.stream = build_stream(
            loader,
            store,
            self.tasks,
            num_hops=config.model.encoder.num_hops,
            seed=seed,
            dtype=runtime.feature_dtype,
            edge_features=config.model.encoder.reads_edge_features,
            device=runtime.device,
        )
        torch.manual_seed(seed)
        edge_types = message_types(loader.num_neighbors, store.edge_types)
        self.module = build_model(config.model, store, self.tasks, edge_types)
        set_up(self.module, config)
        optimizer = build_optimizer(config.optim, self.module, runtime.device)
        self.model, self.optimizer = runtime.prepare(self.module, optimizer)
        warm_up(self.model, self.stream.loader([None]).to(runtime.device), runtime)
        policy = config.train.on_nonfinite
        self.stepper = Stepper(
            self.model, self.tasks, config.balancing, runtime, self.stream, seed, policy
        )
        self.stepper.choose_memory()

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.config.train.epochs * self.stream.order.steps_per_epoch

    def check(self, step: int) -> None:
        """Check that the training has such a step.

        Raises:
            ConfigError: it has not.
        """
        if step > self.num_steps:
            raise ConfigError(
                f"replay: expected a step from 1 to {self.num_steps} ({self.config.train.epochs} "
                f"epochs of {self.stream.order.steps_per_epoch}), found {step}"
            )

    def go_before(self, step: int) -> int | None:
        """Make all steps before this one; return the step of the checkpoint that they go on from.

        Raises:
            ConfigError: the checkpoint has been removed meanwhile, by the run itself.
            BrokenStepError: one of them is broken already.
        """
        checkpoint = self._start(step)
        first = checkpoint or 0
        if self.runtime.is_main:
            print(f"{step - 1 - first:,} steps to make before it", file=sys.stderr, flush=True)
        ranks = self.runtime.rank, self.runtime.world_size
        for number, microbatches in self.stream.steps(first, step - 1, *ranks):
            rate = learning_rate(self.config.optim, number, self.num_steps)
            self.optimizer.param_groups[0]["lr"] = rate
            for _ in self.stepper.backward(microbatches, number):
                pass
            norm = self.runtime.clip(self.model, self.config.optim.clip_norm)
            if self.stepper.agreement.allows(norm):
                self.optimizer.step()
            else:
                self.runtime.skip_step()
            self.optimizer.zero_grad()
            self.stepper.look_back()
        return checkpoint

    def make(self, step: int) -> Made:
        """Make the losses and the gradient of a step, and leave the weights as they are."""
        meter = Meter(self.runtime, list(self.tasks), stops=False)
        ranks = self.runtime.rank, self.runtime.world_size
        ((number, microbatches),) = self.stream.steps(step - 1, step, *ranks)
        self.stepper.agreement.record()
        try:
            for batch, losses in self.stepper.backward(microbatches, number):
                meter.add(losses, batch)
        except BrokenStepError as error:
            return Made({}, error.fault)
        norm = self.runtime.clip(self.model, None)
        meter.close(step, norm, self.stream.order.size(number))
        return Made(meter.sums() | self.stepper.agreement.record())

    def _start(self, step: int) -> int | None:
        """Take the newest whole checkpoint before a step, or the weights that the run began with.

        The main process chooses, so that all processes take the same one.
        """
        chosen: list[int] = []
        self.runtime.on_main(lambda: chosen.extend(newest_before(self.config.run.dir, step)))
        found = self.runtime.sum_int(sum(chosen))
        if found:
            self._read(self.config.run.dir / "checkpoints" / f"step_{found:08d}")
            return found
        if self.config.model.init_from is not None:
            begin_with(self.module, self.config.model.init_from, self.runtime)
        return None

    def _read(self, folder: Path) -> None:
        """Take what a checkpoint holds; a run that goes on may remove it at any moment."""
        there, balancer = True, self.stepper.balancer
        try:
            TrainState(self.model, self.optimizer, self.runtime, balancer).read(folder)
        except OSError:
            there = False
        if not self.runtime.all_agree(there):
            raise ConfigError(
                f"replay: {folder} was removed while it was read (try again), or is not on all "
                "machines"
            )


def newest_before(run_dir: Path, step: int) -> list[int]:
    """Return the step of the newest whole checkpoint before a step, if there is one."""
    for folder in reversed(folders(run_dir / "checkpoints")):
        if step_of(folder) < step:
            fault = verify(folder)
            if fault is None:
                return [step_of(folder)]
            print(f"checkpoint {folder} is damaged ({fault})", file=sys.stderr, flush=True)
    return []


def check_graph(run_dir: Path, fingerprint: str) -> None:
    """Check that a graph is the one of a run.

    Raises:
        ConfigError: it is another one.
    """
    trained_on = read_schema(run_dir).fingerprint
    if trained_on != fingerprint:
        raise ConfigError(
            f"graph: {run_dir} was trained on another graph (its fingerprint is "
            f"{trained_on[:12]}, this one's {fingerprint[:12]}); take that graph"
        )
