"""step: which operations some steps spend their time on: a trace of torch's profiler."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, record_function, schedule

from job.runtime import Runtime

SKIPPED_STEPS, WARM_UP_STEPS = 3, 2
NUM_ROWS = 40


@contextmanager
def profiled(
    num_steps: int | None, run_dir: Path, runtime: Runtime, say: Callable[[str], None]
) -> Iterator[Callable[[], object]]:
    """Record some steps after the first five; give what every step calls at its end.

    Each process writes `RUN_DIR/profile/rankN.json.gz` as soon as they are done, or when training
    ends before. The clock's parts stand in it. Numbers stay the same, steps are slower.

    Args:
        num_steps: `train.profile`; None records nothing.
        run_dir: made where it is missing, as it may be on other machines.
        runtime: which process this is; its clock names the parts.
        say: shows people a line.
    """
    if num_steps is None:
        yield lambda: None
        return
    folder, written = run_dir / "profile", False

    def write(profiler: profile) -> None:
        nonlocal written
        written = True
        _write(profiler, folder, runtime)
        say(
            f"profile: {folder}/rank*.json.gz (open them in https://ui.perfetto.dev or "
            f"chrome://tracing) and rank*.txt, the operations that take most"
        )

    activities = [ProfilerActivity.CPU]
    if runtime.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    when = schedule(wait=SKIPPED_STEPS, warmup=WARM_UP_STEPS, active=num_steps, repeat=1)
    runtime.clock.annotate = record_function
    with profile(activities=activities, schedule=when, on_trace_ready=write) as profiler:
        yield profiler.step
    if not written:
        first = SKIPPED_STEPS + WARM_UP_STEPS
        say(f"profile: not written, training ended before step {first} of this start")


def _write(profiler: profile, folder: Path, runtime: Runtime) -> None:
    """Write the trace and the table of one process."""
    folder.mkdir(parents=True, exist_ok=True)
    trace = folder / f"rank{runtime.rank}.json.gz"
    aside = folder / f".{trace.name}"
    profiler.export_chrome_trace(str(aside))
    aside.replace(trace)
    order = "self_cuda_time_total" if runtime.device.type == "cuda" else "self_cpu_time_total"
    table = profiler.key_averages().table(sort_by=order, row_limit=NUM_ROWS)
    trace.with_name(f"rank{runtime.rank}.txt").write_text(table + "\n", encoding="utf-8")
