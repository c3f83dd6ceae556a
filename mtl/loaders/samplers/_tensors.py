"""sampler: one hop, as operations on whole tensors of any device.

Nothing here waits for the device but `read`: whoever draws asks for all sizes of a hop at once.
"""

import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from mtl.loaders.samplers._numbers import Numbers
from mtl.loaders.samplers._removed import Removed

Ids: TypeAlias = Int[Tensor, " items"]
MOST = 32
"""Neighbours of a node that one kernel draws; it compares each with all others of its node."""
TRIAL = np.array([0x9E3779B97F4A7C15], np.uint64)
Places = Int[Tensor, " nodes"]
"""Of all nodes of a type in the subgraph; `nowhere` where they are not in it."""


class Drawing:
    """In-edges of nodes, each as likely; how many there will be is known on the device alone yet.

    Args:
        start: where the edges of each node begin.
        end: where they end.
        k: edges of each node; -1 takes all.
        removed: edges that are not there.
        replace: draw the same edge again and again.
    """

    def __init__(
        self,
        start: Int[Tensor, " frontier"],
        end: Int[Tensor, " frontier"],
        k: int,
        removed: Sequence[Removed],
        *,
        replace: bool,
    ) -> None:
        for layer in removed:
            start, end = layer.without(start), layer.without(end)
        self._start, self._degree, self._k = start, end - start, k
        self._removed, self._replace = removed, replace
        self._some = self._degree > (self._degree if k < 0 else 0 if replace else k)
        self.counts: Int[Tensor, " frontier"] = torch.where(self._some, k, self._degree)
        """How many edges each node gets."""
        self._ends, self._rank = self.counts.cumsum(0), self._some.cumsum(0)
        sums = [self._ends[-1], self._rank[-1]] if len(start) else [start.new_zeros(())] * 2
        self.sizes = torch.stack(sums)
        """Edges, and nodes that draw some of theirs: what `edges` wants to know."""

    def edges(self, numbers: Numbers, num_edges: int, num_some: int) -> Int[Tensor, " drawn"]:
        """Return which edges, those of the same node together."""
        device, replace = self._start.device, self._replace
        fused = num_edges > 0 and draws_in_one(device, self._k, replace=replace)
        edges = (self.in_one if fused else self.in_many)(numbers, num_edges, num_some)
        for layer in reversed(self._removed):
            edges = layer.restore(edges)
        return edges

    def in_one(self, numbers: Numbers, num_edges: int, num_some: int) -> Ids:
        """Draw with one kernel of Triton what `in_many` does with sixty of PyTorch's."""
        from mtl.loaders.samplers._fused import draw

        where = self._start, self._degree, self._some, self._ends, self._rank
        state, used = numbers.skip(num_some * self._k)
        return draw(*where, self._k, num_edges, state, used, replace=self._replace)

    def in_many(self, numbers: Numbers, num_edges: int, num_some: int) -> Ids:
        """Draw, before edges that are not there are passed over."""
        first = self._ends - self.counts
        device, k = self._start.device, self._k
        edges = torch.arange(num_edges, device=device)
        shift = self._start - first
        edges += torch.repeat_interleave(shift, self.counts, output_size=num_edges)
        if num_some and k:
            some = known(self._some, num_some)
            start, degree, slot = (rows_of(x, some) for x in (self._start, self._degree, first))
            slots = slot[:, None] + torch.arange(k, device=device)
            picked = start[:, None] + self._picks(degree, numbers)
            edges.scatter_(0, slots.view(-1), picked.view(-1))
        return edges

    def _picks(self, degree: Int[Tensor, " some"], numbers: Numbers) -> Int[Tensor, "some k"]:
        """Pick k of each: any, or different ones, every subset equally likely."""
        if self._replace:
            return numbers.below(degree[:, None].expand(-1, self._k))
        top = degree[:, None] - self._k + torch.arange(self._k, device=degree.device)
        return different(numbers.below(top + 1), top)


class Placing:
    """Nodes that were found, numbered in the order in which they are found first.

    Args:
        places: updated.
        found: nodes.
    """

    def __init__(self, places: Places, found: Int[Tensor, " drawn"]) -> None:
        self._places, self._found = places, found
        # Of those that are new the first wins, whatever the order of the writes: its mark is the
        # greatest, below all places and above `nowhere`.
        mark = torch.arange(-1, -1 - len(found), -1, device=found.device, dtype=places.dtype)
        places.scatter_reduce_(0, found, mark, "amax")
        self._is_first: Bool[Tensor, " drawn"] = rows_of(places, found) == mark
        self.sizes = self._is_first.sum().view(1)
        """How many are new: what `settle` wants to know."""

    def settle(
        self, count: int, num_fresh: int
    ) -> tuple[Int[Tensor, " drawn"], Int[Tensor, " fresh"]]:
        """Return the place of each, and those that are new; `count` are in the subgraph before."""
        fresh = rows_of(self._found, known(self._is_first, num_fresh))
        last = count + num_fresh
        numbers = torch.arange(count, last, device=fresh.device, dtype=self._places.dtype)
        self._places.scatter_(0, fresh, numbers)
        return rows_of(self._places, self._found).long(), fresh


def different(drawn: Int[Tensor, "rows k"], top: Int[Tensor, "rows k"]) -> Int[Tensor, "rows k"]:
    """Make different numbers of those that were drawn, by the rule of Floyd (Bentley, 1987).

    A number from 0 to its top that is taken already gives way to its top. Taken are all that were
    drawn before it, and the tops that came in their place: who has drawn such a top gives way as
    whoever brought it in did. So the rule goes from column to column in steps that double.

    Args:
        drawn: numbers, each at most its top.
        top: ascending by 1 in each row, from 0 or more.
    """
    k = drawn.size(1)
    ordered, place = drawn.sort(dim=1, stable=True)
    again = ordered[:, 1:] == ordered[:, :-1]
    taken = torch.zeros_like(drawn, dtype=torch.bool).scatter_(1, place[:, 1:], again)
    before = drawn - top[:, :1]
    before = torch.where(before < 0, torch.arange(k, device=drawn.device), before)
    for _ in range((k - 1).bit_length()):
        taken |= taken.gather(1, before)
        before = before.gather(1, before)
    return torch.where(taken, top, drawn)


def rows_of(
    table: Shaped[Tensor, "all ..."], rows: Int[Tensor, " some"]
) -> Shaped[Tensor, "some ..."]:
    """Return some rows; an eighth of what `table[rows]` takes on a CPU (120,000 numbers)."""
    return table.index_select(0, rows)


def nowhere(dtype: torch.dtype) -> int:
    """Return what stands for a node that is not in the subgraph."""
    return torch.iinfo(dtype).min


def known(where: Bool[Tensor, " items"], count: int) -> Int[Tensor, " count"]:
    """Return where it is true, of which the number is known: without waiting for the device."""
    if not count:
        return torch.empty(0, dtype=torch.long, device=where.device)
    return torch.nonzero_static(where, size=count).view(-1)


def read(sizes: Iterable[Int[Tensor, " sizes"]]) -> list[list[int]]:
    """Bring numbers to the host: it waits here until the device has come so far."""
    rows = list(sizes)
    found: list[list[int]] = torch.stack(rows).tolist() if rows else []
    return found


@cache
def draws_in_one(device: torch.device, k: int, *, replace: bool) -> bool:
    """Return whether one kernel draws there: Triton is there, and finds what many do in a trial."""
    if device.type != "cuda" or not 0 < k <= MOST or find_spec("triton") is None:
        return False
    end = torch.arange(1, 200, device=device).cumsum(0)
    drawing = Drawing(end - end.diff(prepend=end[:1] - 1), end, k, [], replace=replace)
    ((num_edges, num_some),) = read([drawing.sizes])
    try:
        one, many = (
            how(Numbers(TRIAL, device), num_edges, num_some)
            for how in (drawing.in_one, drawing.in_many)
        )
        if not torch.equal(one, many):
            raise RuntimeError("it draws other edges")
    except Exception as error:  # whatever a compiler or a driver may say
        warnings.warn(
            f"loader.backend: cuda draws with many small kernels, for Triton's does not work here: "
            f"{type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True
