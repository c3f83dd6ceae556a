"""The page of a comparison: its numbers are those of the store, whatever the runs are like."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from job.compare import main
from job.mlflow_end import HEADLINES
from job.mlflow_store import open_client

# mlflow, sqlalchemy and their imports warn; our own warnings stay errors.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
EVIL = "</script><b>&amp;%{x}"
TASKS = {"topic": "accuracy", "degree": "mae"}


class Store:
    def __init__(self, uri: str) -> None:
        self.uri, self.client = uri, open_client(uri)
        self.experiment = self.client.create_experiment("cora")

    def train(
        self, name: str, seed: int, tasks: dict[str, str], level: float, tested: bool = True
    ) -> str:
        """Record a run of 500 steps; `level` moves all numbers of its tasks."""
        run_id = str(self.client.create_run(self.experiment, run_name=name).info.run_id)
        metrics = []
        for task, metric in tasks.items():
            for step in range(1, 501):
                metrics.append(Metric(f"train/{task}/loss", level + 1 / step, step, step))
                metrics.append(Metric(f"balance/weight/{task}", level + step, step, step))
            metrics.append(Metric(f"val/{task}/{metric}", level + 0.123456789, 250, 250))
            metrics.append(Metric(f"val/{task}/{metric}", level + 0.2, 500, 500))
            metrics.append(Metric(f"val/{task}/{metric}", level + 0.123456789, 501, 500))
            if tested:
                metrics.append(Metric(f"test/{task}/{metric}", level, 500, 500))
        if len(tasks) > 1:
            pair = "/".join(tasks)
            metrics += [Metric(f"conflict/cosine/{pair}", c, 1, s) for s, c in ((1, 0.5), (2, -1))]
        for start in range(0, len(metrics), 1000):
            self.client.log_batch(run_id, metrics=metrics[start : start + 1000])
        params = {"run.seed": str(seed), "name of the run": name}
        self.client.log_batch(run_id, params=[Param(*item) for item in params.items()])
        if tested:
            heads = [f"test/{task}/{metric}" for task, metric in tasks.items()]
            self.client.set_tag(run_id, HEADLINES, json.dumps(heads))
        self.client.set_terminated(run_id, "FINISHED" if tested else "FAILED")
        return run_id

    def page(self, folder: Path, *options: str) -> str:
        path = folder / "pages" / "page.html"
        assert main(["--uri", self.uri, "--html", str(path), *options]) == 0
        return path.read_text(encoding="utf-8")


@pytest.fixture
def runs(store: str) -> Store:
    return Store(store)


def charts(html: str) -> dict[str, list[Any]]:
    """Return the figures of each chart by its caption."""
    pattern = r"<figcaption>(.*?)\n.*?<script type=\"application/json\">(.*?)</script>"
    return {unescape(c): json.loads(f) for c, f in re.findall(pattern, html, flags=re.DOTALL)}


def section(html: str, title: str) -> str:
    """Return a section without its tags."""
    (text,) = re.findall(rf"<h2[^>]*>{title}</h2>(.*?)</section>", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def history(client: MlflowClient, run_id: str, key: str) -> dict[int, float]:
    return {point.step: point.value for point in client.get_metric_history(run_id, key)}


def test_numbers_are_those_of_the_store(runs: Store, tmp_path: Path) -> None:
    first, second = (runs.train("a", seed, TASKS, 0.5 + seed / 10) for seed in (0, 1))
    runs.train("b", 0, TASKS, 0.8)
    found = charts(html := runs.page(tmp_path, "--baseline", "b"))
    lines = {t["name"]: t for t in found["train/topic/loss"][0]["data"] if "fill" not in t}
    both = [history(runs.client, run_id, "train/topic/loss") for run_id in (first, second)]
    steps, losses = lines["a"]["x"], lines["a"]["y"]
    assert (len(steps), steps[0], steps[-1]) == (200, 1, 500)
    means = [sum(points[step] for points in both) / 2 for step in steps]
    assert losses == pytest.approx(means, rel=1e-5)
    assert "0.550 ± 0.071" in section(html, "Results")
    # topic .55 against .80, degree (an error) the same
    assert "+0.00 % ± 0.00" not in (gains := section(html, "Gain over b"))
    assert "\u221231.25 %" in gains
    assert "+31.25 %" in gains
    (cosine,) = found["Cosine"][0]["data"]
    assert cosine["z"] == [[None, -0.25], [-0.25, None]]
    assert len(found["balance/weight/degree"][0]["data"]) == 3  # two lines and a band


def test_the_kept_checkpoint_is_no_point_of_the_curve(runs: Store, tmp_path: Path) -> None:
    runs.train("a", 0, TASKS, 0.0)
    found = charts(html := runs.page(tmp_path))
    (line,) = found["val/topic/accuracy"][0]["data"]
    assert (line["x"], line["y"]) == ([250, 500], [0.123457, 0.2])
    assert "a 0.2 0.2 0.1235 0.2" in section(html, "Learning curves")  # best and last; of an error


def test_any_name_any_tasks_and_a_crash_make_a_page(runs: Store, tmp_path: Path) -> None:
    runs.train(EVIL, 0, TASKS, 0.5)
    runs.train("crashed", 0, TASKS, 0.1, tested=False)
    runs.train("other", 0, {"churn": "auroc"}, 0.9)
    html = runs.page(tmp_path, "--baseline", EVIL)
    words = section(html, "In short")
    assert words.startswith(f"Nothing can be compared with {EVIL}")
    assert words.endswith("Not all of these runs finished: crashed (failed).")
    assert html.count("<script") == html.count("</script>")
    assert "<b>" not in html
    names = {trace["name"] for trace in charts(html)["train/topic/loss"][0]["data"]}
    assert names == {"&lt;/script&gt;&lt;b&gt;&amp;amp;%{x}", "crashed"}


def test_a_run_without_any_metric_makes_a_page(runs: Store, tmp_path: Path) -> None:
    runs.client.create_run(runs.experiment, run_name="nothing yet")
    html = runs.page(tmp_path)
    assert section(html, "In short").startswith("No run was tested yet")
    assert "nothing yet" in section(html, "Runs")


def test_a_sweep_is_no_run_and_many_rows_are_ranked(runs: Store, tmp_path: Path) -> None:
    runs.client.create_run(runs.experiment, run_name="sweep", tags={"graphmtl.sweep": "grid"})
    for number in range(10):
        runs.train(f"trial_{number}", 0, {"topic": "accuracy"}, number / 10 + 0.1)
    found = charts(html := runs.page(tmp_path, "--baseline", "trial_0", "--no-group"))
    best = found["Relative gain"][0]["data"][-1]
    assert (best["y"], best["x"]) == (["trial_9"], [pytest.approx(900)])
    assert "sweep" not in section(html, "Runs")
