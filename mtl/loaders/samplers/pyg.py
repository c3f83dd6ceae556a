"""sampler: PyG's own NeighborSampler, over pyg-lib or torch-sparse, whichever is installed."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric import typing as installed
from torch_geometric.sampler import NeighborSampler

from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType
from mtl.loaders.samplers._hops import colptr_of, count_hops
from mtl.loaders.samplers._inputs import Ids, read_seeds
from mtl.loaders.samplers._output import pack
from mtl.loaders.samplers._pyg_data import TIME, WEIGHT, pyg_data
from mtl.loaders.samplers._random import begin_state
from mtl.loaders.samplers.base import Sampler, Subgraph


class PyGSampler(Sampler):
    """Draw neighbours with the libraries that PyG uses; `Sampler` says what the options mean.

    They draw from PyTorch's generator, of which the process has one: call it from one thread, while
    no other draws. torch-sparse knows neither trees nor weights nor times.

    Raises:
        ConfigError: neither library is installed, or the one there is cannot do what is asked.
    """

    max_threads: int | None = 0

    def _prepare(self) -> None:
        if not (installed.WITH_PYG_LIB or installed.WITH_TORCH_SPARSE):
            raise ConfigError(
                "backend: pyg needs pyg-lib or torch-sparse, and neither is installed: "
                f"pip install pyg-lib -f https://data.pyg.org/whl/torch-{torch.__version__}.html, "
                "or use numba"
            )
        if self.hidden:
            raise ConfigError("backend: pyg cannot hide the edges of a link_prediction; use numba")
        if not installed.WITH_PYG_LIB and (self.disjoint or self.weighted):
            raise ConfigError(
                "backend: with pyg, disjoint, weighted and temporal sampling need pyg-lib, "
                "and torch-sparse alone is installed; or use numba"
            )
        by_type, timed = self.topology.is_heterogeneous, self.temporal is not None
        fan_outs = {kind: list(hops) for kind, hops in self.fan_outs.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PyG prefers pyg-lib to torch-sparse
            self._sampler = NeighborSampler(
                pyg_data(self.topology, weighted=self.weighted, timed=timed),
                num_neighbors=fan_outs if by_type else next(iter(fan_outs.values())),
                replace=self.replace,
                disjoint=self.disjoint,
                temporal_strategy=self.temporal or "uniform",
                time_attr=TIME if timed else None,
                weight_attr=WEIGHT if self.weighted else None,
                is_sorted=not timed,  # by time, too, where that matters
            )

    def sample(
        self,
        seeds: Mapping[str, Ids],
        key: int,
        *,
        exclude: Mapping[EdgeType, Ids] | None = None,
        time: Mapping[str, Ids] | None = None,
    ) -> Subgraph:
        """Return the subgraph around seeds; see `Sampler.sample`.

        Raises:
            ConfigError: edges are to be excluded, which PyG's sampler cannot do.
        """
        if exclude:
            raise ConfigError("backend: pyg cannot exclude edges; use numba")
        given = read_seeds(self.topology, seeds)
        for name, nodes in given.items():
            values, counts = np.unique(nodes, return_counts=True)
            if not self.disjoint and counts.max(initial=1) > 1:  # torch-sparse would crash
                twice = values[counts > 1][0]
                raise ValueError(f"seeds: {name} {twice} is there twice; take numba")
        tensors, times = _tensors(given), _tensors(self._times(given, time))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(begin_state(self.seed, key)[0] >> 1))
            if self.topology.is_heterogeneous:
                output = self._sampler._sample(tensors, times or None)
            else:
                output = self._sampler._sample(*tensors.values(), *times.values())
        return self._complete(output, {name: len(its) for name, its in given.items()})

    def _complete(self, output: Any, num_seeds: dict[str, int]) -> Subgraph:
        """Add the counts of each hop, which torch-sparse has not, and `colptr`."""
        names, kinds = list(self.topology.num_nodes), list(self.topology.edges)
        by_type = self.topology.is_heterogeneous

        def split(part: Any, types: list[Any]) -> dict[Any, Any]:
            return {kind: part[kind] for kind in types} if by_type else {types[0]: part}

        row, col = split(output.row, kinds), split(output.col, kinds)
        nodes, edges = count_hops(num_seeds, row, col, self.num_hops)
        order = split(self._sampler.edge_permutation, kinds)
        parts = {
            "node": split(output.node, names),
            "row": row,
            "col": col,
            "edge": {
                kind: edge if order[kind] is None else order[kind][edge]
                for kind, edge in split(output.edge, kinds).items()
            },
            "num_sampled_nodes": nodes,
            "num_sampled_edges": edges,
        }
        if self.disjoint:
            parts["batch"] = split(output.batch, names)
        colptr = {kind: colptr_of(col[kind], nodes[kind[2]]) for kind in kinds}
        return pack(parts, colptr, heterogeneous=by_type)


def _tensors(parts: Mapping[str, Ids]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(part) for name, part in parts.items()}
