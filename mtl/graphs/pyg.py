"""Any data set of torch_geometric.datasets: one graph, or many small ones."""

import hashlib
import inspect
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from mtl.errors import ConfigError
from mtl.graphs import Source
from mtl.graphs._foreign import check_trust, foreign_reader
from mtl.graphs._report import Report
from mtl.graphs.writer import GraphWriter
from mtl.plugin import nearest

if TYPE_CHECKING:
    from torch_geometric.data import Data, Dataset, HeteroData

    from mtl.graphs._pyg_reading import Many

NO_PARTS = "CSL"
"""The data set of GNNBenchmarkDataset that is the same for every `split`."""
OURS = ("root", "transform", "pre_transform", "pre_filter", "force_reload")


@dataclass(frozen=True, kw_only=True)
class Pyg(Source):
    """A data set by the name of its class; what its graphs hold keeps PyG's names.

    Labels are `y` and, on edges, `edge_label`; splits are `split` (or `split_0` ... where PyG has
    several) and `random`, 60 % train, 20 % val, 20 % test, of every type that has labels. A
    homogeneous graph has the node type `node` and the edge type [node, to, node].

    Many graphs (of one type of nodes) are one graph folder with the collection `graph`, which has
    the labels of whole graphs; columns of whole numbers in `x` and `edge_attr` are categories, each
    of which becomes a feature; nodes without `x` get the feature 1. Where the class reads train,
    val and test apart (its argument `split`, if `args` does not give it) all three are read, and
    are the split `split`. Labels of nodes and edges are split as their graphs are.
    """

    parts: ClassVar[tuple[str, ...]] = (
        "_categories",
        "_foreign",
        "_pyg_graph",
        "_pyg_reading",
        "_pyg_union",
        "_pyg_values",
        "splits",
    )

    dataset: str
    """Name of the class, such as WebKB or MovieLens."""
    args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the class besides its root and transforms, such as {name: Cornell}."""
    root: Path | None = None
    """Folder that PyG reads the raw files from, downloads them to and writes `processed` into.
    What it holds is not looked at again: delete the converted graph to convert it again."""
    trust: bool = False
    """PyG's readers unpickle files, and a pickle can run any code: nothing is read before you say
    that you trust them."""
    undirected: bool = False
    """Add every edge the other way round; between two node types as the relation `rev_...`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the split `random`, and of data sets that PyG draws at random."""

    def __post_init__(self) -> None:
        check_trust(self.trust, "PyG")

    @property
    def name(self) -> str:
        """Name of the class and, where the class has several graphs, of the graph."""
        graph = self.args.get("name")
        known = isinstance(graph, str) and re.fullmatch(r"[\w-]+", graph)
        return f"{self.dataset}-{graph}" if known else self.dataset

    def fingerprint(self) -> str:
        """Hash what decides the graph, PyG's version included."""
        parts = super().fingerprint() + version("torch_geometric")
        return hashlib.sha256(parts.encode()).hexdigest()

    def write(self, writer: GraphWriter) -> None:
        """Write the graph, or the graphs.

        Raises:
            ConfigError: there is no such data set, or it has no such arguments.
            DataError: it cannot be read, or its graphs do not fit together.
        """
        from mtl.graphs._pyg_graph import PyGGraph
        from mtl.graphs._pyg_reading import Many
        from mtl.graphs._pyg_union import union

        found = self._read(writer.report)
        data, graphs = union(found, self.seed) if isinstance(found, Many) else (found, None)
        PyGGraph(data, self.seed, graphs).write(writer)

    def _read(self, report: Report) -> "Data | HeteroData | Many":
        from torch_geometric import datasets
        from torch_geometric.data import Data, HeteroData
        from torch_geometric.transforms import ToUndirected

        from mtl.graphs._pyg_reading import Reader

        names = sorted(datasets.__all__)
        if self.dataset not in names:
            hint = nearest(self.dataset, names)
            raise ConfigError(
                f"graph.dataset: no {self.dataset!r} in torch_geometric.datasets{hint}"
            )
        kind = getattr(datasets, self.dataset)
        args = self._arguments(kind)
        shown = ", ".join(f"{name}={value!r}" for name, value in args.items())
        prepare = ToUndirected(reduce="max") if self.undirected else None
        with foreign_reader(f"{self.dataset}({shown})", self.seed):
            dataset = kind(**args)
            if len(dataset) != 1:
                return Reader(self.name, prepare, report).read(self._parts(kind, args, dataset))
            data = dataset[0]
            if not isinstance(data, Data | HeteroData):
                what = f"{self.dataset} is {type(data).__name__}"
                raise ConfigError(f"graph.dataset: {what}; Data and HeteroData can be converted")
            return prepare(data) if prepare else data

    def _parts(self, kind: type, args: dict[str, Any], dataset: Any) -> "dict[str, Dataset]":
        """Return train, val and test, where PyG reads them apart; else the data set alone."""
        split = inspect.signature(kind).parameters.get("split")
        reads_apart = split is not None and split.default == "train"
        if not reads_apart or "split" in self.args or self.args.get("name") == NO_PARTS:
            return {"": dataset}
        return {"train": dataset} | {part: kind(**args, split=part) for part in ("val", "test")}

    def _arguments(self, kind: type) -> dict[str, Any]:
        """Check the arguments against the signature, so that mistakes have a YAML path."""
        parameters = inspect.signature(kind).parameters
        named = {n: p for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
        allowed = [name for name in named if name not in OURS]
        for name in self.args:
            if name not in allowed and len(named) == len(parameters):
                hint = nearest(name, allowed)
                raise ConfigError(
                    f"graph.args.{name}: unknown{hint} ({self.dataset} has: {', '.join(allowed)})"
                )
        if self.root and "root" not in named:
            raise ConfigError(f"graph.root: {self.dataset} reads no files; leave it out")
        given = {**({"root": str(self.root)} if self.root else {}), **self.args}
        for name, parameter in named.items():
            if name not in given and parameter.default is parameter.empty:
                path = "graph.root" if name == "root" else f"graph.args.{name}"
                raise ConfigError(f"{path}: required by {self.dataset}, but missing")
        return given
