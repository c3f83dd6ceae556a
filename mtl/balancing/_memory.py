"""balancing by what earlier steps left behind: tensors that a checkpoint holds."""

from torch import Tensor

from mtl.balancing import Balancer


class Remembering(Balancer):
    """A balancer whose state is tensors of fixed shapes, which it changes in place.

    Args:
        memory: the tensors by name; those with an axis of tasks hold all tasks, also those that a
            step leaves out.
    """

    def __init__(self, **memory: Tensor) -> None:
        self._memory = memory

    def state(self) -> dict[str, Tensor]:
        """Return copies."""
        return {name: tensor.clone() for name, tensor in self._memory.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take them over."""
        shapes = {name: tensor.shape for name, tensor in self._memory.items()}
        assert {name: tensor.shape for name, tensor in state.items()} == shapes
        for name, tensor in self._memory.items():
            tensor.copy_(state[name])
