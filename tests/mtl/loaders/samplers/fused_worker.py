"""One kernel of Triton against PyTorch's many: `draw` interprets it, `compile` makes code of it."""

import sys

import numpy as np
import torch

from mtl.loaders.samplers._numbers import Numbers
from mtl.loaders.samplers._tensors import MOST, Drawing


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

    from mtl.loaders.samplers._fused import ROWS, _draw

    tables = ("start_of", "degree_of", "end_of", "rank_of", "edges")
    types = dict.fromkeys(tables, "*i64") | {"some_of": "*i1", "size": "i32"}
    types |= {"state": "i64", "used": "i32"}
    total = 0
    for card in (75, 80, 90, 100):
        for k, replace in ((10, False), (MOST, False), (5, True)):
            width = triton.next_power_of_2(k)
            fixed = {"k": k, "width": width, "rows": ROWS, "replace": replace}
            source = ASTSource(
                fn=_draw,
                signature=types | dict.fromkeys(fixed, "constexpr"),
                constexprs={(_draw.arg_names.index(name),): x for name, x in fixed.items()},
            )
            made = triton.compile(
                source, target=GPUTarget("cuda", card, 32), options={"enable_fp_fusion": False}
            )
            assert ".local" not in made.asm["ptx"]  # all that is picked stays in registers
            total += len(made.asm["cubin"])
    return total


if __name__ == "__main__":
    print(draw(60) if sys.argv[1] == "draw" else compile_for_cards())
