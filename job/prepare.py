"""prepare: convert any source into a graph folder, and say what it holds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from job.config import assign, tree_at
from job.conversion import ConversionProgress
from job.runtime import CannotWriteError, run_command
from job.yaml12 import parse
from mtl.errors import ConfigError
from mtl.graphs import Source
from mtl.graphs.schema import MANIFEST
from mtl.plugin import Options, explain, validated

USAGE = """
usage: python job/prepare.py CONFIG.yaml OUT_DIR [key.path=value ...]

Convert the graph of a configuration into the folder OUT_DIR and show what it holds. Of the file
only the section `graph:` is read. The same command again shows OUT_DIR as it is; after a kill it
starts over, and OUT_DIR is there whole or not at all.

examples:
  python job/prepare.py job/configs/marketplace.yaml graphs/marketplace
  python job/prepare.py my.yaml /data/graph graph.seed=1
"""


GRAPH = "graph: {{type: folder, path: {path}}}"


@dataclass(frozen=True, kw_only=True)
class Section(Options):
    """What is read of a configuration."""

    graph: Source
    """Where the graph comes from."""


def main(argv: list[str]) -> None:
    """Check the section, convert, show the card."""
    places = [arg for arg in argv if "=" not in arg]
    if len(places) != 2:
        found = " ".join(places) or "nothing"
        raise ConfigError(f"expected CONFIG.yaml OUT_DIR, found {found} (--help shows examples)")
    source = read(tree_at(Path(places[0])), [arg for arg in argv if "=" in arg])
    prepare(source, Path(places[1]))


def read(tree: dict[str, Any], assignments: list[str]) -> Source:
    """Make the source of the section `graph` and of overrides.

    Raises:
        ConfigError: with all mistakes, one a line, each with its YAML path and what is allowed.
    """
    section = {"graph": tree["graph"]} if "graph" in tree else {}
    for assignment in assignments:
        path = assignment.partition("=")[0]
        if path.split(".")[0] != "graph":
            raise ConfigError(f"{path}: only the section `graph` is read here (graph.KEY=value)")
        assign(section, assignment)
    try:
        return validated(Section, section).graph
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, Section))) from None


def prepare(source: Source, folder: Path) -> None:
    """Convert a source into a folder that does not hold it yet, and print its card.

    Raises:
        ConfigError: the folder holds something else.
        CannotWriteError: the folder cannot be written.
        DataError: the source, or the folder, is broken.
    """
    before = (folder / MANIFEST).is_file()
    with ConversionProgress() as report:
        _convert(source, folder, report)

        from job.graph_card import show_card  # torch takes seconds: it opens what is there
        from mtl.graphs.cache import open_graph
        from mtl.graphs.folder import Folder

        store = open_graph(Folder(path=folder), report)
    if before:
        print(f"{folder} holds this graph already.")
    show_card(store.card(), sum(path.stat().st_size for path in folder.iterdir()))
    print(f"\nTrain on it with:\n{GRAPH.format(path=_quoted(str(folder)))}")


def _convert(source: Source, folder: Path, report: ConversionProgress) -> None:
    from mtl.graphs.convert import convert

    try:
        convert(source, folder, report=report, option="OUT_DIR")
    except ConfigError as error:
        if isinstance(error.__cause__, OSError):
            raise CannotWriteError(f"{folder}: cannot be written: {error.__cause__}") from error
        raise


def _quoted(text: str) -> str:
    """Return a YAML scalar that reads as this text."""
    line = GRAPH.format(path=text)
    try:
        same = parse(line, "path") == {"graph": {"type": "folder", "path": text}}
    except ConfigError:
        same = False
    return text if same else json.dumps(text)


if __name__ == "__main__":
    run_command(main, USAGE)
