"""ogbn-arxiv, products, proteins, mag and papers100M: OGB's node property data sets by name."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from mtl.errors import ConfigError
from mtl.graphs import Source
from mtl.graphs._foreign import check_trust, foreign_reader
from mtl.graphs.writer import GraphWriter

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

MASKS = {"train": "train_mask", "valid": "val_mask", "test": "test_mask"}
LOAD_ALL = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@dataclass(frozen=True, kw_only=True)
class Ogb(Source):
    """Nodes with the label `y`; splits `split`, OGB's own, and `random`; years are node times.

    Needs the package ogb. Its conversion is tested on small files in OGB's format.
    """

    parts: ClassVar[tuple[str, ...]] = ("_foreign", "_pyg_graph", "_pyg_values", "splits")

    name: Literal["ogbn-arxiv", "ogbn-products", "ogbn-proteins", "ogbn-mag", "ogbn-papers100M"] = (
        "ogbn-arxiv"
    )
    """Which graph."""
    root: Path
    """Folder that ogb reads from, downloads to (80 MB to 60 GB) and writes `processed` into."""
    trust: bool = False
    """ogb's readers unpickle files, and a pickle can run any code: nothing is read before you say
    that you trust them."""
    undirected: bool = False
    """Add every edge the other way round; between two node types as the relation `rev_...`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the split `random`: 60 % train, 20 % val, 20 % test."""

    def __post_init__(self) -> None:
        check_trust(self.trust, "ogb")
        if find_spec("ogb") is None:
            raise ConfigError('needs the package ogb: pip install "graphmtl[ogb]"')

    def fingerprint(self) -> str:
        """Hash what decides the graph, ogb's version included."""
        parts = super().fingerprint() + version("ogb")
        return hashlib.sha256(parts.encode()).hexdigest()

    def write(self, writer: GraphWriter) -> None:
        """Write the graph.

        Raises:
            ConfigError: ogb asks whether it may download, and nobody answers yes.
        """
        from mtl.graphs._pyg_graph import PyGGraph

        with foreign_reader(self.name, self.seed), _whole_objects():
            try:
                data = self._read()
            except (EOFError, SystemExit) as error:
                raise ConfigError(
                    f"graph.root: ogb asks before it downloads {self.name} or replaces an older "
                    "version of it; answer in a terminal, or put `echo y |` before the command"
                ) from error
        PyGGraph(data, self.seed).write(writer)

    def _read(self) -> "Data | HeteroData":
        from ogb.nodeproppred import PygNodePropPredDataset
        from torch_geometric.transforms import ToUndirected
        from torch_geometric.utils import index_to_mask

        dataset = PygNodePropPredDataset(self.name, root=str(self.root))
        data = _by_type(dataset[0]) if dataset.is_hetero else dataset[0]
        stores = {kind: data[kind] for kind in data.node_types} if dataset.is_hetero else {"": data}
        for store in stores.values():
            if "node_year" in store:
                store.time = store.node_year
                del store.node_year
            if "y" in store and dataset.task_type == "multiclass classification":
                store.y = store.y.nan_to_num(nan=-1).long()
        for part, ids in dataset.get_idx_split().items():
            for kind, rows in ids.items() if dataset.is_hetero else [("", ids)]:
                store = stores[kind]
                store[MASKS[part]] = index_to_mask(rows, size=store.num_nodes)
        return ToUndirected(reduce="max")(data) if self.undirected else data


def _by_type(data: "Data") -> "HeteroData":
    """Return the graph that ogb keeps as mappings by type: x_dict, edge_index_dict ..."""
    from torch_geometric.data import HeteroData

    hetero = HeteroData()
    for key, values in data.to_dict().items():
        for kind, value in values.items() if isinstance(values, dict) else ():
            hetero[kind][key.removesuffix("_dict")] = value
    return hetero


@contextmanager
def _whole_objects() -> Iterator[None]:
    """Let torch.load unpickle what ogb saved: version 1.3.6 does not say that it needs this."""
    before = os.environ.get(LOAD_ALL)
    os.environ[LOAD_ALL] = "1"
    try:
        yield
    finally:
        os.environ.pop(LOAD_ALL)
        if before is not None:
            os.environ[LOAD_ALL] = before
