"""The card's warnings: what its own numbers say is likely to be a mistake, a sentence each."""

from collections.abc import Iterator
from typing import Any

SHOWN = 5
OWNERS = ("nodes", "edges", "collections")


def warnings(card: dict[str, Any]) -> list[str]:
    """Return a sentence for everything that looks wrong; the same one of many splits once."""
    found: dict[str, list[str]] = {}
    owners = [part for kind in OWNERS for part in card.get(kind, {}).items()]
    for owner, facts in owners:
        for sentence in _of_owner(owner, facts):
            found.setdefault(sentence, [])
        for name, label in facts["labels"].items():
            for split, sentence in _of_label(f"{owner}.{name}", label):
                found.setdefault(sentence, []).extend([split] if split else [])
    return [
        f"{sentence} (split {', '.join(splits)})" if splits else sentence
        for sentence, splits in found.items()
    ]


def _of_owner(owner: str, facts: dict[str, Any]) -> Iterator[str]:
    if count := facts.get("num_isolated_seeds"):
        yield f"{owner}: {_many(count, 'labelled node')} that no edge leads to"
    if count := facts.get("num_empty"):
        yield f"{owner}: {_many(count, 'graph')} without a node"
    if (count := facts.get("num_duplicates")) and not facts["has_time"]:
        yield f"{owner}: {_many(count, 'edge')} with the ends of another one"
    if count := facts.get("num_self_loops"):
        yield f"{owner}: {_many(count, 'self loop')}"


def _of_label(owner: str, label: dict[str, Any]) -> Iterator[tuple[str | None, str]]:
    """Yield (split or None, sentence)."""
    if not label["num_known"]:
        yield None, f"{owner}: no value is known"
        return
    if constant := _constant(label):
        yield None, f"{owner}: {constant}: nothing to learn"
    for split, parts in label["splits"].items():
        if empty := [part for part, facts in parts.items() if not facts["num_known"]]:
            yield split, f"{owner}: no known value in {' and '.join(empty)}"
        if unseen := _unseen(label, parts):
            yield split, f"{owner}: val or test has examples of {unseen}, train has none"


def _constant(label: dict[str, Any]) -> str:
    """Say what never changes, if anything."""
    if label["kind"] == "regression":
        return f"every known value is {label['mean']:g}" if label["std"] == 0 else ""
    counts = label["num_labelled"]
    if label["kind"] == "class":
        present = [index for index, count in enumerate(counts) if count]
        return f"every known value is {_names(label, present)}" if len(present) == 1 else ""
    pairs = zip(counts, label["num_positive"], strict=True)
    fixed = [index for index, (known, positive) in enumerate(pairs) if positive in (0, known)]
    return f"always the same in {_names(label, fixed)}" if fixed else ""


def _unseen(label: dict[str, Any], parts: dict[str, dict[str, Any]]) -> str:
    """Name the classes, or the columns, that are in val or test alone."""
    if label["kind"] == "regression" or not parts["train"]["num_known"]:
        return ""
    key = "num_positive" if label["kind"] == "multilabel" else "num_labelled"
    counts = zip(*(parts[part][key] for part in ("train", "val", "test")), strict=True)
    unseen = [i for i, (train, val, test) in enumerate(counts) if not train and (val or test)]
    return _names(label, unseen) if unseen else ""


def _names(label: dict[str, Any], indices: list[int]) -> str:
    """Return `classes 3, 7 and 2 more`."""
    what = "column" if label["kind"] == "multilabel" else "class"
    plural = {"column": "columns", "class": "classes"}[what] if len(indices) > 1 else what
    names = label["classes"] or list(map(str, range(label["num_classes"])))
    more = len(indices) - SHOWN
    shown = ", ".join(names[index] for index in indices[:SHOWN])
    return f"{plural} {shown}" + (f" and {more} more" if more > 0 else "")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count > 1)}"
