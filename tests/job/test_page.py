"""Pages for people: one file, safe with any name, readable at any width."""

import json
import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.page import Cell, Page, styles

EVIL = "</script><img src=http://x.example/i onerror=alert(1)>&amp;{{7*7}}%{x}<b>'\""


class Elements(HTMLParser):
    """Lists what a browser would see: tags with attributes, texts, and the texts of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page(name: str) -> Page:
    look = styles([name, "other"])
    page = Page(name, name, look)
    section = page.section(name, name)
    trace = go.Scatter(x=[1, 2], y=[0.25, 0.5], name=name, legendgroup=name)
    section.chart({name: go.Figure(trace), "other": go.Figure(trace)}, name)
    heads, row = [name, name, name], [name, Cell("0.5", best=True, hint=name), name]
    section.table(heads, [row], name, look).code(name)
    return page


def figures(html: str) -> list[Any]:
    found = re.findall(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    return [json.loads(text) for text in found]


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1) | st.just(EVIL))
def test_a_name_is_a_text_wherever_it_stands(name: str) -> None:
    elements, plain = Elements(page(name).html()), Elements(page("plain").html())
    assert [tag for tag, _ in elements.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(a) for _, a in elements.tags] == [sorted(a) for _, a in plain.tags]
    assert elements.texts.count(name) >= 4


def test_plotly_takes_no_name_for_markup() -> None:
    ((first, _),) = figures(page(EVIL).html())
    assert first["data"][0]["name"] == escape(EVIL, quote=False)


def test_nothing_is_loaded_from_elsewhere() -> None:
    html = page("plain").html()
    loads = {"src", "href", "srcset", "action", "poster"}
    assert not [attrs for _, attrs in Elements(html).tags if loads & attrs.keys()]
    assert not re.search(r"@import|url\(", html.partition("<script")[0])
    assert "default-src 'none'" in html


def test_numbers_stand_right_and_the_best_is_bold() -> None:
    tags = Elements(page("plain").html()).tags
    heads = [attrs.get("class") for tag, attrs in tags if tag == "th" and attrs["scope"] == "col"]
    cells = [attrs.get("class") for tag, attrs in tags if tag == "td"]
    assert (heads, cells) == ([None, "number", None], ["number best", None])


def test_a_page_without_charts_holds_no_plotly() -> None:
    bare = Page("title")
    bare.section("words").text("some")
    assert len(bare.html()) < 20_000 < 1_000_000 < len(page("plain").html()) < 2_500_000


def test_styles_differ_for_as_many_names_as_there_are_looks() -> None:
    looks = styles(map(str, range(24)))
    assert len({*looks.values()}) == 24
    assert len({look.colour for look in [*looks.values()][:8]}) == 8


def test_a_page_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    assert page("plain").write(path) == path
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text().startswith("<!doctype html>")


# What MLflow does: the page in a frame; here as narrow as a phone, and it says how it went.
FRAME = """<iframe style="width:390px;height:800px" srcdoc="{page}"></iframe>
<script>
const frame = document.querySelector("iframe"), errors = [];
frame.contentWindow.addEventListener("error", e => errors.push(e.message));
frame.contentWindow.addEventListener("unhandledrejection", e => errors.push(String(e.reason)));
const timer = setInterval(() => {{
  const root = frame.contentDocument.documentElement;
  if (!root?.dataset.drawn && !errors.length) return;
  clearInterval(timer);
  document.body.textContent = JSON.stringify({{errors, drawn: root.dataset.drawn,
    over: root.scrollWidth - root.clientWidth,
    charts: frame.contentDocument.querySelectorAll(".main-svg").length}});
}}, 50);
</script>"""


def look_at(html: str, folder: Path) -> dict[str, Any]:
    """Open a page in a headless browser, in a frame of 390 pixels."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no chromium or google-chrome on the PATH")
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(page=escape(html)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += [f"--user-data-dir={folder}/browser", "--virtual-time-budget=20000", "--dump-dom"]
    command = [browser, *options, frame.as_uri()]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    answer: dict[str, Any] = json.loads(re.search(r"<body>(\{.*\})</body>", out)[1])  # type: ignore[index]
    return answer


def test_a_phone_scrolls_no_page_sideways_and_all_charts_are_drawn(tmp_path: Path) -> None:
    wide = page(EVIL)
    row = [EVIL, *[Cell("0.123456 ± 0.000001")] * 30]
    wide.section("wide").table([f"head of column {i}" for i in range(31)], [row] * 3)
    seen = look_at(wide.html(), tmp_path)
    assert seen == {"errors": [], "drawn": "1", "over": 0, "charts": seen["charts"]}
    assert seen["charts"] > 0
