"""The benchmarks run, and all report alike; their numbers are no matter of tests."""

import ast
import importlib
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from job.config import load

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("[!_]*.py"))
EVERY = pytest.mark.parametrize("name", SCRIPTS)


@pytest.fixture(scope="module")
def benchmark():
    """Import a file of the benchmarks; afterwards nothing of them is imported any more."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in {path.stem for path in BENCHMARKS.glob("*.py")} - before:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def reporting(benchmark):
    return benchmark("_report")


def start(name, *argv):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *argv]
    data = {"GRAPHMTL_DATA": str(BENCHMARKS.parents[1] / "shared" / "data")}
    environment = {**data, **os.environ}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=environment
    )


def check_form(result, name):
    assert result.keys() == {"benchmark", "quick", "machine", "rows", "bars", "notes"}
    assert result["benchmark"] == name
    assert {"cpu", "cores", "flags", "libraries", "peers"} <= result["machine"].keys()
    assert result["rows"]
    assert len({tuple(row) for row in result["rows"]}) == 1, "rows with other columns"
    for value, bar, verdict in result["bars"].values():
        assert math.isfinite(value)
        assert math.isfinite(bar)
        assert verdict in ("met", "missed")


def run_quickly(name, folder):
    done = start(name, "--quick", "--json", str(folder / "result.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((folder / "result.json").read_text())
    check_form(result, name)
    return result


def test_the_sampler_benchmark_runs_and_writes_its_json(tmp_path):
    run_quickly("sampler", tmp_path)


def test_what_goes_wrong_silently_is_measured_and_ours_is_exact(tmp_path):
    result = run_quickly("silent_failures", tmp_path)
    verdicts = {row["pattern"]: row["verdict"] for row in result["rows"]}
    wrong = {name for name, verdict in verdicts.items() if verdict != "exact"}
    assert len(wrong) == 10
    assert "mean of each process's mean, 100 labels and 4" in wrong
    assert not {name for name in wrong if name.startswith("ours")}
    assert [verdict for _, _, verdict in result["bars"].values()] == ["met"] * 3


OF_THEIR_OWN = ("sampler", "silent_failures", "smoke")


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in OF_THEIR_OWN])
def test_every_benchmark_runs_and_writes_its_json(name, tmp_path):
    run_quickly(name, tmp_path)


@EVERY
def test_every_benchmark_says_how_it_is_run(name):
    done = start(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: python benchmarks/{name}.py [--quick] [--json FILE]" in done.stdout


@EVERY
def test_every_benchmark_reports_by_the_same_code(name):
    tree = ast.parse((BENCHMARKS / f"{name}.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imports if node.module == "_report" for alias in node.names}
    assert {"Report", "run"} <= names
    (last,) = tree.body[-1].body
    assert ast.unparse(last).startswith("run(measure, __doc__")


def test_a_bar_is_met_on_its_side_and_at_itself(reporting):
    report = reporting.Report()
    for value in (1, 2, 3):
        report.at_least(f"least {value}", value, 2)
        report.at_most(f"most {value}", value, 2)
    verdicts = {name: verdict for name, (_, _, verdict) in report.bars.items()}
    met = {name for name, verdict in verdicts.items() if verdict == "met"}
    assert met == {"least 2", "least 3", "most 1", "most 2"}


def test_a_verdict_is_of_the_value_before_rounding(reporting):
    report = reporting.Report()
    report.at_least("nearly", 1.99999, 2)
    assert report.bars["nearly"][2] == "missed"


def test_a_report_is_a_table_and_a_json(reporting, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["some.py", "--json", str(tmp_path / "some.json")])

    def measure(args):
        report = reporting.Report(rows=[{"what": "a", "x": 1.5}, {"what": "[b]", "x": None}])
        report.at_least("speed", 3.0, 2.0)
        report.notes.append("pyg-lib: not installed")
        return report

    reporting.run(measure, "Say what it is.")
    result = json.loads((tmp_path / "some.json").read_text())
    check_form(result, "some")
    assert result["bars"] == {"speed": [3.0, 2.0, "met"]}
    printed = capsys.readouterr().out
    for words in ("[b]", "speed: 3, bar 2: met", "note: pyg-lib: not installed"):
        assert words in printed


def test_jobs_take_turns_and_stand_still_in_between(benchmark, tmp_path):
    script, log = tmp_path / "job.py", tmp_path / "log"
    script.write_text(
        "import json, sys, time\n"
        "name, path, log = sys.argv[1:]\n"
        "for step in range(10**9):\n"
        "    time.sleep(0.02)\n"
        "    print(name, file=open(log, 'a'))\n"
        "    print(json.dumps({'step': step, 'time': time.time()}), file=open(path, 'a'))\n"
    )

    class Job:
        alone = True

        def __init__(self, name):
            self.name = name

        def metrics(self, folder):
            return folder / "metrics.jsonl"

        def command(self, folder):
            return [str(script), self.name, str(self.metrics(folder)), str(log)]

    core = next(iter(os.sched_getaffinity(0)))
    jobs = {name: Job(name) for name in "ab"}
    turns = benchmark("_turns").take_turns(jobs, lambda name: 4, 3, [core])
    order = [name for name, _ in itertools.groupby(log.read_text().split())]
    assert order == ["a", "b"] * 4  # the warm-up, and three rounds
    assert {name: len(its) for name, its in turns.items()} == {"a": 3, "b": 3}
    assert all(turn.num_bytes == 0 for its in turns.values() for turn in its)


def test_every_training_of_the_sharing_study_is_a_configuration_with_what_is_compared(benchmark):
    studies, folder = benchmark("_studies"), Path("data")
    for study in studies.STUDIES:
        for system, names in study.systems().items():
            for task, name in names.items():
                config = load(study.command(name, folder, 7))
                assert config.run.seed == 7
                learned = {other for other in config.tasks if config.tasks[other].weight > 1e-6}
                assert learned == ({task} if system.startswith("alone") else set(study.tasks))
                sharing = system.removeprefix("alone").removeprefix(", ") or "hard"
                assert config.model.sharing.type == sharing


def test_what_is_lost_together_is_the_mean_over_pairs_of_runs_with_its_noise(benchmark):
    lost, noise = benchmark("sharing").compare([0.5, 0.7, 0.6], [0.6, 0.7, 0.8])
    assert lost == pytest.approx(0.1)
    assert noise == pytest.approx(2 * 0.1 / 3**0.5)


def test_delta_m_is_the_mean_over_tasks_of_the_relative_gain_of_each_seed(benchmark):
    together = {"a": [0.55, 0.5], "b": [0.8, 0.4]}
    alone = {"a": [0.5, 0.5], "b": [0.8, 0.8]}
    gains = benchmark("sharing").relative_gains(together, alone)
    assert gains == pytest.approx([0.05, -0.25])


def test_a_mixed_step_holds_as_many_seeds_of_one_group_as_of_another(benchmark):
    mixed = benchmark("_mixed")
    graph = {"type": "marketplace", "num_users": 200, "num_items": 80, "num_shops": 20}
    case = mixed.Mixed(graph=graph, batch_size=100, dim=8, num_neighbors=(2, 2))
    seeds = case.seeds()
    assert seeds.keys() == mixed.TASKS.keys()
    assert seeds["category"] == seeds["quality"] == seeds["follows"] == 20
    assert all(0 < number <= 20 for number in seeds.values())
    rates = case.together().rates
    assert rates.keys() == case.sizes.keys()
    passed = [round(rates[group] * size) for group, size in case.sizes.items()]
    assert len(set(passed)) == 1


def test_a_big_graph_has_its_edges_without_being_sorted(benchmark, tmp_path):
    from mtl.graphs.store import GraphStore

    graph = benchmark("_big_graph").BigGraph(num_nodes=5000, num_edges=40_000, num_features=8)
    store = GraphStore(graph.folder(tmp_path))
    colptr, row = store.csc(store.edge_types[0])
    assert (colptr[0], colptr[-1], len(row)) == (0, 40_000, 40_000)
    assert (colptr[1:] >= colptr[:-1]).all()
    assert 0 <= row.min() <= row.max() < 5000
    assert store.features("node").isfinite().all()
    assert graph.folder(tmp_path) == store.folder  # made once


def test_the_floor_is_what_a_page_of_arithmetic_says(benchmark):
    module = benchmark("_floor")
    batch = module.Sampled(
        nodes=[10, 30, 60], edges=[40, 90], num_features=8, dim=16, num_weights=100, itemsize=4
    )
    assert module.random_reads(batch) == (10 + 30) + 2 * 130 + 2 * 100
    (first, _), (last, _) = module.layer_costs(batch)
    assert first == 2 * (2 * 40 * 16 * 16 + 130 * 8)  # two products of 40 rows, one sum
    assert last == 2 * (3 * 10 * 32 * 16 + 2 * 40 * 16)
    ceilings = benchmark("_ceilings")
    slow, fast = (
        module.floor(batch, ceilings.Ceilings(x, x, x, {"float32": x})) for x in (1e9, 2e9)
    )
    assert slow.step == pytest.approx(2 * fast.step)


def test_a_device_has_ceilings(benchmark):
    import torch

    found = benchmark("_ceilings").ceilings(torch.device("cpu"), 10, torch.bfloat16, quick=True)
    assert min(found.copied, found.gathered, found.reads, *found.flops.values()) > 0
