"""track: a page for people: one HTML file of text, tables and charts that needs no network.

page = Page("cora", "3 runs")
section = page.section("Learning curves", "Lower is better.")
section.chart(figure, "loss of topic")
section.table(["run", "accuracy"], [["hard", Cell("0.81", best=True)]])
page.write(path)
"""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from job.conflicts import COLOURS
from job.record import replace_file

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

GREY = "#8A8A8A"
# Seen on light and on dark ground, unlike black.
INKS = tuple(GREY if colour == "#000000" else colour for colour in COLOURS)
DASHES = ("solid", "dash", "dot")
SYMBOLS = ("circle", "square", "diamond")
MARKUP = {"hovertemplate", "texttemplate"}


class Style(NamedTuple):
    """How one run, or one task, looks in every chart of a page."""

    colour: str
    dash: str
    symbol: str


def styles(names: Iterable[str]) -> dict[str, Style]:
    """Give each name a style; the first eight differ in colour alone."""
    looks = [Style(i, *more) for more in zip(DASHES, SYMBOLS, strict=True) for i in INKS]
    return dict(zip(names, cycle(looks), strict=False))


class Cell(NamedTuple):
    """One number of a table; what is a plain string is a word."""

    text: str
    best: bool = False
    hint: str = ""
    """Shown under the number, smaller."""


@dataclass(kw_only=True)
class Part:
    """One thing in a section; the template knows what to do with each kind."""

    kind: str
    content: dict[str, Any]


@dataclass
class Section:
    """A heading, and under it texts, tables and charts in the order in which they were added."""

    title: str
    parts: list[Part] = field(default_factory=list)

    def text(self, text: str) -> "Section":
        """Add a paragraph."""
        return self._add("text", text=text)

    def table(
        self,
        heads: Sequence[str],
        rows: Sequence[Sequence[Cell | str]],
        caption: str = "",
        legend: Mapping[str, Style] | None = None,
    ) -> "Section":
        """Add a table; the first cell of a row names it, with its colour where `legend` has it."""
        numbers = [any(isinstance(row[i], Cell) for row in rows) for i in range(len(heads))]
        return self._add(
            "table", heads=heads, rows=rows, numbers=numbers, caption=caption, legend=legend or {}
        )

    def chart(self, figure: "Figure | Mapping[str, Figure]", caption: str) -> "Section":
        """Add a chart; of several figures, the reader picks one by its name.

        Charts in a row share the width. Traces whose `legendgroup` is a name of the page's legend
        are hidden with it. All texts are shown as they are, never as markup.
        """
        many = figure if isinstance(figure, Mapping) else {"": figure}
        figures = {name: _plain(json.loads(one.to_json())) for name, one in many.items()}
        return self._add("chart", figures=figures, caption=caption)

    def code(self, text: str) -> "Section":
        """Add a text in which each character counts, such as a command line."""
        return self._add("code", text=text)

    def _add(self, kind: str, **content: Any) -> "Section":
        self.parts.append(Part(kind=kind, content=content))
        return self


@dataclass
class Page:
    """A page in the making."""

    title: str
    subtitle: str = ""
    legend: Mapping[str, Style] = field(default_factory=dict)
    """Names that keep one colour in all charts, shown once; a click hides or shows one."""
    sections: list[Section] = field(default_factory=list)

    def section(self, title: str, text: str = "") -> Section:
        """Start a section."""
        self.sections.append(Section(title))
        return self.sections[-1].text(text) if text else self.sections[-1]

    def html(self) -> str:
        """Return the page."""
        from jinja2 import Environment, StrictUndefined

        environment = Environment(
            autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        charted = any(part.kind == "chart" for section in self.sections for part in section.parts)
        return environment.from_string(_file("page.html.j2")).render(
            page=self, css=_file("page.css"), js=_file("page.js"), plotly=charted and _plotly()
        )

    def write(self, path: Path) -> Path:
        """Write the page in one step: a reader sees the old one or the new one."""
        replace_file(path, self.html())
        return path


def _plain(figure: Any, key: str = "") -> Any:
    """Escape the texts of a figure: plotly takes some markup, and names are what users wrote."""
    if isinstance(figure, dict):
        return {name: _plain(value, name) for name, value in figure.items() if name != "template"}
    if isinstance(figure, list):
        return [_plain(value, key) for value in figure]
    if isinstance(figure, str) and key not in MARKUP:
        return figure.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return figure


def _file(name: str) -> str:
    return files("job").joinpath(name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    """Return plotly.js, packed: 2 MB of a page instead of 5."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode()
