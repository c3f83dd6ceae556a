"""Any data set of torch_geometric.datasets that is one graph, homogeneous or heterogeneous."""

import hashlib
import inspect
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mtl.errors import ConfigError
from mtl.graphs import Source
from mtl.graphs._foreign import check_trust, foreign_reader
from mtl.graphs.writer import GraphWriter
from mtl.plugin import nearest

OURS = ("root", "transform", "pre_transform", "pre_filter", "force_reload")


@dataclass(frozen=True, kw_only=True)
class Pyg(Source):
    """A data set by the name of its class; what its graph holds keeps PyG's names.

    Labels are `y` and, on edges, `edge_label`; splits are `split` (or `split_0` ... where PyG has
    several) and `random`, 60 % train, 20 % val, 20 % test, of every type that has labels. A
    homogeneous graph has the node type `node` and the edge type [node, to, node].
    """

    parts: ClassVar[tuple[str, ...]] = ("_foreign", "_pyg_graph", "_pyg_values", "splits")

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
        """Write the graph.

        Raises:
            ConfigError: there is no such data set, or it has no such arguments.
        """
        from mtl.graphs._pyg_graph import PyGGraph

        PyGGraph(self._read(), self.seed).write(writer)

    def _read(self) -> Any:
        from torch_geometric import datasets
        from torch_geometric.data import Data, HeteroData
        from torch_geometric.transforms import ToUndirected

        names = sorted(datasets.__all__)
        if self.dataset not in names:
            hint = nearest(self.dataset, names)
            raise ConfigError(
                f"graph.dataset: no {self.dataset!r} in torch_geometric.datasets{hint}"
            )
        kind = getattr(datasets, self.dataset)
        args = self._arguments(kind)
        shown = ", ".join(f"{name}={value!r}" for name, value in args.items())
        with foreign_reader(f"{self.dataset}({shown})", self.seed):
            dataset = kind(**args)
            if len(dataset) != 1:
                raise ConfigError(
                    f"graph.dataset: {self.dataset} is {len(dataset)} graphs; a data set of one "
                    "graph is needed here"
                )
            data = dataset[0]
            if not isinstance(data, Data | HeteroData):
                what = f"{self.dataset} is {type(data).__name__}"
                raise ConfigError(f"graph.dataset: {what}; Data and HeteroData can be converted")
            return ToUndirected(reduce="max")(data) if self.undirected else data

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
