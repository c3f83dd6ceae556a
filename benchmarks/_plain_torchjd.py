"""The peer: TorchJD as its documentation uses it, one process, on our model and our batches.

`mtl_backward` takes the gradient of every task through the whole trunk, one loss at a time;
UPGrad makes one of them. Nothing of our engine: no weights before the backward, no Gramian.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
from torchjd.aggregation import UPGrad
from torchjd.autojac import jac_to_grad, mtl_backward

from job.allocator import keep_freed_memory
from mtl.graphs.cache import open_graph
from mtl.graphs.folder import Folder
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders.sage import Sage
from mtl.models.multitask import build_model
from mtl.models.sharing.hard import Hard
from mtl.tasks.bound import bind_tasks
from mtl.tasks.losses import apart
from mtl.tasks.node_classification import NodeClassification


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    store = open_graph(Folder(path=args.graph))
    names = range(args.num_tasks)
    tasks = bind_tasks({f"t{i}": NodeClassification(label=f"y{i}") for i in names}, store)
    num_hops, dtype = len(args.num_neighbors), torch.bfloat16 if args.bf16 else None
    loader = Loader(
        num_neighbors=tuple(args.num_neighbors), batch_size=args.batch_size, num_threads=1
    )
    stream = build_stream(loader, store, tasks, num_hops=num_hops, seed=0, dtype=dtype)
    encoder = Sage(num_layers=num_hops, dropout=0.0)
    model = build_model(Model(encoder=encoder, sharing=Hard(), dim=args.dim), store, tasks)
    keep_freed_memory()
    optimizer, aggregator = torch.optim.Adam(model.parameters()), UPGrad()
    with args.metrics.open("w", buffering=1) as file:
        for step, batches in stream.steps(0, 1_000_000):
            for batch in batches:
                with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                    outputs = model(batch)
                losses = apart({name: x.float() for name, x in outputs.items()}, batch, tasks)
                features = list(model.representation.values())
                mtl_backward(losses, features, parallel_chunk_size=1)
                jac_to_grad(model.bottom.parameters(), aggregator)
            optimizer.step()
            optimizer.zero_grad()
            file.write(json.dumps({"step": step + 1, "time": time.time()}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graph", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--num-neighbors", type=int, nargs="+", required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--num-tasks", type=int, required=True)
    parser.add_argument("--bf16", action="store_true")
    main(parser.parse_args())
