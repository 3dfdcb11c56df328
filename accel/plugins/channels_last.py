"""ChannelsLast: a memory format with the channels of a pixel side by side.

The weights of convolutions are laid out in this format. The first convolution
carries it on: its output, and all that follows, are channels_last too. Pictures
need no conversion of their own.

Helps   convolutions: most of all on tensor cores with 16-bit arithmetic, and on
        a CPU too.
Hurts   models that flatten or reshape between convolutions: each such place
        copies. On a CPU a trained 1 x 1 convolution with a stride and fewer
        than 16 channels is refused: oneDNN's gradient overwrites memory.
Costs   nothing per update, and no memory. Gradients, optimiser state and
        averages take the layout of their weights.
Source  https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
Exact   The same sums in another order: float32 results agree to rounding. Only
        weights of four dimensions are converted (2-d convolutions).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import nn

from accel.errors import ConfigError
from accel.parts import Layout

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["SAFE_CHANNELS", "ChannelsLast", "overwrites_memory"]

SAFE_CHANNELS = 16
"""Channels of a block of oneDNN's kernels, at most: from so many on none of them is at fault."""


@dataclass(eq=False)
class ChannelsLast(Layout):
    """Layout with the weights of 2-d convolutions in `torch.channels_last`."""

    def model(self, model: nn.Module) -> nn.Module:
        for name, layer in model.named_modules():
            if overwrites_memory(layer):
                raise ConfigError(
                    f"channels_last: in this format the gradient of {name or 'the model'} (1 x 1, stride {max(layer.stride)}, "
                    f"{layer.in_channels} channels) overwrites memory on a CPU, a fault of oneDNN (its issue 6035); leave it out "
                    f"with '~plugins.channels_last', or give the layer {SAFE_CHANNELS} channels"
                )
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


def overwrites_memory(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether oneDNN writes beyond its buffer in the gradient of a layer in channels_last, which is wrong then, or hangs.

    Source: https://github.com/uxlfoundation/oneDNN/issues/6035, seen in torch 2.13 by AVX2 for fewer than 8 channels.
    """
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.in_channels // layer.groups < SAFE_CHANNELS
        and layer.weight.device.type == "cpu"
        and layer.weight.requires_grad
        and platform.machine() in ("x86_64", "AMD64")
    )
