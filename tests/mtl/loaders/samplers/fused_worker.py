"""One kernel of Triton against PyTorch's many: `draw` interprets it, `compile` makes code of it,
`count` counts what a sample asks the device to do with it and without.
"""

import sys
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from mtl.graphs.topology import Csc, Topology
from mtl.loaders.samplers import _fused, _tensors
from mtl.loaders.samplers._numbers import Numbers
from mtl.loaders.samplers._tensors import MOST, Drawing
from mtl.loaders.samplers.cuda import CudaSampler


def draw(num_cases: int) -> int:
    """Draw in both ways from random rows; return how many edges were drawn."""
    random, total = np.random.default_rng(0), 0
    for case in range(num_cases):
        size, k = int(random.integers(1, 200)), int(random.choice([1, 2, 5, 15, 16, 17, MOST]))
        degree = torch.from_numpy(random.integers(0, random.choice([2, k + 2, 1000]), size))
        start = torch.from_numpy(random.integers(0, 2**40, size))
        drawing = Drawing(start, start + degree, k, [], replace=bool(case % 2))
        num_edges, num_some = drawing.sizes.tolist()
        state, found = random.integers(0, 2**64, 1, dtype=np.uint64), []
        for how in (drawing.in_one, drawing.in_many):
            numbers = Numbers(state, torch.device("cpu"))
            numbers.skip(case)
            found.append([how(numbers, num_edges, num_some) if num_edges else 0, numbers.skip(0)])
        (one, used_by_one), (many, used_by_many) = found
        assert used_by_one == used_by_many
        assert not num_edges or torch.equal(one, many)
        total += num_edges
    return total


def compile_for_cards() -> int:
    """Compile for cards that need not be there; return the bytes of machine code."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    tables = ("start_of", "degree_of", "end_of", "rank_of", "edges")
    types = dict.fromkeys(tables, "*i64") | {"some_of": "*i1", "size": "i32"}
    types |= {"state": "i64", "used": "i32"}
    total = 0
    for card in (75, 80, 90, 100):
        for k, replace in ((1, False), (MOST, False), (5, True)):
            width = triton.next_power_of_2(k)
            fixed = {"k": k, "width": width, "rows": _fused.ROWS, "replace": replace}
            source = ASTSource(
                fn=_fused._draw,
                signature=types | dict.fromkeys(fixed, "constexpr"),
                constexprs={(_fused._draw.arg_names.index(name),): x for name, x in fixed.items()},
            )
            made = triton.compile(
                source, target=GPUTarget("cuda", card, 32), options={"enable_fp_fusion": False}
            )
            total += len(made.asm["cubin"])
    return total


class Counting(TorchDispatchMode):
    """Counts operations that touch memory."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = [x.alias_info for x in func._schema.arguments]
        is_view = any(alias is not None and not alias.is_write for alias in views)
        self.count += not is_view and "empty" not in func._schema.name
        return func(*args, **(kwargs or {}))


def count(fused: bool) -> int:
    """Return how many operations a sample of three hops asks for; a kernel of Triton is one."""
    random = np.random.default_rng(0)
    degrees = random.integers(0, 30, 5000)
    colptr = np.concatenate([[0], degrees.cumsum()])
    row = random.integers(0, 5000, colptr[-1]).astype(np.int32)
    topology = Topology(num_nodes={"node": 5000}, edges={("node", "to", "node"): Csc(colptr, row)})
    sampler = CudaSampler(topology, [15, 10, 5])
    counting, draw, kernels = Counting(), _fused.draw, []

    def drawn(*args: Any, **kwargs: Any) -> Any:
        kernels.append(1)
        with _disable_current_modes():
            return draw(*args, **kwargs)

    _tensors.draws_in_one, _fused.draw = (lambda *_, **__: fused), drawn
    with counting:
        sampler.sample({"node": np.arange(64)}, 1)
    assert len(kernels) == (3 if fused else 0)
    return counting.count + len(kernels)


if __name__ == "__main__":
    wanted = {
        "draw": lambda: [draw(60)],
        "compile": lambda: [compile_for_cards()],
        "count": lambda: [count(True), count(False)],
    }
    print(*wanted[sys.argv[1]]())
