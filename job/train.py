"""Train one graph network on many tasks: build each part in the order of the data, then loop."""

from contextlib import closing
from dataclasses import replace
from itertools import islice

from job.config import JobConfig, load, tree_of
from job.replay import asked, replay
from job.runtime import Runtime, StoppedError, run_command

USAGE = """
usage: torchrun --nproc_per_node=N job/train.py [CONFIG.yaml] [key.path=value ...]
       python job/train.py [CONFIG.yaml] [key.path=value ...]        (one process)
       ... replay=STEP [replay_out=DIR]                              (look at a step again)

Train one graph network on many tasks. Without a CONFIG: job/configs/quickstart.yaml.
The same command continues a run that was stopped; run.name=... starts another one beside it.

examples:
  python job/train.py job/configs/smoke.yaml
  torchrun --nproc_per_node=4 job/train.py job/configs/cora_mimo.yaml optim.lr=3e-3
  python job/train.py tasks.churn=null run.name=no_churn
  python job/train.py runs/smoke/config.yaml replay=120
"""


def main(argv: list[str]) -> None:
    """Check the configuration, then train, or make one step of a training again."""
    argv, wanted = asked(argv)
    config = load(argv)
    if wanted is not None:
        replay(config, wanted)
        return
    options, threads = config.train, config.loader.num_threads
    with Runtime(options.precision, config.run.dir, threads, options.compression) as runtime:
        train(config, runtime)


def train(config: JobConfig, runtime: Runtime) -> None:
    """Train, evaluate, keep the best: the whole job."""
    import torch  # all this takes seconds to import; a wrong configuration has been refused by now

    from job import rundir
    from job.allocator import keep_freed_memory
    from job.blame import blamed
    from job.checkpoint import Checkpoints
    from job.conflicts import draw_or_say
    from job.conversion import ConversionProgress
    from job.diagnosis import diagnose, write_or_say
    from job.evaluation import Evaluation
    from job.initial import begin_with, set_up
    from job.meter import Meter
    from job.mirror import mirror, tell
    from job.mlflow_machines import Watch
    from job.optim import build_optimizer, learning_rate
    from job.placement import placed, sharers
    from job.plan import describe_parameters, describe_plan, num_parameters
    from job.profiling import profiled
    from job.replicas import check_replicas
    from job.results import show, summarized
    from job.shards import share_out
    from job.state import TrainState, read_weights
    from job.step import Stepper, warm_up
    from job.track import open_tracker
    from mtl.graphs.cache import open_graph
    from mtl.loaders import message_types
    from mtl.loaders.stream import build_stream
    from mtl.models.multitask import build_model
    from mtl.tasks.bound import bind_tasks

    mirror(config.run.dir, runtime)
    config = rundir.resolve(config, runtime.world_size)
    num_hops, seed = config.model.encoder.num_hops, config.run.seed
    with ConversionProgress() as report:
        store = open_graph(config.graph, report)
    share_out(store, config.graph, runtime)
    config = placed(config, store, runtime, sharers(runtime))
    tasks = bind_tasks(config.tasks, store)
    loader = replace(config.loader, num_threads=runtime.threads.loader)
    stream = build_stream(
        loader,
        store,
        tasks,
        num_hops=num_hops,
        seed=seed,
        dtype=runtime.feature_dtype,
        edge_features=config.model.encoder.reads_edge_features,
        device=runtime.device,
        exchange=runtime.exchange,
    )
    evaluation = Evaluation(config, store, tasks, runtime)
    torch.manual_seed(seed)
    edge_types = message_types(loader.num_neighbors, store.edge_types)
    module = build_model(config.model, store, tasks, edge_types)
    set_up(module, config)
    keep_freed_memory()  # from here on: what the start needed for a moment has gone back
    optimizer = build_optimizer(config.optim, module, runtime.device)
    model, optimizer = runtime.prepare(module, optimizer)
    warm_up(model, stream.loader([None]).to(runtime.device), runtime)

    order, policy = stream.order, config.train.on_nonfinite
    stepper = Stepper(model, tasks, config.balancing, runtime, stream, seed, policy)
    memory = stepper.choose_memory()
    state = TrainState(model, optimizer, runtime, stepper.balancer)
    progress, num_steps = state.progress, config.train.epochs * order.steps_per_epoch
    checkpoints = Checkpoints(
        config.run.dir, config.checkpoint, store.fingerprint, beat=runtime.beat
    )
    resumed = checkpoints.resume(state)
    if config.model.init_from is not None and not resumed:
        begin_with(module, config.model.init_from, runtime)
    runtime.on_main(lambda: rundir.write_config(config, resumes=resumed))
    runtime.on_main(lambda: rundir.keep_schema(config.run.dir, store.folder))
    patience = config.evaluate.patience
    if runtime.all_agree(rundir.is_finished(config.run.dir)) and progress.is_over(
        num_steps, patience
    ):
        runtime.on_main(lambda: rundir.say_finished(config.run.dir))
        return

    tracker = open_tracker(
        config.track,
        config.run.dir,
        config.run.name,
        is_main=runtime.is_main,
        total_steps=num_steps,
        world_size=runtime.world_size,
        node=runtime.node,
    )
    watch = Watch(config.track.mlflow, runtime)
    first, facts = progress.step, (tree_of(config), store.card(), rundir.tags(runtime))
    runtime.on_main(lambda: tracker.begin(*facts, first, evaluated=not progress.evaluation_due))
    watch.start(tell(tracker.run_id, 0, runtime))
    sizes = num_parameters(module)
    tracker.message(describe_plan(order, tasks))
    tracker.message(describe_parameters(sizes))
    if memory:
        tracker.message(memory)
    meter, clock = Meter(runtime, list(tasks), stops=policy == "stop"), runtime.clock
    with (
        summarized(tracker, progress, meter, runtime) as summary,
        blamed(config, store, stream, stepper.agreement.recent, meter, runtime),
        profiled(config.train.profile, config.run.dir, runtime, tracker.message) as end_step,
        closing(checkpoints),
        closing(stream.steps(first, num_steps, runtime.rank, runtime.world_size)) as steps,
    ):
        runtime.defer_signals()
        runtime.watch(config.train.timeout_seconds)
        while not progress.is_over(num_steps, patience):
            epoch, save = progress.epoch(order.steps_per_epoch), progress.evaluation_due
            epoch_end = epoch * order.steps_per_epoch
            for step, microbatches in islice(steps, epoch_end - progress.step):
                optimizer.param_groups[0]["lr"] = learning_rate(config.optim, step, num_steps)
                for batch, losses in stepper.backward(clock.each("data", microbatches), step):
                    meter.add(losses, batch)
                with clock("optimizer"):
                    norm = runtime.clip(model, config.optim.clip_norm)
                    if stepper.agreement.allows(norm):
                        optimizer.step()
                    else:
                        runtime.skip_step()
                    optimizer.zero_grad()
                stepper.look_back()
                progress.step = step + 1
                check_replicas(module, runtime, progress.step)
                meter.close(progress.step, norm, order.size(step))
                tracker.step(progress.step, order.size(step))
                if progress.step % config.track.every_steps == 0:
                    tracker.log(meter.record() | stepper.agreement.record(), progress.step)
                end_step()
                if meter.stop:
                    break
            meter.read()  # all of it is finite, or nothing is saved
            if progress.step == epoch_end:
                save = save or epoch % config.checkpoint.every_epochs == 0
                last, every = progress.step == num_steps, config.evaluate.every_epochs
                progress.evaluation_due = last or epoch % every == 0
            if progress.evaluation_due and not meter.stop:
                if results := evaluation.run(model, "val"):
                    save = progress.update(evaluation.score(results), evaluation.sign) or save
                    tracker.log(evaluation.flat("val", results), progress.step)
                else:
                    meter.stop = True
            if save or meter.stop or progress.is_over(num_steps, patience):
                with clock("checkpoint"):
                    runtime.on_main(lambda: checkpoints.save(state))
            if meter.stop:
                runtime.on_main(lambda: checkpoints.check_saved(progress.step))
                raise StoppedError(f"stopped at step {progress.step}; the same command goes on")

        runtime.on_main(checkpoints.wait)
        runtime.obey_signals()
        if (best := checkpoints.best_saved(runtime, progress.best_step)) is not None:
            read_weights(runtime.unwrap(model), best)
        diagnoses = diagnose(tasks)
        results = evaluation.summary(model, ("val", "test"), diagnoses)
        summary.update(results, num_parameters=sizes)
        if rest := meter.end() | stepper.agreement.record():
            tracker.log(rest, progress.step)
        runtime.on_main(lambda: write_or_say(config.run.dir, diagnoses, tracker.message))
        runtime.on_main(lambda: draw_or_say(config.run.dir, tracker.message))
    runtime.on_main(lambda: show(summary, "test"))
    if best is None:
        runtime.on_main(lambda: checkpoints.check_saved(progress.step))


if __name__ == "__main__":
    run_command(main, USAGE)
