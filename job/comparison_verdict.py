"""compare: one or two sentences: which run is best, by what, and how sure that is."""

from collections.abc import Sequence

from job.comparison import GAIN, MEAN_GAIN, Gain, Row, task_of
from job.comparison_gain import MIN_PAIRS, by_seed, headlines, judge
from job.comparison_table import percent, sureness

LEVEL = 0.05


def verdict(rows: Sequence[Row]) -> str:
    """Say which row is best, over the baseline where there is one, and whether that is chance."""
    baseline = [row for row in rows if row.is_baseline]
    others = [row for row in rows if not row.is_baseline]
    words = over_baseline(others, baseline) if baseline else over_guessing(rows)
    bad = [f"{row.name} ({row.status})" for row in rows if any(not ended(r) for r in row.members)]
    if bad:
        words += f"\nNot all of these runs finished: {', '.join(bad[:10])}"
        words += f" and {len(bad) - 10} more." if len(bad) > 10 else "."
    return words


def ended(run: Row) -> bool:
    """Return whether a single run came to its end."""
    return run.status == "finished"


def over_baseline(others: Sequence[Row], baseline: Sequence[Row]) -> str:
    """Say which row gains most over the baseline."""
    name = " and ".join(row.name for row in baseline)
    compared = [row for row in others if GAIN in row.gains]
    if not compared:
        return f"Nothing can be compared with {name}: no other run was tested on a task of it."
    top = max(compared, key=lambda row: row.gains[GAIN].value)
    gain = top.gains[GAIN]
    tasks = {task: gain.value for task, gain in top.gains.items() if task != GAIN}
    words = (
        f"{top.name} is the best: Δm {percent(gain.value)}, its mean relative gain over {name} in "
        f"{count(len(tasks), 'task')}."
        if gain.value > 0
        else f"Nothing beats {name}: the best of the others, {top.name}, has a mean relative gain "
        f"of Δm {percent(gain.value)} in {count(len(tasks), 'task')}."
    )
    words += " " + how_sure(gain, len(compared), "the difference")
    if len(tasks) > 1:
        most, least = max(tasks, key=tasks.__getitem__), min(tasks, key=tasks.__getitem__)
        words += f" Its best task is {most} ({percent(tasks[most])}), its worst {least} "
        words += f"({percent(tasks[least])})."
    return words


def over_guessing(rows: Sequence[Row]) -> str:
    """Say which row is best by the mean gain over guessing."""
    tested = [row for row in rows if MEAN_GAIN in row.metrics]
    if not tested:
        return "No run was tested yet: the numbers are of the validation split."
    if len(tested) == 1:
        return (
            f"Only {tested[0].name} was tested: its mean gain over guessing (test/mean_gain) is "
            f"{tested[0].metrics[MEAN_GAIN]:.3f}."
        )
    if len({frozenset(map(task_of, headlines(row))) for row in tested}) > 1:
        return (
            "The runs have different tasks, so no mean over tasks compares them: look at each "
            "task's column, or name a --baseline, over whose tasks the gain is taken."
        )
    top, second, *_ = ranked = sorted(tested, key=lambda row: -row.metrics[MEAN_GAIN])
    gains = [difference(top, row) for row in ranked[1:]]
    if gains[0].value == 0:
        return f"{top.name} and {second.name} have the same mean gain over guessing."
    judge(gains)
    return (
        f"{top.name} is the best by its mean gain over guessing (test/mean_gain): "
        f"{top.metrics[MEAN_GAIN]:.3f}, before {second.name} with {second.metrics[MEAN_GAIN]:.3f}. "
        f"{how_sure(gains[0], len(gains), 'the order of these two')} "
        "Name a --baseline to see gains by task."
    )


def difference(top: Row, row: Row) -> Gain:
    """Return how much more mean gain one row has than another."""
    mine, theirs = by_seed([top], MEAN_GAIN), by_seed([row], MEAN_GAIN)
    pairs = {seed: mine[seed][0] - theirs[seed][0] for seed in mine if seed in theirs}
    return Gain(value=top.metrics[MEAN_GAIN] - row.metrics[MEAN_GAIN], by_seed=pairs)


def how_sure(gain: Gain, num_compared: int, what: str) -> str:
    """Say whether a difference may be chance."""
    seeds = count(len(gain.by_seed), "seed")
    if len(gain.by_seed) < MIN_PAIRS:
        return f"{seeds.capitalize()} in common: too few to tell {what} from chance."
    if gain.p_holm is None:
        return f"Over {seeds} in common {what} is always the same."
    holm = f", after Holm's correction over {num_compared}" if num_compared > 1 else ""
    sure = f"paired t-test over {seeds}{holm}: {sureness(gain)}"
    if gain.p_holm < LEVEL:
        return f"That is more than chance ({sure})."
    return f"That may be chance ({sure})."


def count(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number} {noun}" + "s" * (number != 1)
