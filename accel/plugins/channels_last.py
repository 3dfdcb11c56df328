"""ChannelsLast: a memory format with the channels of a pixel side by side.

The weights of convolutions are laid out in this format. The first convolution
carries it on: its output, and all that follows, are channels_last too. Pictures
need no conversion of their own.

Helps   convolutions: most of all on tensor cores with 16-bit arithmetic, and on
        a CPU too.
Hurts   models that flatten or reshape between convolutions: each such place
        copies.
Costs   nothing per update, and no memory. Gradients, optimiser state and
        averages take the layout of their weights.
Source  https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
Exact   The same sums in another order: float32 results agree to rounding. Only
        weights of four dimensions are converted (2-d convolutions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from accel.parts import Layout

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["ChannelsLast"]


@dataclass(eq=False)
class ChannelsLast(Layout):
    """Layout with the weights of 2-d convolutions in `torch.channels_last`."""

    def model(self, model: nn.Module) -> nn.Module:
        weights = list(model.parameters())
        self.weight_count, self.converted_count = len(weights), sum(weight.dim() == 4 for weight in weights)
        # in place: each parameter stays the object that the user's own names stand for
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def plan_notes(self) -> Mapping[str, str]:
        return {"memory format": f"channels_last for {self.converted_count} of {self.weight_count} weights"}

    def ineffective_settings(self, run: Run) -> list[str]:
        return (
            []
            if self.converted_count
            else ["channels_last has no effect: the model has no 2-d convolution (no weight of 4 dimensions)"]
        )
