"""prepare: the dataset card as tables that people read."""

from collections.abc import Iterator
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PARTS = ("train", "val", "test")
OWNERS = ("nodes", "edges", "collections")
WORDS = ("of", "known", "balance", "train\nbalance", "has")
STEPS, WIDTH = "▁▂▃▄▅▆▇█", 12

Facts = dict[str, Any]


def show_card(card: Facts, num_bytes: int, console: Console | None = None) -> None:
    """Print what a graph holds: types, labels with coverage and balance, splits, warnings."""
    console = console or Console()
    num_nodes = sum(facts["num_nodes"] for facts in card["nodes"].values())
    num_edges = sum(facts["num_edges"] for facts in card["edges"].values())
    size = f"{num_nodes:,} nodes, {num_edges:,} edges, {_size(num_bytes)}"
    console.print(Text.assemble((card["name"], "bold"), "  ", size))
    for table in (_nodes(card), _edges(card), _graphs(card), _labels(card), _splits(card)):
        if table.row_count:
            console.print()
            console.print(table)
    console.print()
    for sentence in card["warnings"]:
        console.print(Text.assemble(("! ", "bold yellow"), (sentence, "yellow")))


def _nodes(card: Facts) -> Table:
    table = _table("node type", "nodes", "isolated", "features", "has")
    for node_type, facts in card["nodes"].items():
        counts = (facts["num_nodes"], facts["num_isolated"], facts["num_features"])
        table.add_row(node_type, *map(_count, counts), "time" if facts["has_time"] else "")
    return table


def _edges(card: Facts) -> Table:
    table = _table("edge type", "edges", "in-degree\nleast", "mean", "most", "has")
    for edge_type, facts in card["edges"].items():
        has = [name for name in ("weight", "time") if facts[f"has_{name}"]]
        has += [f"{facts['num_features']:,} features"] * (facts["num_features"] > 0)
        table.add_row(
            edge_type,
            _count(facts["num_edges"]),
            f"{facts['min_in_degree']:,}",
            _mean(facts["mean_in_degree"]),
            f"{facts['max_in_degree']:,}",
            ", ".join(has),
        )
    return table


def _graphs(card: Facts) -> Table:
    table = _table("collection", "graphs", "nodes each\nmean", "most")
    for name, facts in card.get("collections", {}).items():
        sizes = (_mean(facts["mean_nodes"]), f"{facts['max_nodes']:,}")
        table.add_row(name, _count(facts["num_graphs"]), *sizes)
    return table


def _labels(card: Facts) -> Table:
    table = _table("label", "of", "known", "balance")
    words = {"class": "{} classes", "multilabel": "{} columns", "regression": "numbers"}
    for name, label in _each_label(card):
        kind = words[label["kind"]].format(label["num_classes"])
        table.add_row(name, kind, _coverage(label), _balance(label))
    return table


def _splits(card: Facts) -> Table:
    table = _table("known in each split", *PARTS, "train\nbalance")
    for name, label in _each_label(card):
        table.add_row(name)
        for split, parts in label["splits"].items():
            cells = (parts[part] for part in PARTS)
            shown = (f"{_count(cell['num_known'])} {_share(cell):>4.0%}" for cell in cells)
            drawn = Text(_columns(_shares(parts["train"]), width=8), "cyan")
            table.add_row(Text(f"  {split}", "dim"), *shown, drawn)
    return table


def _each_label(card: Facts) -> Iterator[tuple[str, Facts]]:
    owners = [part for kind in OWNERS for part in card.get(kind, {}).items()]
    for owner, facts in owners:
        for name, label in facts["labels"].items():
            yield f"{owner}.{name}", label


def _balance(label: Facts) -> Text:
    """Draw the share of each class or column, or where the numbers lie."""
    if not label["num_known"]:
        return Text("")
    if label["kind"] == "regression":
        text = f" {_number(label['mean'])} ± {_number(label['std'])}"
        return Text.assemble((_spread(label["quantiles"]), "cyan"), text)
    shares = _shares(label)
    text = f" {min(shares):.0%} to {max(shares):.0%}"
    if len(shares) <= 2:
        text = " " + " / ".join(f"{share:.0%}" for share in shares)
    return Text.assemble((_columns(shares), "cyan"), text)


def _shares(facts: Facts) -> list[float]:
    """Return the share of each class, or the positive share of each column; of numbers nothing."""
    labelled = facts.get("num_labelled", [])
    if "num_positive" in facts:
        pairs = zip(facts["num_positive"], labelled, strict=True)
        return [positive / max(known, 1) for positive, known in pairs]
    return [count / max(sum(labelled), 1) for count in labelled]


def _share(facts: Facts) -> float:
    """Return the share of values that is known: of a multilabel, of all its columns."""
    if "num_positive" in facts:
        labelled = facts["num_labelled"]
        return float(sum(labelled) / max(facts["num_rows"] * len(labelled), 1))
    return float(facts["coverage"])


def _columns(shares: list[float], width: int = WIDTH) -> str:
    """Draw a column for each share; of many, from the largest to the smallest, some left out."""
    if len(shares) > width:
        ordered = sorted(shares, reverse=True)
        shares = [ordered[i * (len(shares) - 1) // (width - 1)] for i in range(width)]
    top = max([*shares, 1e-9])
    return "".join(STEPS[round((len(STEPS) - 1) * share / top)] for share in shares)


def _spread(quantiles: list[float]) -> str:
    """Draw the quantiles 5, 25, 50, 75 and 95 % as a box with whiskers."""
    low, *middle, high = quantiles
    scale = (WIDTH - 1) / max(high - low, 1e-12)
    start, median, end = (round((value - low) * scale) for value in middle)
    box_of = ["─"] * WIDTH
    box_of[start : end + 1] = "▒" * (end + 1 - start)
    box_of[median] = "█"
    return "".join(box_of)


def _coverage(label: Facts) -> Text:
    share, width = _share(label), 6
    full = round(width * share)
    bar = (("█" * full, "green"), ("░" * (width - full), "dim"))
    return Text.assemble(*bar, f" {share:>4.0%}")


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    height = max(head.count("\n") for head in heads)
    for index, head in enumerate(heads):
        justify: Literal["left", "right"] = "left" if not index or head in WORDS else "right"
        lines = "\n" * (height - head.count("\n")) + head
        table.add_column(lines, justify=justify, overflow="fold")
    return table


def _count(number: int) -> str:
    return f"{number:,}" if number else "none"


def _mean(number: float) -> str:
    return f"{number:,.1f}" if number >= 0.1 or not number else f"{number:.1g}"


def _number(number: float) -> str:
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e9 else f"{number:.3g}"


def _size(num_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000 or unit == "GB":
            break
        num_bytes /= 1000
    return f"{num_bytes:,.0f} {unit}" if unit == "bytes" else f"{num_bytes:,.1f} {unit}"
