"""The page of a finished run."""

import json
import re
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from job import report_classes, report_values
from job.config import read, tree_of
from job.diagnosis import diagnose, write
from job.diagnosis_counts import Reliability
from job.page import Section
from job.record import DIAGNOSIS, REPORT
from job.report import draw_or_say, main, write_report
from job.report_chances import area, calibration_error, called
from job.report_charts import rebinned, shortened
from job.report_results import text
from job.report_run import read_series
from job.yaml12 import parse, render
from mtl.errors import DataError
from mtl.graphs.cache import open_graph
from mtl.graphs.marketplace import Marketplace
from mtl.tasks.bound import bind_tasks

EVIL = "</script><img src=x onerror=alert(1)>&amp;{{7*7}}"
TASKS = {
    "churn": {"type": "node_classification", "node_type": "user", "label": "churn"},
    "category": {"type": "node_classification", "node_type": "item", "label": "category"},
    "interests": {"type": "node_multilabel", "node_type": "user", "label": "interests"},
    "value": {"type": "node_regression", "node_type": "user", "label": "value"},
    "buys": {"type": "link_prediction", "edge_type": "user__buys__item"},
    "words": {"type": "feature_reconstruction", "node_type": "item"},
}


@cache
def trained():
    """Return configuration, card, metrics and diagnoses as of a training on a made-up graph."""
    graph = {"type": "marketplace", "num_users": 300, "num_items": 100, "num_shops": 20}
    model = {"dim": 8, "encoder": {"type": "sage"}, "sharing": {"type": "hard"}}
    tree = {"run": {"name": "made_up"}, "graph": graph, "tasks": TASKS, "model": model}
    config = read({**tree, "train": {"epochs": 1}}, [])
    store = open_graph(Marketplace(num_users=300, num_items=100, num_shops=20))
    rng, tasks = np.random.default_rng(0), bind_tasks(config.tasks, store)
    diagnoses, metrics = diagnose(tasks), {}
    for name, bound in tasks.items():
        seeds = bound.seeds("test")
        guess = torch.from_numpy(rng.standard_normal((len(seeds), bound.num_outputs)))
        scores = bound.scores(bound.statistics.prior + 2 * guess)
        diagnoses[name].update(scores, bound.targets(seeds))
        for metric in ("loss", *bound.metrics()):
            metrics |= {f"{s}/{name}/{metric}": rng.random() for s in ("trivial", "val", "test")}
    return tree_of(config), store.card(), metrics, diagnoses


def run(folder, **changes):
    """Write the directory of a run."""
    config, card, metrics, diagnoses = trained()
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(render(config))
    (folder / "dataset.json").write_text(json.dumps(card))
    conflict = {f"conflict/norm/{task}": 1.0 for task in TASKS}
    conflict |= {"conflict/cosine/buys/churn": -0.5, "conflict/share": 0.1}
    gates = {f"gate/{task}/expert{i}": 0.5 for task in TASKS for i in range(2)}
    losses = {f"train/{task}/loss": 1.0 for task in TASKS} | {"train/grad_norm": 1.0}
    weights = {f"balance/weight/{task}": 0.2 for task in TASKS}
    records = [{"step": 10, "time": 1.0, **losses, **conflict, **weights, **metrics}]
    records.append({**records[0], "step": 20})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    tasks = {key.split("/")[1] for key in changes.get("metrics", {})} or TASKS
    summary = {
        "status": "finished",
        "metrics": metrics | gates,
        "best_reachable": {task: {} for task in TASKS if task in tasks},
        "num_parameters": {"trunk": 10},
        "step": 20,
        "best_step": 10,
        "world_size": 1,
        "seconds": 1.0,
        "time": {"forward": 0.3, "backward": 0.7, "copy": 0.0},
        "throughput": {"seeds_per_second": 1.0, "edges_per_second": 2.0},
        "memory": {"peak_bytes": 1 << 30},
    }
    (folder / "summary.json").write_text(json.dumps(summary | changes))
    write(folder, diagnoses)
    return folder


def page(folder, *argv):
    assert main([str(folder), *argv]) == 0
    return (folder / REPORT).read_text(encoding="utf-8")


def figures(html):
    found = re.findall(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    return [figure for text in found for figure in json.loads(text)]


def rows(html):
    """Return the texts of the cells of each row of the first table."""
    table = html.partition("<tbody>")[2].partition("</tbody>")[0]
    lines = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table.split("</tr>")
    ]
    return [[re.sub(r"<[^>]*>", " ", cell).strip() for cell in line] for line in lines if line]


def drawn(draw, facts):
    section = Section("")
    draw(section, facts)
    return section.parts


def test_every_kind_of_task_has_a_section_and_no_chart_is_empty(tmp_path):
    html = page(run(tmp_path))
    heads = re.findall(r"<h2[^>]*>(.*?)</h2>", html)
    assert [f"{task} on the test split" for task in TASKS] == [h for h in heads if "test" in h]
    parts = {"Results", "Better than guessing", "Learning curves", "Gradients of the tasks"}
    assert parts | {"Experts", "Time and memory"} < set(heads)
    shown = figures(html)
    assert len(shown) > 20
    for figure in shown:
        values = [v for trace in figure["data"] for v in trace.get("z") or trace["y"]]
        assert any(value not in (None, []) for value in values), figure["layout"]


def test_the_results_are_those_of_the_summary(tmp_path):
    metrics = {"trivial/churn/auroc": 0.5, "test/churn/auroc": 0.75, "test/churn/loss": 2345.6}
    html = page(
        run(
            tmp_path,
            metrics=metrics,
            confidence={"test/churn/auroc": [0.7, 0.8]},
            undefined={"test/churn/f1": "one class"},
            best_reachable={"churn": {"auroc": 0.9}},
        )
    )
    assert rows(html) == [
        ["churn", "auroc", "0.5000", "0.7500", "0.7000 to 0.8000", "0.9000"],
        ["churn", "f1", "undefined", "undefined one class", "", ""],
        ["churn", "loss", "undefined", "2,346", "", ""],
    ]


def test_the_heading_of_intervals_says_their_level(tmp_path):
    folder = run(
        tmp_path,
        metrics={"test/churn/auroc": 0.75},
        confidence={"test/churn/auroc": [0.7, 0.8]},
    )
    config = parse((folder / "config.yaml").read_text(), "config.yaml")
    config["evaluate"]["confidence"] = 0.9
    (folder / "config.yaml").write_text(render(config))
    html = page(folder)
    assert "90 % interval" in html
    assert "95 % interval" not in html


def test_tasks_trained_alone_stand_beside_and_delta_m_is_the_mean_gain(tmp_path):
    ours = {"test/churn/accuracy": 0.6, "test/value/mae": 3.0}
    run(tmp_path / "ours", metrics=ours)
    run(tmp_path / "churn", metrics={"test/churn/accuracy": 0.5})
    run(tmp_path / "value", metrics={"test/value/mae": 4.0})
    alone = [f"--baseline={tmp_path / task}" for task in ("churn", "value")]
    html = page(tmp_path / "ours", *alone)
    assert [row[3:5] for row in rows(html)] == [["0.5000", "0.6000"], ["4.000", "3.000"]]
    bars = [trace for figure in figures(html) for trace in figure["data"]]
    gains = next(b for b in bars if b.get("customdata") == ["all tasks", "churn", "value"])
    assert gains["x"] == pytest.approx([22.5, 20.0, 25.0])


def test_a_baseline_is_of_one_task_on_the_same_graph(tmp_path, capsys):
    run(tmp_path / "ours")
    (run(tmp_path / "other", metrics={"test/churn/accuracy": 0.5}) / "dataset.json").write_text(
        json.dumps(trained()[1] | {"fingerprint": "other"})
    )
    for name, word in (("ours", "churn, category"), ("other", "the same graph")):
        assert main([str(tmp_path / "ours"), f"--baseline={tmp_path / name}"]) == 64
        assert word in capsys.readouterr().err


def test_a_task_without_examples_has_reasons_and_no_charts(tmp_path):
    why = {f"{s}/churn/loss": "no example has a label" for s in ("trivial", "test")}
    folder = run(tmp_path, metrics={}, undefined=why, best_reachable={"churn": {}})
    untouched = {"kind": "classes", "classes": ["a", "b"], "confusion": [[0, 0], [0, 0]]}
    (folder / "diagnosis.json").write_text(json.dumps({"churn": untouched}))
    html = page(folder)
    assert rows(html) == [["churn", "loss", "undefined", "undefined no example has a label"]]
    assert "No example of the split has a label." in html


def test_names_are_texts(tmp_path):
    folder = run(tmp_path)
    diagnosis = json.loads((folder / "diagnosis.json").read_text())
    diagnosis["churn"]["classes"] = diagnosis["category"]["classes"][:2] = [EVIL, EVIL]
    diagnosis["interests"]["columns"][0] = EVIL
    (folder / "diagnosis.json").write_text(json.dumps(diagnosis))
    card = json.loads((folder / "dataset.json").read_text()) | {"name": EVIL}
    (folder / "dataset.json").write_text(json.dumps(card))
    html = page(folder)
    assert "<img" not in html
    assert json.dumps(figures(html)).count("&lt;img") >= 4


@pytest.mark.parametrize("status", ["stopped", "failed"])
def test_a_run_that_has_not_finished_gets_no_page(status, tmp_path, capsys):
    assert main([str(run(tmp_path, status=status))]) == 64
    assert status in capsys.readouterr().err
    (tmp_path / "summary.json").unlink()
    assert main([str(tmp_path)]) == 64
    assert "summary.json missing" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))


def test_a_run_without_diagnoses_or_gradients_has_a_page(tmp_path):
    (run(tmp_path) / "diagnosis.json").unlink()
    (tmp_path / "metrics.jsonl").write_text("")
    assert "on the test split" not in page(tmp_path)


def test_a_page_that_cannot_be_written_is_a_warning(tmp_path):
    said = []
    (run(tmp_path) / REPORT).mkdir()
    draw_or_say(tmp_path, said.append)
    (warning,) = said
    assert warning.startswith("warning: ")
    assert REPORT in warning


def test_numbers_that_leave_what_numbers_can_be_are_damage(tmp_path):
    path = run(tmp_path) / DIAGNOSIS
    path.write_text(re.sub(r'"range":\[.*?\]', '"range":[-1e308,1.7e308]', path.read_text()))
    with pytest.raises(DataError, match=r"do not fit together \(FloatingPointError: overflow"):
        write_report(tmp_path)


def test_a_step_counts_as_it_was_recorded_first(tmp_path):
    lines = [
        {"step": 1, "time": 0, "val/a": 1.0},
        {"step": 2, "time": 0, "val/a": None, "train/b": 3.0},
    ]
    lines += [{"step": 1, "time": 0, "val/a": 2.0, "time/copy": 1.0}]
    (tmp_path / "m").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step"')
    assert read_series(tmp_path / "m") == {"val/a": [(1, 1.0)], "train/b": [(2, 3.0)]}


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_calibration_error_is_that_of_the_examples(examples):
    said, true = (np.array(column, float) for column in zip(*examples, strict=True))
    reliability = Reliability()
    reliability.update(torch.from_numpy(said), torch.from_numpy(true == 1))
    edges = np.linspace(0, 1, 16)
    place = np.digitize(said, edges[1:-1])
    error = sum(
        (place == b).mean() * abs(true[place == b].mean() - said[place == b].mean())
        for b in set(place)
    )
    assert calibration_error(reliability.facts()) == pytest.approx(error, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
def test_curves_of_counts_go_from_none_to_all_over_the_area(bins):
    odds = np.array(bins).T
    false, true = called(odds.tolist())
    assert (false[0], true[0]) == (0, 0)
    assert [false[-1], true[-1]] == odds.sum(1).tolist()
    found = area(odds)
    if odds.sum(1).all():
        assert found == pytest.approx(np.trapezoid(true / true[-1], false / false[-1]))
    else:
        assert found is None


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 9))
def test_wider_bins_hold_all_that_finer_ones_counted(counts, num):
    edges = np.linspace(-1, 1, len(counts) + 1)
    total = rebinned(np.array(counts), edges, np.linspace(-0.3, 0.5, num + 1)).sum()
    assert total == pytest.approx(sum(counts))


def test_one_class_alone_has_no_curves():
    facts = json.loads(json.dumps(trained()[3]["churn"].facts()))
    facts["confusion"][1] = [0, 0]
    kinds = [part.kind for part in drawn(report_classes.classes, facts)]
    assert kinds == ["chart", "chart", "text"]


def test_of_many_classes_the_worst_pairs_are_listed():
    facts = {**trained()[3]["category"].facts(), "classes": [f"c{i}" for i in range(30)]}
    confusion = np.eye(30, dtype=int) * 9
    confusion[3, 4], confusion[4, 3] = 3, 1
    parts = drawn(report_classes.classes, {**facts, "confusion": confusion.tolist()})
    assert [part.kind for part in parts] == ["chart", "chart", "table"]
    lines = parts[-1].content["rows"]
    assert [[*line[:2], line[2].text, line[3].text] for line in lines] == [
        ["c3", "c4", "3", "25 %"],
        ["c4", "c3", "1", "10 %"],
    ]


def test_every_rank_is_in_one_bar():
    facts = trained()[3]["buys"].facts()
    bars = report_values.places(facts["ranks"], np.array(facts["at"])).data[0]
    assert bars.x[:4] == ("1", "2", "3-5", "6-10")
    assert bars.x[-1].endswith("101")
    assert sum(bars.y) == pytest.approx(100, abs=0.01)


def test_long_names_lose_what_they_share():
    long = [f"synset__{name}__synset" for name in ("agent", "mero_part", "m" * 30)]
    assert shortened(long) == ["agent", "mero_part", "m" * 17 + "…"]
    assert shortened(["class a", "class b"]) == ["class a", "class b"]
    assert shortened(["a" * 20, "a" * 25]) == ["a" * 17 + "…"] * 2
    assert shortened(["x" * 20]) == ["x" * 17 + "…"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-1e-9, "0.0000"), (0.25, "0.2500"), (-3.0, "-3.000"), (12345.6, "12,346")],
)
def test_numbers_have_four_digits(value, expected):
    assert text(value) == expected
