"""graph: features shared out over the processes, where `graph.features` says so."""

from job.runtime import Runtime
from mtl.graphs import Source
from mtl.graphs.store import GraphStore
from mtl.loaders.microbatch import features_of
from mtl.loaders.sharded import ShardedFeatures


def share_out(store: GraphStore, options: Source, runtime: Runtime) -> None:
    """Leave each process the features of its share of the nodes; every process calls this."""
    if options.features == "sharded" and runtime.world_size > 1:
        store.shards = ShardedFeatures(features_of(store), runtime.channel())
