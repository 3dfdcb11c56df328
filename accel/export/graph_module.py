"""The module whose forward pass becomes the graph: plain tensors in, plain tensors out, pre-processing inside if asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from accel.export.call.structured_values import split_tensors
from accel.export.example import RETURNED, Example, call_with
from accel.export.pixel_normalisation import PixelNormalisation

__all__ = ["GraphModule"]


class GraphModule(nn.Module):
    """A model that takes its inputs in order, and returns a tensor, or several in a tuple.

    Args:
        model: the model, in evaluation mode.
        example: one call of it.
        normalisation: makes the first input of pictures, (n, height, width, channels) uint8; None to take it as the model does.
    """

    def __init__(self, model: nn.Module, example: Example, normalisation: PixelNormalisation | None = None) -> None:
        super().__init__()
        self.model, self.arguments = model, example.arguments
        self.has_normalisation = normalisation is not None
        scale, shift = normalisation.constants() if normalisation is not None else (torch.ones(()), torch.zeros(()))
        if self.has_normalisation:
            self.register_buffer("scale", scale)
            self.register_buffer("shift", shift)

    def forward(self, *inputs: Tensor) -> Any:
        """Return the outputs of the model."""
        if self.has_normalisation:
            own: Any = self
            pictures = inputs[0].permute(0, 3, 1, 2).to(torch.float32)
            inputs = (torch.addcmul(own.shift, pictures, own.scale), *inputs[1:])
        placed, _ = split_tensors(call_with(self.model, self.arguments, inputs), RETURNED)
        leaves = [one.tensor for one in placed]
        return leaves[0] if len(leaves) == 1 else tuple(leaves)
