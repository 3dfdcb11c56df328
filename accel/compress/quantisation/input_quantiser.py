"""Fake quantisation of a layer's inputs, by the range that they had in the updates so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from accel.compress.low_bits.straight_through import at_least_float32
from accel.compress.quantisation.levels import INPUT_LEVELS, input_scale
from accel.compress.quantisation.torchao_pt2e import histogram_observer

__all__ = ["AVERAGING", "InputQuantiser", "SeenRange", "fold_ranges", "take_histograms"]

AVERAGING = 0.01
"""Weight of the newest update in the moving average of ranges: torchao's `averaging_constant`."""


class SeenRange:
    """Lowest and highest input since it was last cleared, (1,) float32 each: of the micro-batches of an update.

    It is neither a buffer nor a parameter: nothing sends it to other ranks, and no checkpoint has it.
    """

    def __init__(self, device: torch.device) -> None:
        self.low, self.high = torch.empty(1, device=device), torch.empty(1, device=device)
        self.clear()

    def clear(self) -> None:
        """Forget what was seen."""
        self.low.fill_(torch.inf)
        self.high.fill_(-torch.inf)

    def add(self, x: Tensor) -> None:
        """See a tensor of floats. The same one again changes nothing."""
        if x.numel():
            low, high = torch.aminmax(x)
            self.low.copy_(torch.minimum(self.low, low))
            self.high.copy_(torch.maximum(self.high, high))


class InputQuantiser(nn.Module):
    """Module whose output is its input on 255 or 256 levels, with the gradient handed on within the range, and 0 outside.

    In training it sees the range of its inputs. `fold_ranges` makes scale and zero point of it after the backward passes of an
    update, so that they are the same for all micro-batches, and on all ranks. Until a range is known it is the identity.

    Buffers, (1,) each: `low`, `high` float32, the moving average; `scale` float32, `zero_point` int32; `known` int64, 0 or 1.

    Args:
        kind: type of the integers, uint8 or int8.
        device: of its buffers.
        observer: `histogram` for torchao's HistogramObserver in the place of the moving average.
    """

    def __init__(self, kind: str, device: torch.device, observer: str = "moving_average") -> None:
        super().__init__()
        self.kind, self.observes = kind, True
        self.seen = SeenRange(device)
        self.observer = histogram_observer(kind).to(device) if observer == "histogram" else None
        for name, value in (("low", 0.0), ("high", 0.0), ("scale", 1.0)):
            self.register_buffer(name, torch.full((1,), value, device=device))
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32, device=device))
        self.register_buffer("known", torch.zeros(1, dtype=torch.int64, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of floats on its levels, in its dtype."""
        own: Any = self
        if self.training and self.observes:
            (self.seen.add if self.observer is None else self.observer)(at_least_float32(x.detach()))
        # what torch.fake_quantize_per_tensor_affine calls, with a switch that nobody reads on the host
        levels, _ = torch._fake_quantize_per_tensor_affine_cachemask_tensor_qparams(
            x.float(), own.scale, own.zero_point, own.known, *INPUT_LEVELS[self.kind]
        )
        return levels.to(x.dtype)

    def extra_repr(self) -> str:
        """Return what is said of it beside its name."""
        return self.kind


def fold_ranges(quantisers: Sequence[InputQuantiser], over_ranks: Callable[[Tensor], Tensor]) -> None:
    """Let the moving averages take in what was seen in an update, and forget that. Nothing is read on the host.

    Source: `MovingAverageMinMaxObserver` of torchao 0.18; one step of it for each update.

    Args:
        quantisers: those that observe.
        over_ranks: returns the lowest of each number over all ranks.
    """
    modules: list[Any] = list(quantisers)
    lowest = over_ranks(torch.cat([each.seen.low for each in modules] + [-each.seen.high for each in modules]))
    low, high = lowest[: len(modules)], -lowest[len(modules) :]
    before_low, before_high = torch.cat([each.low for each in modules]), torch.cat([each.high for each in modules])
    known = torch.cat([each.known for each in modules])
    is_seen = torch.isfinite(low) & torch.isfinite(high)
    first = known == 0
    low = torch.where(first, low, before_low + AVERAGING * (low - before_low))
    high = torch.where(first, high, before_high + AVERAGING * (high - before_high))
    low, high = torch.where(is_seen, low, before_low), torch.where(is_seen, high, before_high)
    known = torch.maximum(known, is_seen.to(known.dtype))
    scale, zero_point = input_scale(low, high, modules[0].kind)
    values = {"low": low, "high": high, "scale": scale, "zero_point": zero_point, "known": known}
    for name, value in values.items():
        torch._foreach_copy_([getattr(each, name) for each in modules], list(torch.split(value, 1)))
    for each in modules:
        each.seen.clear()


def take_histograms(quantisers: Sequence[InputQuantiser], of_first_rank: Callable[[Any], Any]) -> None:
    """Make scales and zero points of the histograms so far, which reads them on the host.

    Args:
        quantisers: those that observe, with a histogram each.
        of_first_rank: returns what the first rank gives it.
    """
    observers: list[Any] = [each.observer for each in quantisers]
    pairs = [each.calculate_qparams() if torch.isfinite(each.min_val) else None for each in observers]
    values = of_first_rank([None if each is None else (float(each[0]), int(each[1])) for each in pairs])
    for quantiser, value in zip(quantisers, values, strict=True):
        if value is not None:
            own: Any = quantiser
            own.scale.fill_(value[0])
            own.zero_point.fill_(value[1])
            own.known.fill_(1)
