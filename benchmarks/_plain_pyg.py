"""The peer: plain PyG as its multi-GPU example does it, on the arrays of a graph folder.

NeighborLoader, SAGEConv over the whole sampled subgraph in every layer, DDP, Adam, fp32. Each rank
loads the tensors. (examples/multi_gpu/distributed_sampling.py of PyG 2.8, without its dropout.) On
a GPU the features lie there and the CPU samples, as in its examples/reddit.py.
"""

import argparse
import json
import os
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader
from torch_geometric.nn import SAGEConv
from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SPARSE

EDGE = "edge.node.to.node"


class Sage(nn.Module):
    """The example's network; with heads, its last layer is a hidden one."""

    def __init__(self, widths: list[int], num_heads: int, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(SAGEConv(*pair) for pair in pairwise(widths))
        self.heads = nn.ModuleList(nn.Linear(widths[-1], num_classes) for _ in range(num_heads))

    def forward(self, x: Tensor, edge_index: Tensor, batch_size: int, task: int) -> Tensor:
        """Return the classes of the seeds."""
        for i, conv in enumerate(self.convs):
            x = conv(x, edge_index)
            if i < len(self.convs) - 1:
                x = x.relu_()
        x = x[:batch_size]
        return self.heads[task](x) if self.heads else x


def load(folder: Path, num_tasks: int) -> Data:
    """Return the graph in memory of this process."""
    colptr, row = (np.load(folder / f"{EDGE}.{part}.npy") for part in ("colptr", "row"))
    col = np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))
    labels = [np.load(folder / f"node.node.label.y{i}.npy") for i in range(num_tasks)]
    return Data(
        x=torch.from_numpy(np.load(folder / "node.node.features.npy")),
        edge_index=torch.stack([torch.from_numpy(row).long(), torch.from_numpy(col)]),
        y=torch.from_numpy(np.stack(labels, axis=1)).long(),
    )


def loaders(
    args: argparse.Namespace, data: Data, seeds: Tensor, number: int
) -> list[NeighborLoader]:
    """Return a loader for each task: PyG's sampler where it has one, else ours."""
    sampler = None if WITH_PYG_LIB or WITH_TORCH_SPARSE else _our_sampler(args)
    return [
        NeighborLoader(
            data,
            num_neighbors=args.num_neighbors,
            input_nodes=seeds,
            batch_size=args.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=args.num_workers,
            persistent_workers=args.num_workers > 0,
            is_sorted=True,
            neighbor_sampler=sampler,
        )
        for _ in range(number)
    ]


def _our_sampler(args: argparse.Namespace) -> object:
    from mtl.graphs.cache import open_graph
    from mtl.graphs.folder import Folder
    from mtl.loaders.samplers.numba import NumbaSampler

    return NumbaSampler(open_graph(Folder(path=args.graph)).topology(), args.num_neighbors)


def main() -> None:
    """Train until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--num-neighbors", type=int, nargs="+", required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num-tasks", type=int, help="heads with a loader each; default: no head")
    args = parser.parse_args()
    dist.init_process_group("nccl" if args.device == "cuda" else "gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // world_size))
    torch.manual_seed(0)
    number = args.num_tasks or 1
    data = load(args.graph, number).to(args.device, "x", "y")
    split = np.load(args.graph / "node.node.split.random.npy")
    seeds = torch.from_numpy(np.flatnonzero(split == 1))[rank::world_size]
    train(args, loaders(args, data, seeds, number), _model(args, data, number), is_main=rank == 0)


def _model(args: argparse.Namespace, data: Data, number: int) -> nn.Module:
    num_classes = int(data.y.max()) + 1
    last = args.dim if args.num_tasks else num_classes
    widths = [data.num_features, *[args.dim] * (len(args.num_neighbors) - 1), last]
    model = Sage(widths, args.num_tasks or 0, num_classes).to(args.device)
    return DistributedDataParallel(model, find_unused_parameters=number > 1)


def train(
    args: argparse.Namespace, each: list[NeighborLoader], model: nn.Module, *, is_main: bool
) -> None:
    """Loop for ever, a line a step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    step = 0
    with args.metrics.open("w") if is_main else open(os.devnull, "w") as file:
        while True:
            for batches in zip(*each, strict=True):
                optimizer.zero_grad()
                for task, sampled in enumerate(batches):
                    batch = sampled.to(args.device)
                    out = model(batch.x, batch.edge_index, batch.batch_size, task)
                    loss = F.cross_entropy(out, batch.y[: batch.batch_size, task])
                    loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
                file.write(json.dumps({"step": step, "time": time.time()}) + "\n")
                file.flush()


if __name__ == "__main__":
    main()
