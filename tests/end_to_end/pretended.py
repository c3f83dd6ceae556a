"""A GPU that the CPU plays: `python pretended.py job/train.py CONFIG.yaml`.

Its tensors have numbers and say that they are on `cuda:N`, N being LOCAL_RANK. They mix with none
of the host, as torch says it ("Expected all tensors to be on the same device"), have no `numpy`,
and are exchanged in the place of NCCL. What makes the host wait, and what two streams do to the
same memory in no order, is written to `pretended.N.json`: `waits`, a list of [what, where, in which
thread, how often], and `races`.

They are tensors of the CPU of another class, so to torch's C++ they are on the CPU: what runs is
the code for the CPU. Triton's kernels are interpreted; others, memory and NCCL are not played, and
a number that is copied into a tensor there (`x[i] = 3`) counts as no copy.
"""

import ctypes
import json
import os
import runpy
import sys
import threading
import traceback
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", "1")  # before anybody imports it

import accelerate  # noqa: F401
import torch
import torch._dynamo
from pretended_streams import HOST, Event, Stream, Streams
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROOT = Path(__file__).parents[2]
GIB = 2**30
GPU = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
CPU = torch.device("cpu")
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim"}
WAITING |= {"unique_consecutive", "equal", "bincount"}
MIXING = {"_to_copy", "copy_", "index", "set_"}
NEVER = {"cat", "stack", "index_select", "index_put_", "embedding_bag", "mm", "addmm"}
"""Operations that take no number of the host either."""


class Pretended(Tensor):
    """A tensor of the GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or GPU)

    def record_stream(self, stream: Stream) -> None:
        streams.recorded(storage(self), stream.number)


class PretendedParameter(torch.nn.Parameter, Pretended):
    """A parameter of the GPU."""


class State(threading.local):
    """Of a thread: whether it goes backward, where C++ makes tensors by itself."""

    backward = False


def place() -> str:
    """Return where in job or mtl this was asked for."""
    for frame, line in traceback.walk_stack(sys._getframe(1)):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in ("job", "mtl"):
            return f"{path.relative_to(ROOT)}:{line} {frame.f_code.co_name}"
    return "elsewhere"


state, streams = State(), Streams(place)
waits: Counter[tuple[str, str, str]] = Counter()
pinned: dict[int, Tensor] = {}
arrived: dict[int, Tensor] = {}
"""Memory of the host that the GPU copies from by itself, and that it has copied to: never freed."""


def waited(what: str) -> None:
    """Note that the host waits for the GPU, or the other way round."""
    waits[what, place(), threading.current_thread().name.split("_")[0]] += 1


def storage(tensor: Tensor) -> int:
    """Return the address of its storage."""
    return tensor.untyped_storage().data_ptr()


def is_pinned(tensor: Tensor, *_: Any) -> bool:
    """Stand for `Tensor.is_pinned`."""
    return storage(tensor) in pinned


class Playing(TorchDispatchMode):
    """Sees every operation of its thread."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func._schema.name.partition("::")[2]
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = [x for x in tensors if isinstance(x, Pretended)]
        self._refuse(func, name, tensors, there)
        asked = kwargs.get("device")
        if name == "_to_copy" and state.backward:  # to where C++ thinks that the input was
            asked = tensors[0].device
        on_gpu = self._goes_there(name, asked, tensors, there)
        if asked is not None:
            kwargs["device"] = CPU
        pin = kwargs.pop("pin_memory", None)
        result = func(*args, **kwargs)
        old, given = {storage(x) for x in tensors}, {id(x) for x in tensors}
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor) and id(x) not in given]
        for x in made:
            if on_gpu:
                x.__class__ = Pretended
            elif pin or there:
                (pinned if pin else arrived)[storage(x)] = x
        fresh = {storage(x) for x in made} - old - {0}
        self._note(func, name, args, kwargs, there, fresh, on_gpu=on_gpu, pin=bool(pin))
        return result

    def _refuse(self, func: Any, name: str, tensors: list[Tensor], there: list[Tensor]) -> None:
        if there and name == "index" and not isinstance(tensors[0], Pretended):
            raise RuntimeError("indices should be either on cpu or on the same device (cpu)")
        if not there or name in MIXING or func.namespace == "c10d":
            return
        if state.backward and func is torch.ops.aten.mul.out:  # into DDP's buckets, made by C++
            return
        here = [x for x in tensors if not isinstance(x, Pretended)]
        if any(x.dim() or name in NEVER for x in here):
            shapes = [tuple(x.shape) for x in here]
            raise RuntimeError(
                f"Expected all tensors to be on the same device, found {GPU} and cpu: {func}, "
                f"{shapes} of the CPU"
            )

    def _goes_there(self, name: str, asked: Any, tensors: Any, there: Any) -> bool:
        """Return whether what an operation makes is on the GPU."""
        if asked is not None and torch.device(asked).type == "cuda":
            if torch.device(asked).index not in (None, GPU.index):
                raise RuntimeError(f"{asked} is the GPU of another process, this one has {GPU}")
            return True
        if name == "_local_scalar_dense":
            return False
        if there and (name.startswith("new_") or name.endswith("_like")):
            return True  # its device is what C++ takes for that of the tensor
        if asked is not None:
            return state.backward and not tensors
        return bool(there)

    def _note(self, func, name, args, kwargs, there, fresh, *, on_gpu: bool, pin: bool) -> None:
        """Tell the streams who touched what, and whether the host waited."""
        reads, writes = touched(func, name, args, kwargs)
        if not there and not on_gpu:
            shared = pinned.keys() | arrived.keys()
            streams.does(HOST, reads & shared, writes & shared, fresh if pin else ())
            return
        stream = Stream.of_thread().number
        streams.does(stream, reads, writes, fresh)
        if what := why_waiting(name, args, kwargs, there=bool(there), on_gpu=on_gpu):
            waited(what)
            streams.waits(HOST, streams.state(stream))


def why_waiting(name: str, args, kwargs, *, there: bool, on_gpu: bool) -> str:
    """Return what an operation makes the host wait for; nothing where it does not."""
    ahead = kwargs.get("non_blocking", False)
    if name == "copy_":
        to, source, ahead = args[0], args[1], (*args, *kwargs.values())[2:] == (True,)
        if not isinstance(to, Pretended):
            return "" if ahead and is_pinned(to) else "copy to the host"
        from_host = not isinstance(source, Pretended) and source.dim() > 0
        return "copy of pageable memory" * (from_host and not (ahead and is_pinned(source)))
    if name == "_to_copy" and on_gpu and not there:
        return "" if ahead and is_pinned(args[0]) else "copy of pageable memory"
    if name == "_to_copy" and there and not on_gpu:
        return "" if ahead else "copy to the host"
    if name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple):
        indices = [x for x in args[1] if x is not None]
        if any(x.dtype in (torch.bool, torch.uint8) for x in indices):
            return f"{name} by a mask"
        if not all(isinstance(x, Pretended) for x in indices):
            return "copy of pageable memory"
    counts = name == "repeat_interleave" and kwargs.get("output_size") is None
    return name if there and (name in WAITING or counts) else ""


def touched(func: Any, name: str, args: Any, kwargs: Any) -> tuple[set[int], set[int]]:
    """Return the storages that an operation reads, and those that it writes."""
    reads: set[int] = set()
    writes: set[int] = set()
    if name.startswith("new_") or (name.endswith("_like") and name != "rand_like"):
        return reads, writes
    schema = func._schema.arguments
    for argument in schema:
        place_of = schema.index(argument)
        value = args[place_of] if place_of < len(args) else kwargs.get(argument.name)
        its = {storage(x) for x in tree_leaves(value) if isinstance(x, Tensor)} - {0}
        alias = argument.alias_info
        if func.namespace == "c10d" or (alias is not None and alias.is_write):
            writes |= its
        elif alias is None:  # else it is looked at from another side
            reads |= its
    return reads - writes, writes


def play(num_gpus: int, *, free: int = 40 * GIB, total: int = 80 * GIB) -> None:
    """Have torch believe in a GPU for each process, from now on."""
    Stream.of_all, Stream.streams, Event.told = GPU, streams, staticmethod(waited)
    Stream.default = Stream()
    _play_cuda(num_gpus, free, total)
    _play_tensors()
    _play_autograd()
    _play_processes()
    if find_spec("triton") is not None:
        _play_triton()
    run = threading.Thread.run

    def playing(self: threading.Thread) -> None:
        with Playing():
            run(self)

    threading.Thread.run = playing
    Playing().__enter__()


def _play_cuda(num_gpus: int, free: int, total: int) -> None:
    torch.cuda._lazy_init = lambda: None
    properties = {"pci_domain_id": 0, "pci_bus_id": 0, "pci_device_id": 0, "total_memory": total}
    answers = {
        "is_available": True,
        "is_initialized": True,
        "device_count": num_gpus,
        "current_device": GPU.index,
        "mem_get_info": (free, total),
        "get_device_name": "a GPU that the CPU plays",
        "get_device_capability": (9, 0),
        "get_device_properties": SimpleNamespace(name="pretended", major=9, minor=0, **properties),
        "is_bf16_supported": True,
        "max_memory_allocated": 0,
        "set_device": None,
        "manual_seed": None,  # its random numbers are those of the CPU
        "manual_seed_all": None,
        "empty_cache": None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    torch.cuda.Stream, torch.cuda.Event, torch.cuda.stream = Stream, Event, Stream.entered
    torch.cuda.current_stream = Stream.of_thread


def _play_tensors() -> None:
    """Give tensors what torch's C++ decides by the device before any operation is seen."""
    torch._C._set_only_lift_cpu_tensors(True)
    real_tensor, real_to, real_as = torch.tensor, Tensor.to, torch.as_tensor
    real_tolist, real_numpy = Tensor.tolist, Tensor.numpy

    def tensor(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        there = device is not None and torch.device(device).type == "cuda"
        return real_tensor(*args, device=GPU if there else device, **kwargs)

    def to(self: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype, *args[1:])
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        dtype, there = dtype or self.dtype, isinstance(self, Pretended)
        if device is None or (device.type == "cuda") == there:
            return real_to(self, dtype, non_blocking=non_blocking, copy=copy)
        device = GPU if device.type == "cuda" else CPU
        return real_to(self, device, dtype, non_blocking=non_blocking, copy=True)

    def as_tensor(data: Any, *args: Any, **kwargs: Any) -> Tensor:
        if not hasattr(data, "__cuda_array_interface__"):
            return real_as(data, *args, **kwargs)
        memory = data.__cuda_array_interface__
        assert (memory["typestr"], kwargs["device"].type) == ("|u1", "cuda")
        rows, columns = memory["shape"]
        numbers = (ctypes.c_uint8 * (rows * columns)).from_address(memory["data"][0])
        found = torch.frombuffer(numbers, dtype=torch.uint8).view(rows, columns)
        found.owner, found.__class__ = data, Pretended
        return found

    def pin_memory(self: Tensor, *_: Any) -> Tensor:
        if isinstance(self, Pretended):
            raise RuntimeError("cannot pin 'torch.cuda.LongTensor' only dense CPU tensors can be")
        return self if is_pinned(self) else torch.empty_like(self, pin_memory=True).copy_(self)

    def read_by_host(real: Any) -> Any:
        def read(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            if storage(self) in arrived:
                streams.does(HOST, {storage(self)}, (), ())
            return real(self, *args, **kwargs)

        return read

    torch.tensor, torch.as_tensor = tensor, as_tensor
    Tensor.to, Tensor.pin_memory, Tensor.is_pinned = to, pin_memory, is_pinned
    Tensor.tolist, Tensor.numpy = read_by_host(real_tolist), read_by_host(real_numpy)
    Tensor.cpu = lambda self: to(self, CPU)
    Tensor.cuda = lambda self, device=None, non_blocking=False: to(
        self, GPU, non_blocking=non_blocking
    )


def _play_autograd() -> None:
    """Let parameters move, gradients be found and autocast know the device."""
    data, grad = torch._C.TensorBase.data, torch._C.TensorBase.grad

    def get_data(self: Tensor) -> Tensor:
        found = data.__get__(self)
        found.__class__ = Pretended if isinstance(self, Pretended) else Tensor
        return found

    def set_data(self: Tensor, value: Tensor) -> None:
        data.__set__(self, value)
        there = isinstance(value, Pretended)
        if there != isinstance(self, Pretended):
            kinds = (torch.nn.Parameter, PretendedParameter), (Tensor, Pretended)
            self.__class__ = kinds[not isinstance(self, torch.nn.Parameter)][there]

    def get_grad(self: Tensor) -> Tensor | None:
        found = grad.__get__(self)
        if isinstance(self, Pretended) and found is not None:
            found.__class__ = Pretended  # a view of a bucket that DDP's C++ has made
        return found

    Tensor.data = property(get_data, set_data)
    Tensor.grad = property(get_grad, grad.__set__, grad.__delete__)
    engine = torch.autograd.Variable._execution_engine

    def run_backward(roots: Any, *args: Any, **kwargs: Any) -> Any:
        state.backward = any(isinstance(x, Pretended) for x in roots)
        try:
            return engine.run_backward(roots, *args, **kwargs)
        finally:
            state.backward = False

    playing = SimpleNamespace(run_backward=run_backward, queue_callback=engine.queue_callback)
    torch.autograd.Variable._execution_engine = playing
    group = torch._C._group_tensors_by_device_and_dtype

    def grouped(lists: Any, with_indices: bool = False) -> Any:
        there = any(isinstance(x, Pretended) for x in lists[0])
        found = group(lists, with_indices)
        return {(GPU if there else CPU, dtype): its for (_, dtype), its in found.items()}

    torch._C._group_tensors_by_device_and_dtype = grouped
    enabled, kind = torch.is_autocast_enabled, torch.get_autocast_dtype

    class Autocast(torch.autocast):
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu", *args, **kwargs)

    torch.autocast = torch.amp.autocast = torch.amp.autocast_mode.autocast = Autocast
    torch.is_autocast_enabled = lambda device="cpu": enabled("cpu")
    torch.get_autocast_dtype = lambda device="cpu": kind("cpu")


def _play_processes() -> None:
    """Let gloo carry what NCCL would, and nothing of the host."""
    import torch.distributed as dist

    init = dist.init_process_group

    def init_process_group(backend: str, **kwargs: Any) -> None:
        assert backend == "nccl", backend
        kwargs.pop("device_id", None)
        init("gloo", **kwargs)

    def checked(real: Any) -> Any:
        def call(*args: Any, group: Any = None, **kwargs: Any) -> Any:
            if group is None:
                for x in tree_leaves((args, kwargs)):
                    if isinstance(x, Tensor) and not isinstance(x, Pretended):
                        raise RuntimeError("No backend type associated with device type cpu")
            return real(*args, group=group, **kwargs)

        return call

    dist.init_process_group = init_process_group
    for name in ("all_reduce", "all_gather", "broadcast", "all_to_all_single", "reduce"):
        setattr(dist, name, checked(getattr(dist, name)))


def _play_triton() -> None:
    """Interpret one kernel at a time, on the same memory."""
    from triton.runtime.interpreter import GridExecutor

    real, lock = GridExecutor.__call__, threading.Lock()

    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        touched = {storage(x) for x in args if isinstance(x, Tensor)}
        if not all(isinstance(x, Pretended) for x in args if isinstance(x, Tensor)):
            raise RuntimeError("Pointer argument cannot be accessed from Triton (cpu tensor?)")
        with lock:
            real(self, *map(plain, args), **kwargs)
        streams.does(Stream.of_thread().number, (), touched, ())

    def plain(x: Any) -> Any:
        if isinstance(x, Tensor):
            x = x.detach()
            x.__class__ = Tensor
        return x

    GridExecutor.__call__ = call


def main(argv: list[str]) -> None:
    """Run a command, and write down what was found in the end, however it ends."""
    leave, path = os._exit, Path(f"pretended.{GPU.index}.json").absolute()

    def told(code: int) -> None:
        found = {"waits": [[*what, n] for what, n in waits.items()], "races": [*streams.races]}
        path.write_text(json.dumps(found, indent=1))
        leave(code)

    os._exit = told
    play(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")
    told(0)


if __name__ == "__main__":
    main(sys.argv[1:])
