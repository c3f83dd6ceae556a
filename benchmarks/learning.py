"""Accuracy with every speed option on, against plain PyG in fp32 on whole graphs.

Ours: bf16 where the CPU has it, sampled neighbours, trimmed layers, CSR aggregation. The peer: the
same kind of network, width, dropout, optimizer, split and number of steps, full-batch.

usage: python benchmarks/learning.py [--quick] [--json FILE] [--data DIR]
"""

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from _jobs import ROOT, scratch
from _processes import Ranks
from _report import Report, run

NUM_SEEDS, EPOCHS, EVERY = 5, 200, 2


@dataclass(frozen=True)
class Case:
    """A graph, its split of the literature, and a network for it."""

    name: str
    source: str
    split: str
    num_train: int
    encoder: str
    dim: int = 64
    dropout: float = 0.5
    lr: float = 0.01
    weight_decay: float = 5e-4

    def graph(self, data: Path) -> dict[str, Any]:
        """Return the `graph:` section."""
        return {"type": self.source, "name": self.name, "root": str(data)}


CASES = (
    Case("Cora", "planetoid", "public", 140, "gcn", dropout=0.6),
    Case("Photo", "amazon", "random", 160, "sage"),
)


def measure(args: Namespace) -> Report:
    report, data = Report(), args.data.resolve()
    num_seeds, epochs = (1, 2 * EVERY) if args.quick else (NUM_SEEDS, EPOCHS)
    for case in CASES[:1] if args.quick else CASES:
        if not (data / case.name / "raw").is_dir():
            report.notes.append(f"{case.name}: skipped, there is no {data / case.name / 'raw'}")
            continue
        ours = [_ours(case, data, seed, epochs) for seed in range(num_seeds)]
        plain = _plain(case, data, num_seeds, epochs)
        for name, accuracies in (("ours", ours), ("plain PyG, fp32, full-batch", plain)):
            row = {"graph": case.name, "network": case.encoder, "system": name}
            report.rows.append({**row, "seeds": num_seeds, **_spread(accuracies)})
        if num_seeds > 1:
            lost, noise = 100 * (mean(plain) - mean(ours)), 100 * _noise(ours, plain)
            report.at_most(f"points of accuracy lost on {case.name}, bar seed noise", lost, noise)
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


def _plain(case: Case, data: Path, num_seeds: int, epochs: int) -> list[float]:
    """Train on the whole graph for each seed; return the test accuracies, chosen alike."""
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch import Tensor, nn
    from torch_geometric.nn import GCNConv, SAGEConv

    x, edge_index, y, split, num_classes = _tensors(case, data)
    convolution = {"gcn": GCNConv, "sage": SAGEConv}[case.encoder]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = convolution(x.shape[1], case.dim)
            self.second = convolution(case.dim, num_classes)

        def forward(self) -> Tensor:
            dropped = F.dropout(x, case.dropout, self.training)
            hidden = self.first(dropped, edge_index).relu()
            hidden = F.dropout(hidden, case.dropout, self.training)
            out: Tensor = self.second(hidden, edge_index)
            return out

    def train(seed: int) -> float:
        torch.manual_seed(seed)
        network, best = Network(), (-1.0, 0.0)
        optimizer = torch.optim.Adam(
            network.parameters(), lr=case.lr, weight_decay=case.weight_decay
        )
        for epoch in range(1, epochs + 1):
            network.train()
            optimizer.zero_grad()
            loss = F.cross_entropy(network()[split == 1], y[split == 1])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if epoch % EVERY == 0:
                network.eval()
                with torch.no_grad():
                    right = network().argmax(-1) == y
                scores = [float(right[split == part].float().mean()) for part in (2, 3)]
                best = max(best, (scores[0], scores[1]), key=lambda score: score[0])
        return best[1]

    return [train(seed) for seed in range(num_seeds)]


def _tensors(case: Case, data: Path) -> tuple[Any, ...]:
    """Return features, edge_index, classes, split and number of classes of the same graph."""
    import numpy as np
    import torch

    from mtl.graphs import Source
    from mtl.graphs.cache import open_graph

    store = open_graph(Source.read(case.graph(data)))
    (node,), (edge,) = store.node_types, store.edge_types
    colptr, row = store.csc(edge)
    col = np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))
    label = store.label(node, "y")
    edges = torch.from_numpy(np.stack([row, col]).astype(np.int64))
    split = torch.from_numpy(np.array(store.split(node, case.split)))
    classes = torch.from_numpy(np.array(label.values, np.int64))
    return store.features(node), edges, classes, split, label.num_classes


def _options(parser: ArgumentParser) -> None:
    default = Path(os.environ.get("GRAPHMTL_DATA", "data"))
    parser.add_argument(
        "--data", type=Path, default=default, help="has Cora/raw and Photo/raw ($GRAPHMTL_DATA)"
    )


if __name__ == "__main__":
    run(measure, __doc__, _options)
