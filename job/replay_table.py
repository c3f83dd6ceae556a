"""replay: what was seen of a step, for people to read."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from job.replay_card import Card
from job.replay_files import CARD, TENSORS

FEW = 5
"""Names that a line shows."""


def show(card: Card, out: Path, console: Console | None = None) -> None:
    """Print where the step comes from, what it holds, its tasks, and what is not finite."""
    console = console or Console()

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    start = "the first weights"
    if card["checkpoint"] is not None:
        start = f"the checkpoint of step {card['checkpoint']}"
    say(
        f"step {card['step']}, epoch {card['epoch']} of {card['run_dir']}, from {start}, "
        f"on {card['processes']} process{'es' * (card['processes'] > 1)} in {card['precision']}"
    )
    for one in card["microbatches"]:
        seeds = {group: found["count"] for group, found in one["seeds"].items()}
        say(
            f"  microbatch {one['number']}: seeds: {counted(seeds)}; nodes: "
            f"{counted(one['nodes'])}; edges: {counted(one['edges'])}"
        )
    console.print(of_tasks(card))
    if card["cosines"]:
        console.print(of_cosines(card))
    say(f"gradient of all tasks together: {number(card['gradient_norm'])}; {compared(card)}")
    for line in not_finite(card):
        say(line)
    say(f"{out / CARD}: this and all ids; {out / TENSORS}: batch, outputs, losses, gradients")


def of_tasks(card: Card) -> Table:
    """Return labels, loss and gradient of each task."""
    table = Table(title="tasks", title_justify="left")
    table.add_column("task", min_width=max(map(len, card["tasks"])))
    weights = any(task["weight"] is not None for task in card["tasks"].values())
    places = list(next(iter(card["tasks"].values()))["gradient_norm"])
    columns = ["labels", "loss", *["weight"] * weights]
    columns += [f"gradient at\n{place.replace('_', ' ')}" for place in places]
    for column in (*columns, "finite"):
        width = max(map(len, column.split("\n")))  # names whole, on narrow terminals too
        table.add_column(column, justify="right", min_width=width)
    for name, task in card["tasks"].items():
        cells = [f"{task['labels']:,.0f}", number(task["loss"])]
        cells += [number(task["weight"])] * weights
        cells += [number(task["gradient_norm"][place]) for place in places]
        good = isinstance(task["loss"], float) and not task["broken_gradients"]
        table.add_row(name, *cells, "yes" if good else "NO")
    return table


def of_cosines(card: Card) -> Table:
    """Return how the gradients of each two tasks agree."""
    names, cosines = list(card["tasks"]), card["cosines"]
    table = Table(title="cosine of the gradients at the shared weights", title_justify="left")
    table.add_column("", min_width=max(map(len, names)))
    for name in names:
        table.add_column(name, justify="right")
    for row in names:
        pairs = ((f"{row}/{column}", f"{column}/{row}") for column in names)
        found = (cosines.get(one, cosines.get(other)) for one, other in pairs)
        table.add_row(row, *("" if cosine is None else f"{cosine:.2f}" for cosine in found))
    return table


def compared(card: Card) -> str:
    """Say how far losses and gradient are from what the run recorded at that step."""
    tasks = card["tasks"].values()
    pairs = [(task["loss"], task["recorded"]) for task in tasks]
    pairs += [(card["gradient_norm"], card["gradient_norm_recorded"])]
    known = [(a, b) for a, b in pairs if b is not None and isinstance(a, float)]
    if not known:
        return "the run recorded nothing of this step"
    if all(a == b for a, b in known):
        return "losses and gradient are those of the run, to the last bit"
    most = max(abs(a - b) / max(abs(a), abs(b)) for a, b in known if a != b)
    return f"losses and gradient are those of the run but for {most:.1g} of them at most"


def not_finite(card: Card) -> Iterator[str]:
    """Say all that is not finite, in the order in which it comes about."""
    if card["broken_weights"]:
        yield f"not finite before the step: {few(card['broken_weights'])}"
    if card["fault"]:
        yield f"the training ends here: {card['fault']}"
    for one in card["microbatches"]:
        bad = [task for task, loss in one["losses"].items() if isinstance(loss, str)]
        if one["broken_module"] or bad:
            what = one["broken_module"] or "none of a module: the outputs are finite"
            yield f"microbatch {one['number']}: first output that is not finite: {what}"
        for task in bad:
            _, *names = one["broken_seeds"][task].items()
            words = "; ".join(f"{key} {few(ids)}" for key, ids in names if ids)
            yield f"  loss of {task} is {one['losses'][task]}, that of {words or 'no seed alone'}"
    broken = {name: task["broken_gradients"] for name, task in card["tasks"].items()}
    for name, weights in broken.items():
        if weights:
            yield f"gradient of {name} is not finite at {few(weights)}"
    if not (card["fault"] or any(broken.values()) or isinstance(card["gradient_norm"], float)):
        yield f"every number of the gradients is finite; their length overflows {card['precision']}"


def counted(sizes: Mapping[str, int]) -> str:
    """Say how many there are of each."""
    return ", ".join(f"{size:,} {name}" for name, size in sizes.items())


def few(names: Sequence[Any]) -> str:
    """Name the first ones, and say how many more there are."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(map(str, names[:FEW])) + more


def number(value: float | str | None) -> str:
    """Write a number short, or the word that stands for it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value or "")
