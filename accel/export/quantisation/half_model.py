"""A model of torch in floats of 16 bits, which takes and returns float32."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["HalfModel", "in_precision"]


class HalfModel(nn.Module):
    """A copy of a model that computes in floats of 16 bits.

    Args:
        model: takes tensors in order, and returns a tensor or several in a tuple.
        dtype: `torch.float16` or `torch.bfloat16`.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = deepcopy(model).to(dtype), dtype

    def forward(self, *inputs: Tensor) -> Any:
        """Return the outputs of the model for inputs in float32, or of any type that is no float, in float32."""
        output = self.model(*(one.to(self.dtype) if one.is_floating_point() else one for one in inputs))
        return tuple(map(_single, output)) if isinstance(output, tuple) else _single(output)


def _single(output: Tensor) -> Tensor:
    return output.float() if output.is_floating_point() else output


def in_precision(model: nn.Module, variant: str) -> nn.Module:
    """Return a model in the precision that a variant names, `float16` or `bfloat16`; the model itself for any other."""
    return HalfModel(model, getattr(torch, variant)).eval() if variant in ("float16", "bfloat16") else model
