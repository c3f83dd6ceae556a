"""Accuracy with every speed option on, against plain PyG in fp32 on whole graphs.

Ours: bf16 where the CPU has it, sampled neighbours, trimmed layers, CSR aggregation. The peer that
judges it: the same network, width, dropout, optimizer, split and number of steps, full-batch, fp32.
Beside it the smaller network of PyG's examples, without an input and a head of its own: what a
trunk that several tasks can share costs on so few labels.

usage: python benchmarks/learning.py [--quick] [--json FILE] [--data DIR]
"""

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from _full_batch import EVERY, Case, full_batch
from _processes import ROOT, Ranks, scratch
from _report import Report, run

NUM_SEEDS, EPOCHS = 5, 200
CASES = (
    Case("Cora", "planetoid", "public", 140, "gcn", dropout=0.6),
    Case("Cora", "planetoid", "public", 140, "sage", dropout=0.6),
    Case("Photo", "amazon", "random", 160, "gcn"),
)


def measure(args: Namespace) -> Report:
    report, data = Report(), args.data.resolve()
    num_seeds, epochs = (1, 2 * EVERY) if args.quick else (NUM_SEEDS, EPOCHS)
    for case in CASES[:1] if args.quick else CASES:
        if not (data / case.name / "raw").is_dir():
            report.notes.append(f"{case.name}: skipped, there is no {data / case.name / 'raw'}")
            continue
        ours = [_ours(case, data, seed, epochs) for seed in range(num_seeds)]
        plain = full_batch(case, data, num_seeds, epochs, shared=True)
        small = full_batch(case, data, num_seeds, epochs, shared=False)
        systems = {
            "ours": ours,
            "plain PyG, fp32, full-batch": plain,
            "the same, two convolutions alone": small,
        }
        for name, accuracies in systems.items():
            row = {"graph": case.name, "network": case.encoder, "system": name}
            report.rows.append({**row, "seeds": num_seeds, **_spread(accuracies)})
        if num_seeds > 1:
            lost, noise = 100 * (mean(plain) - mean(ours)), 100 * _noise(ours, plain)
            what = f"{case.name}, {case.encoder}: points of accuracy lost, bar seed noise"
            report.at_most(what, lost, noise)
    if not report.rows:
        report.rows.append({"graph": "none found"})
    return report


def _spread(accuracies: Sequence[float]) -> dict[str, float | None]:
    deviation = 100 * stdev(accuracies) if len(accuracies) > 1 else None
    return {"test accuracy %": 100 * mean(accuracies), "deviation over seeds": deviation}


def _noise(ours: Sequence[float], plain: Sequence[float]) -> float:
    """Return two standard errors of the difference of two means."""
    return float(2 * (stdev(ours) ** 2 / len(ours) + stdev(plain) ** 2 / len(plain)) ** 0.5)


def _ours(case: Case, data: Path, seed: int, epochs: int) -> float:
    """Train by job/train.py; return the test accuracy of the best epoch in validation."""
    with scratch() as folder:
        config = {
            "run": {"name": "learning", "dir": str(folder / "run"), "seed": seed},
            "graph": case.graph(data),
            "tasks": {"y": {"type": "node_classification", "label": "y", "split": case.split}},
            "loader": {"num_neighbors": [15, 10], "batch_size": case.num_train},
            "model": {
                "dim": case.dim,
                "input_dropout": case.dropout,
                "encoder": {"type": case.encoder, "num_layers": 2, "dropout": case.dropout},
                "sharing": {"type": "hard"},
            },
            "optim": {"algorithm": "adam", "lr": case.lr, "weight_decay": case.weight_decay},
            "train": {"epochs": epochs, "precision": "auto"},
            "evaluate": {
                "every_epochs": EVERY,
                "select": "y/accuracy",
                "num_neighbors": [-1, -1],
            },
            "checkpoint": {"every_epochs": epochs},
            "track": {"mlflow": None, "every_steps": 50},
        }
        (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        with Ranks([str(ROOT / "job" / "train.py"), "config.yaml"], folder) as ranks:
            ranks.wait()
        summary = json.loads((folder / "run" / "summary.json").read_text())
        return float(summary["metrics"]["test/y/accuracy"])


def _options(parser: ArgumentParser) -> None:
    default = Path(os.environ.get("GRAPHMTL_DATA", "data"))
    parser.add_argument(
        "--data", type=Path, default=default, help="has Cora/raw and Photo/raw ($GRAPHMTL_DATA)"
    )


if __name__ == "__main__":
    run(measure, __doc__, _options)
