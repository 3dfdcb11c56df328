"""The state that an update begins with, kept so that the update can be made again."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accel.parts.run import Run
from accel.parts.window import Micro

__all__ = ["UpdateStart", "widened"]


@dataclass
class UpdateStart:
    """State before the forward pass of an update.

    Args:
        micros: the micro-batches of its window.
        weights: copies of what the optimiser moves, by name, in float32 at least and contiguous.
        buffers: copies of the model's buffers, by name.
        rng: state of the random generators, without those of loaders.
        optim: state of the optimiser, with the rates that a schedule has set.
    """

    micros: tuple[Micro, ...]
    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    rng: dict[str, Any]
    optim: dict[str, Any]

    @classmethod
    def of(cls, run: Run, micros: tuple[Micro, ...]) -> UpdateStart:
        """Return the present state of a run that is about to make an update."""
        rng = run.random.state()
        rng["own"] = rng["held"] = []  # readers may draw from these meanwhile
        return cls(
            micros,
            {name: widened(param) for name, param in run.parts.precision.params},
            {name: buffer.detach().clone() for name, buffer in run.unwrapped_model.named_buffers()},
            rng,
            deepcopy(run.parts.optim.state_dict()),
        )


def widened(tensor: Tensor) -> Tensor:
    """Return a contiguous copy in float32, or in the dtype itself if that is wider or holds no floating-point numbers."""
    dtype = torch.promote_types(tensor.dtype, torch.float32) if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)
