"""Where the graph lives: decided once, for all processes, and kept by the run."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from job import placement
from job.config import load
from job.placement import place, sharers
from job.rundir import as_recorded, resolve, write_config
from mtl.graphs.cache import open_graph
from mtl.loaders.placement import Sizes

ROOT = Path(__file__).parents[2]
SMOKE = [str(ROOT / "job/configs/smoke.yaml"), "graph.num_nodes=300", "track.mlflow=null"]
GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Make the configuration of a run, its graph, and a runtime whose GPUs have so much free."""

    def make(*overrides, device=GPU, free=(1 << 33,)):
        monkeypatch.setattr(placement, "_room", lambda _: (min(free), 1 << 34, 1 << 34))
        config = load([*SMOKE, f"run.dir={tmp_path / 'run'}", *overrides])
        runtime = SimpleNamespace(
            device=device, feature_dtype=None, local_world_size=1, is_main=True, sum_int=int
        )
        return config, open_graph(config.graph), runtime

    return make


def test_auto_is_cuda_on_a_gpu_with_room_and_says_why(made):
    config, why = place(*made())
    assert (config.loader.backend, config.loader.features) == ("cuda", "device")
    assert why.startswith(
        "loader.backend: cuda, loader.edges: device, loader.features: device; edges take 0.00 GiB"
    )


def test_auto_is_numba_where_there_is_no_gpu_or_no_room(made):
    assert place(*made(device=CPU))[0].loader.backend == "auto"
    assert place(*made(free=(1,)))[0].loader.backend == "numba"


def test_gpus_of_a_machine_share_out_what_one_has_no_room_for(made, monkeypatch):
    monkeypatch.setattr(placement, "sizes_of", lambda *_, **__: Sizes(1 << 28, 1 << 20, 1 << 28))
    config, store, runtime = made(free=((1 << 34) * 36 // 100,))  # 1 % beside the model
    both = [place(config, store, runtime, gpus)[0].loader for gpus in (4, 1)]
    assert [(its.backend, its.edges) for its in both] == [("cuda", "sharded"), ("numba", "host")]


def test_processes_of_one_machine_share():
    assert [sharers(SimpleNamespace(world_size=w, local_world_size=4)) for w in (4, 8)] == [4, 1]


@pytest.mark.parametrize(("device", "alone"), [(GPU, "host"), (CPU, "host")])
def test_who_has_nobody_to_share_with_lets_the_host_draw(made, device, alone):
    asked = made("loader.edges=sharded", "loader.backend=cuda", device=device)
    assert place(*asked, 4)[0].loader.edges == "sharded"
    assert place(*asked)[0].loader.edges == alone


def test_the_gpus_sampler_on_a_cpu_is_told(made):
    config, why = place(*made("loader.backend=cuda", device=CPU))
    assert (config.loader.backend, "on a CPU" in why) == ("cuda", True)


def test_a_run_keeps_the_sampler_that_it_began_with(made):
    config, store, runtime = made("loader.global_batch_size=null")
    started, _ = place(resolve(config, 1), store, runtime)
    (config.run.dir / "checkpoints" / "step_00000001").mkdir(parents=True)
    write_config(started, resumes=False)
    for again in (resolve(config, 2), as_recorded(config)):
        assert again.loader.backend == "cuda"
        write_config(place(again, store, runtime)[0], resumes=True)


def test_a_run_that_began_without_a_gpu_keeps_to_numba(made):
    config, store, runtime = made()
    config = resolve(config, 1)
    (config.run.dir / "checkpoints" / "step_00000001").mkdir(parents=True)
    write_config(config, resumes=False)
    again, _ = place(resolve(config, 1), store, runtime)
    write_config(again, resumes=True)


def test_who_does_not_see_the_run_does_as_the_main_process(made):
    config, store, runtime = made()
    runtime.is_main, runtime.sum_int = False, lambda mine: mine + 1
    assert place(config, store, runtime) == (config, "")
