"""Runner of a module of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from accel.export.target import Arrays, Runner

__all__ = ["torch_runner"]


def torch_runner(module: Any, threads: int) -> Runner:
    """Return a runner of a function of tensors, which returns a tensor or several.

    Args:
        module: the function.
        threads: of torch's operators.
    """
    import torch

    torch.set_num_threads(threads)

    def run(inputs: Sequence[NDArray[Any]]) -> Arrays:
        with torch.inference_mode():
            output = module(*map(torch.from_numpy, inputs))
        outputs = output if isinstance(output, tuple | list) else (output,)
        return [one.numpy() for one in outputs]

    return run
