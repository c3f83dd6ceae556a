"""The peer of mixed tasks: a PyG loader and a pass of one trunk for each task in every step.

PyG's NeighborLoader and LinkNeighborLoader with our sampler (PyG has none for several types of
nodes without pyg-lib or torch-sparse), HeteroConv of SAGEConv over the whole subgraph, a linear
layer or an inner product as head, Adam, fp32. Edges that are scored carry messages, as they do
there.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from _mixed import TASKS
from torch import Tensor, nn
from torch_geometric.loader import LinkNeighborLoader, NeighborLoader
from torch_geometric.nn import HeteroConv, SAGEConv
from torch_geometric.sampler import NegativeSampling

from job.config import read
from mtl.graphs.cache import open_graph
from mtl.graphs.folder import Folder
from mtl.graphs.store import GraphStore
from mtl.loaders.samplers.numba import NumbaSampler
from mtl.tasks.bound import BoundTask, bind_tasks


class Trunk(nn.Module):
    """A linear layer a type of nodes, then convolutions over all relations."""

    def __init__(self, store: GraphStore, dim: int, num_layers: int) -> None:
        super().__init__()
        widths = {kind: store.features(kind).shape[1] for kind in store.node_types}
        self.inputs = nn.ModuleDict({kind: nn.Linear(w, dim) for kind, w in widths.items()})
        self.convs = nn.ModuleList(
            HeteroConv({kind: SAGEConv((dim, dim), dim) for kind in store.edge_types}, aggr="sum")
            for _ in range(num_layers)
        )

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Return the embeddings of all nodes of a subgraph."""
        x = {kind: layer(batch[kind].x) for kind, layer in self.inputs.items()}
        for conv in self.convs:
            x = {kind: out.relu() for kind, out in conv(x, batch.edge_index_dict).items()}
        return x


def loader(store: GraphStore, task: BoundTask, sampler: NumbaSampler, batch_size: int) -> Any:
    """Return the loader of one task over its training seeds."""
    seeds = torch.from_numpy(task.seeds("train")).long()
    common = {"num_neighbors": list(next(iter(sampler.fan_outs.values())))}
    common |= {"batch_size": batch_size, "shuffle": True}
    common |= {"neighbor_sampler": sampler}
    if isinstance(task.owner, str):
        return NeighborLoader(store.data(), input_nodes=(task.owner, seeds), **common)
    csc, loss = store.topology().edges[task.owner], getattr(task.task, "loss", None)
    ends = [csc.row[seeds.numpy()], csc.destination(seeds.numpy())]
    pairs = torch.stack([torch.from_numpy(its).long() for its in ends])
    kinds = {"binary": ("binary", 1), "ranking": ("triplet", 4)}
    return LinkNeighborLoader(
        store.data(),
        edge_label_index=(task.owner, pairs),
        edge_label=None if loss in kinds else torch.from_numpy(task.label.values[seeds.numpy()]),
        neg_sampling=NegativeSampling(*kinds[loss]) if loss in kinds else None,
        **common,
    )


def head(task: BoundTask, dim: int) -> nn.Module:
    """Return what makes outputs of the embeddings that a task reads."""
    if isinstance(task.owner, str):
        return nn.Linear(dim, task.num_outputs)
    if task.task.type == "link_prediction":
        return nn.Linear(dim, dim)
    return nn.Sequential(nn.Linear(3 * dim, dim), nn.ReLU(), nn.Linear(dim, task.num_outputs))


def loss(task: BoundTask, layer: nn.Module, x: dict[str, Tensor], batch: Any) -> Tensor:
    """Return the loss of a batch of the task's own loader."""
    if isinstance(task.owner, str):
        ids = batch[task.owner].input_id
        seeds = task.seeds("train")[ids.numpy()]
        out = layer(x[task.owner][: len(ids)])
        return task.loss_sum(out, task.targets(seeds, training=True)) / len(seeds)
    (first, second), edges = task.node_types, batch[task.owner]
    if "edge_label_index" in edges:
        src, dst = x[first][edges.edge_label_index[0]], x[second][edges.edge_label_index[1]]
        if task.task.type == "link_prediction":
            odds = (layer(src) * dst).sum(1)
            return F.binary_cross_entropy_with_logits(odds, edges.edge_label.float())
        return F.cross_entropy(layer(torch.cat([src, dst, src * dst], 1)), edges.edge_label.long())
    src, stores = layer(x[first][batch[first].src_index]), batch[second]
    better = (src * x[second][stores.dst_pos_index]).sum(1, keepdim=True)
    worse = (src.unsqueeze(1) * x[second][stores.dst_neg_index]).sum(2)
    return F.softplus(worse - better).mean()


def main() -> None:
    """Train until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--num-neighbors", type=int, nargs="+", required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--seeds", nargs="+", required=True, metavar="TASK=NUMBER")
    args = parser.parse_args()
    numbers = {name: int(number) for name, _, number in (s.partition("=") for s in args.seeds)}
    torch.manual_seed(0)
    store = open_graph(Folder(path=args.graph))
    tasks = bind_tasks(_options(args.graph, numbers), store)
    sampler = NumbaSampler(store.topology(), args.num_neighbors)
    each = {n: _forever(loader(store, tasks[n], sampler, number)) for n, number in numbers.items()}
    trunk = Trunk(store, args.dim, len(args.num_neighbors))
    heads = nn.ModuleDict({name: head(task, args.dim) for name, task in tasks.items()})
    optimizer = torch.optim.Adam([*trunk.parameters(), *heads.parameters()], lr=0.001)
    with args.metrics.open("w") as file:
        step = 0
        while True:
            optimizer.zero_grad()
            for name, task in tasks.items():
                batch = next(each[name])
                loss(task, heads[name], trunk(batch), batch).backward()
            optimizer.step()
            step += 1
            file.write(json.dumps({"step": step, "time": time.time()}) + "\n")
            file.flush()


def _options(graph: Path, numbers: dict[str, int]) -> Any:
    """Return the tasks as a configuration has them."""
    model = {"encoder": {"type": "sage", "num_layers": 2}, "sharing": {"type": "hard"}}
    tree = {"run": {"name": "plain"}, "graph": {"type": "folder", "path": str(graph)}}
    tree |= {"tasks": {name: TASKS[name] for name in numbers}}
    return read({**tree, "model": model, "train": {"epochs": 1}}, []).tasks


def _forever(batches: Any) -> Iterator[Any]:
    while True:
        yield from batches


if __name__ == "__main__":
    main()
