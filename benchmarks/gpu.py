"""Training on a GPU that holds the graph: steps and their floor, balancing, a very large graph.

products is 2.4 M nodes and 124 M edges of a power law, as ogbn-products has; papers 111 M nodes and
1.6 B edges with 128 features in bfloat16, as ogbn-papers100M has. The peer is plain PyG's recipe:
NeighborLoader with worker processes on the CPU, the features on the GPU. Without a GPU the same
lines run on the CPU, where --quick shows that they do.

usage: python benchmarks/gpu.py [--quick] [--json FILE] [--only products|balancing|papers]
       [--rounds N] [--workers N ...] [--home DIR]
"""

import json
import os
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from _graphs import OGBN_PRODUCTS, TINY
from _jobs import Job, Ours, Plain, Shape
from _processes import ROOT, JobError, Ranks, scratch
from _report import Report, run
from _steps import rate, record_steps
from step import sampler_of_plain

if TYPE_CHECKING:
    from _big_graph import BigGraph

EPOCH_BAR, LOADING_BAR, PAPERS_BAR, BALANCING_BAR, DISTANCE_BAR = 5.0, 0.4, 1.5, 1.2, 1e-4
HOPS, BATCH_SIZE, DIM = (15, 10, 5), 1024, 256
EQUAL = {"type": "equal", "conflicts_every": None}
COLUMNS = ("graph", "what", "ms/step", "seeds/s", "epoch s", "floor ms", "x floor", "busy %", "GiB")
TRAINING_SHARE = 0.9
"""Of the nodes of `_graphs.PowerLaw`."""


def measure(args: Namespace) -> Report:
    import torch  # seconds that --help does not wait for

    report = Report()
    if not (args.quick or torch.cuda.is_available()):
        _add(report, what="a GPU is needed; --quick shows on a CPU that all of it runs")
        return report
    wanted = (args.only,) if args.only else ("products", "balancing", "papers")
    shape = _shape(args)
    speed = _apart(report, "products", shape, args) if {"products", "papers"} & {*wanted} else 0.0
    if "products" in wanted:
        _compiled(report, shape, args)
        _against_plain(report, shape, args)
    if "balancing" in wanted:
        _balancing(report, shape, args)
    if "papers" in wanted:
        _papers(report, speed, args)
    return report


def _shape(args: Namespace) -> Shape:
    if args.quick:
        return Shape(graph=TINY.folder(), num_neighbors=(5, 5), batch_size=32, dim=32)
    return Shape(graph=OGBN_PRODUCTS.folder(), num_neighbors=HOPS, batch_size=BATCH_SIZE, dim=DIM)


def _against_plain(report: Report, shape: Shape, args: Namespace) -> None:
    """Add whole trainings, ours and the peer's, round after round."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader, every = {"backend": "cuda"}, {"ours": 1 if args.quick else 10, "plain": 1}
    jobs: dict[str, Job] = {
        f"ours, {precision}": Ours(
            shape=shape, precision=precision, loader=loader, every_steps=every["ours"]
        )
        for precision in ("fp32", "auto")
    }
    jobs |= {
        f"plain PyG, {n} workers": Plain(shape=shape, num_workers=n, device=device)
        for n in ([0] if args.quick else args.workers)
    }
    speeds: dict[str, list[float]] = {name: [] for name in jobs}
    used: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(1 if args.quick else args.rounds):
        for name, job in jobs.items():
            many = (2, 5) if args.quick else (5, 30)  # lines of the record
            records = record_steps(job, sum(many), watch=lambda _, name=name: _look(used[name]))
            seeds = shape.batch_size * every[name.split()[0].strip(",")]
            speeds[name].append(rate(records, seeds, many[0]))
    num_seeds = TRAINING_SHARE * (TINY if args.quick else OGBN_PRODUCTS).num_nodes
    for name, its in speeds.items():
        speed = median(its)
        busy = mean(used[name]) if used[name] else None
        row = {"ms/step": 1e3 * shape.batch_size / speed, "seeds/s": speed, "busy %": busy}
        _add(report, graph="products", what=name, **row, **{"epoch s": num_seeds / speed})
    plain = max(median(its) for name, its in speeds.items() if name.startswith("plain"))
    for name in ("ours, fp32", "ours, auto"):
        what = f"{name}: epochs in the time of one of plain PyG's"
        report.at_least(what, median(speeds[name]) / plain, EPOCH_BAR)
    report.notes.append(f"plain PyG draws neighbours with {sampler_of_plain()}, in fp32")


def _apart(report: Report, name: str, shape: Shape, args: Namespace) -> float:
    """Add a step and its parts, with the floor of each; return the seeds a second."""
    from _ceilings import Ceilings
    from _floor import Sampled, floor

    found = _device_step(shape, args, {"equal": EQUAL})
    least = floor(Sampled(**found["batch"]), Ceilings(**found["ceilings"]))
    took, whole = found["parts"], found["step"]["equal"]
    gather = max(took["loader"] - took["sampling"], 0.0)
    parts = {
        "one step, the next batch made meanwhile": (whole, least.step),
        "sampling alone": (took["sampling"], least.sampling),
        "features, labels and the rest of a batch, alone": (gather, least.gather),
        "forward, backward and update, alone": (took["model"], least.model),
    }
    for what, (taken, least_seconds) in parts.items():
        per_second = shape.batch_size / taken if what.startswith("one") else None
        _add(
            report,
            graph=name,
            what=what,
            **{"ms/step": 1e3 * taken, "floor ms": 1e3 * least_seconds},
            **{"x floor": taken / least_seconds, "seeds/s": per_second},
            GiB=found["peak_bytes"] / 2**30 if per_second else None,
        )
    share = took["loader"] / (took["loader"] + took["model"])
    report.at_most(f"{name}: share of sampling and gather in a step", share, LOADING_BAR)
    what = f"{name}: predictions in fp32, distance to the CPU's"
    report.at_most(what, found["distance"], DISTANCE_BAR)
    report.notes.append(f"{name}: {found['device']}, {found['precision']}; {_told(found)}")
    return shape.batch_size / float(whole)


def _compiled(report: Report, shape: Shape, args: Namespace) -> None:
    """Add a step of `train.compile`."""
    found = _device_step(shape, args, {"equal": EQUAL}, compiled=True)
    taken, what = found["step"]["equal"], "one step, its layers compiled"
    speed = shape.batch_size / taken
    _add(report, graph="products", what=what, **{"ms/step": 1e3 * taken, "seeds/s": speed})
    report.notes.append(f"products, compiled: {found['launches']} operations launched")


def _balancing(report: Report, shape: Shape, args: Namespace) -> None:
    """Add what eight tasks cost, balanced by the Gramian at the representation."""
    if find_spec("torchjd") is None:
        report.notes.append("balancing: torchjd is not installed")
        return
    upgrad = {"type": "upgrad", "at": "representation"}
    found = _device_step(shape, args, {"equal": EQUAL, "upgrad": upgrad}, num_tasks=8)
    for name, taken in found["step"].items():
        _add(report, graph="products", what=f"8 tasks, {name}", **{"ms/step": 1e3 * taken})
    times = found["step"]["upgrad"] / found["step"]["equal"]
    report.at_most("8 tasks, upgrad at the representation against equal", times, BALANCING_BAR)


def _papers(report: Report, products: float, args: Namespace) -> None:
    """Add the big graph: that it trains, how fast, and in how much memory."""
    shape = Shape(
        graph=_papers_graph(quick=args.quick).folder(args.home),
        num_neighbors=(5, 5) if args.quick else HOPS,
        batch_size=32 if args.quick else BATCH_SIZE,
        dim=32 if args.quick else DIM,
    )
    try:
        speed = _apart(report, "papers", shape, args)
    except JobError as error:
        report.notes.append(f"papers: {error}")
        report.at_least("papers: fits and trains", 0.0, 1.0)
        return
    report.at_most("papers: time of a seed against products", products / speed, PAPERS_BAR)


def _papers_graph(*, quick: bool) -> "BigGraph":
    from _big_graph import BigGraph

    if quick:
        return BigGraph(num_nodes=20_000, num_edges=200_000, num_features=16)
    return BigGraph(num_nodes=111_000_000, num_edges=1_600_000_000)


def _device_step(
    shape: Shape,
    args: Namespace,
    balancings: Mapping[str, Any],
    num_tasks: int = 1,
    *,
    compiled: bool = False,
) -> dict[str, Any]:
    """Run a training in a process of its own, and return what it found."""
    case = {
        "graph": str(shape.graph),
        "num_neighbors": shape.num_neighbors,
        "batch_size": shape.batch_size,
        "dim": shape.dim,
        "num_tasks": num_tasks,
        "balancings": balancings,
        "compiled": compiled,
        "precision": "auto",
        "rounds": 1 if args.quick else args.rounds,
        "num_steps": 3 if args.quick else 50,
        "quick": args.quick,
    }
    with scratch() as folder:
        wish, out = folder / "case.json", folder / "out.json"
        wish.write_text(json.dumps(case))
        script = str(ROOT / "benchmarks" / "_device_step.py")
        with Ranks([script, str(wish), str(out)], folder) as ranks:
            ranks.wait()
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def _told(found: Mapping[str, Any]) -> str:
    """Say what the device can do, and whether a step waits for it."""
    rates = found["ceilings"]
    flops = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in rates["flops"].items())
    return (
        f"ceilings: copies {rates['copied'] / 1e9:.3g} GB/s, rows {rates['gathered'] / 1e9:.3g} "
        f"GB/s, {rates['reads'] / 1e9:.3g} G reads/s, TFLOP/s {flops}; a batch of "
        f"{sum(found['batch']['nodes']):,} nodes and {sum(found['batch']['edges']):,} edges; "
        f"a step launches {found['launches']} operations, its loader {found['loader_launches']}; a "
        f"step waits for the device: {found['waits']}"
    )


def _add(report: Report, **cells: object) -> None:
    report.rows.append({column: cells.get(column) for column in COLUMNS})


def _look(used: list[float]) -> None:
    """Note how busy the GPU is; nothing where there is none."""
    if (busy := _busy()) is not None:
        used.append(busy)


def _busy() -> float | None:
    """Return the share of the last moments in which the GPU was busy, in percent."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(told.splitlines()[0])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return None


def _options(parser: ArgumentParser) -> None:
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--only", choices=("products", "balancing", "papers"))
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(3)")
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=sorted({max(cores // 2, 1), max(cores - 2, 1)}),
        metavar="N",
        help="of plain PyG's loader; the best one counts",
    )
    parser.add_argument("--home", type=Path, help="of the big graph, 37 GB; default: the cache")


if __name__ == "__main__":
    run(measure, __doc__, _options)
