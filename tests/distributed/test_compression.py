"""Gradients exchanged in bf16 are rounded, and on all processes alike."""

import numpy as np


def test_bf16_rounds_the_gradient_and_leaves_all_processes_with_the_same_bits(start, tmp_path):
    for compression in ("none", "bf16"):
        script = "tests/distributed/compressed.py"
        job = start(tmp_path, str(tmp_path), compression, nproc=2, script=script)
        assert job.end().codes == [0, 0]
    exact, compressed = (
        [np.load(tmp_path / f"{kind}.{rank}.npy") for rank in (0, 1)] for kind in ("none", "bf16")
    )
    assert np.array_equal(exact[0], exact[1])
    assert np.array_equal(compressed[0], compressed[1])
    distance = np.linalg.norm(compressed[0] - exact[0]) / np.linalg.norm(exact[0])
    assert 0 < distance < 2**-8  # two addends and their sum are rounded to 8 bits each
