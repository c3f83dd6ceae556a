"""The outputs of one network for all nodes of a graph: layer by layer as we do, or as PyG does.

usage: _inference.py ours|pyg GRAPH BATCH_SIZE OUT

Writes OUT.npy, and OUT.json: seconds from the graph's files to the outputs, bytes on the disk.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader
from torch_geometric.nn import GraphSAGE
from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SPARSE

from job.config import JobConfig, read
from job.evaluation import stream_maker
from job.layerwise import Layers
from job.runtime import Runtime
from mtl.graphs.store import GraphStore
from mtl.loaders.samplers.numba import NumbaSampler
from mtl.models.multitask import MultiTaskModel, build_model
from mtl.tasks._asked import ask
from mtl.tasks.bound import BoundTask, bind_tasks

DIM, NUM_LAYERS, TASK = 256, 3, "y"


@dataclass(frozen=True)
class Network:
    """SAGE with three layers of 256 and a head for a label, with weights that both sides have."""

    config: JobConfig
    store: GraphStore
    tasks: dict[str, BoundTask]
    model: MultiTaskModel


def network(graph: Path, batch_size: int) -> Network:
    """Build it; the input projection has no bias, so that PyG's first layer can contain it."""
    config = read(
        {
            "run": {"name": "inference"},
            "graph": {"type": "folder", "path": str(graph)},
            "tasks": {TASK: {"type": "node_classification", "label": "y0"}},
            "model": {
                "dim": DIM,
                "encoder": {"type": "sage", "num_layers": NUM_LAYERS},
                "sharing": {"type": "hard"},
            },
            "loader": {"num_neighbors": [-1] * NUM_LAYERS},
            "train": {"epochs": 1, "precision": "fp32"},
            "evaluate": {"batch_size": batch_size, "num_neighbors": "all"},
        },
        [],
    )
    store = GraphStore(graph)
    tasks = bind_tasks(config.tasks, store)
    torch.manual_seed(0)
    model = build_model(config.model, store, tasks).eval()
    nn.init.zeros_(model.bottom.projection.linears.of("node").bias)
    return Network(config, store, tasks, model)


@torch.no_grad()
def ours(net: Network, runtime: Runtime, nodes: np.ndarray) -> tuple[Tensor, int]:
    """Return the outputs of some nodes, and the bytes of the tables."""
    make = stream_maker(net.config, runtime, net.config.evaluate.batch_size)
    layers = Layers(net.config, net.store, net.tasks, make, runtime)
    asked, seeds = {TASK: ask(net.tasks[TASK])}, {"node": nodes}
    stream = make(net.store, asked, split="test", seeds=seeds, num_hops=0)
    reader = layers.reader(net.model, [stream])(stream)
    batches = stream.microbatches(range(stream.order.steps_per_epoch))
    return torch.cat([reader(batch)[TASK] for batch in batches]), layers.num_bytes


@torch.no_grad()
def plain(net: Network, batch_size: int, num_workers: int) -> Tensor:
    """Return those of all nodes by PyG's recipe: BasicGNN.inference."""
    csc = next(iter(net.store.topology().edges.values()))
    row = torch.from_numpy(csc.row.astype(np.int64))
    col = torch.repeat_interleave(torch.from_numpy(np.diff(csc.colptr)))
    data = Data(net.store.features("node").clone(), torch.stack([row, col]))
    own = WITH_PYG_LIB or WITH_TORCH_SPARSE
    loader = NeighborLoader(
        data,
        num_neighbors=[-1],
        batch_size=batch_size,
        num_workers=num_workers,
        is_sorted=True,
        neighbor_sampler=None if own else NumbaSampler(net.store.topology(), [-1]),
    )
    head = net.model.heads[TASK]
    return head.prior + head.scale * head.linear(peer(net, data).inference(loader))


def peer(net: Network, data: Data) -> nn.Module:
    """Return PyG's network with our weights, the input projection within its first layer."""
    bottom, kind = net.model.bottom, ("node", "to", "node")
    gnn = GraphSAGE(data.num_features, DIM, NUM_LAYERS).eval()
    inside = bottom.projection.linears.of("node").weight
    for i, (theirs, layer) in enumerate(zip(gnn.convs, bottom.trunk.convolutions, strict=True)):
        root, heard = layer.root.of("node"), layer.neighbors.of(kind)
        theirs.lin_r.weight.copy_(root.weight if i else root.weight @ inside)
        theirs.lin_l.weight.copy_(heard.weight if i else heard.weight @ inside)
        theirs.lin_l.bias.copy_(root.bias)
    return gnn


def main(argv: list[str]) -> None:
    """Compute once, and write what was found."""
    system, graph, batch_size, out = argv[0], Path(argv[1]), int(argv[2]), Path(argv[3])
    with Runtime("fp32") as runtime:
        net, num_bytes = network(graph, batch_size), 0
        start = time.perf_counter()
        if system == "ours":
            found, num_bytes = ours(net, runtime, np.arange(net.store.num_nodes("node")))
        else:
            found = plain(net, batch_size, int(system.removeprefix("pyg")))
        seconds = time.perf_counter() - start
    np.save(out.with_suffix(".npy"), found.numpy())
    out.with_suffix(".json").write_text(json.dumps({"seconds": seconds, "bytes": num_bytes}))


if __name__ == "__main__":
    main(sys.argv[1:])
