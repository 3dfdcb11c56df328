"""Trial of a cut before the run begins: whether the model computes after it what it computes with zeros in its place."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from accel.compress.pruning.channel_groups import ChannelGroup, kept_by_units
from accel.compress.pruning.model_cut import ModelCut
from accel.errors import ConfigError

__all__ = ["Call", "check_cut", "cut_copy", "perturbed"]

Call = Callable[[nn.Module], list[Tensor]]
"""Forward pass of a model, in the mode that it is in, that returns the tensors which come of it."""

TOLERANCE = 1e-3
"""Largest difference between the outputs, as a share of the largest number among them."""


def check_cut(model: nn.Module, groups: list[ChannelGroup], kept: list[list[int]], call: Call) -> None:
    """Cut copies of a model, and let them compute.

    Args:
        model: the model, with weights none of which is zero everywhere.
        groups: its groups.
        kept: units that stay of each.
        call: the forward pass.

    Raises:
        ConfigError: if something else comes out, or an error; it names the layer whose channels cannot be followed.
    """
    reason = _failure(model, groups, kept, call)
    if not reason:
        return
    alone = list(range(len(groups)))
    for number, (group, units) in enumerate(zip(groups, kept, strict=True)):
        if len(units) < len(group.units):
            single = [units if each == number else list(range(len(groups[each].units))) for each in alone]
            if reason_here := _failure(model, groups, single, call):
                raise ConfigError(
                    f"prune: the channels of {group.name} cannot be followed through the model: without some of them "
                    f"{reason_here}; compute such sizes from the tensors, or leave the layer whole: prune.exclude=[{group.name}]"
                )
    raise ConfigError(f"prune: the channels of the model cannot be followed: without some of them {reason}")


def cut_copy(model: nn.Module, groups: list[ChannelGroup], kept: list[list[int]]) -> nn.Module:
    """Return a copy of a model, cut down to some units."""
    copy = deepcopy(model)
    ModelCut(copy, kept_by_units(copy, groups, kept)).apply(copy)
    return copy


def perturbed(model: nn.Module) -> nn.Module:
    """Return a copy of a model in which no weight is zero, so that whatever is computed counts, and all need gradients."""
    copy = deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    for param in copy.parameters():
        if param.is_floating_point():
            noise = torch.randn(param.shape, generator=generator).to(param)
            spread = param.detach().std() if param.numel() > 1 else param.detach().abs().max()
            param.data += noise * torch.where(spread > 0, 0.2 * spread, 0.1)
            param.requires_grad_(True)
    return copy


def _failure(model: nn.Module, groups: list[ChannelGroup], kept: list[list[int]], call: Call) -> str:
    """Return what is wrong after a cut, as a clause; empty if nothing is."""
    masked = deepcopy(model).eval()
    ModelCut(masked, kept_by_units(masked, groups, kept)).zero(masked)
    try:
        cut = cut_copy(model, groups, kept).eval()
        with torch.no_grad():
            expected, actual = call(masked), call(cut)
            call(cut.train())
    except Exception as error:  # whatever a forward pass raises
        return f"it raises {type(error).__name__} ({_first_line(error)})"
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in actual]:
        return "its outputs have another shape"
    for before, after in zip(expected, actual, strict=True):
        largest = before.abs().max() if before.numel() else before.new_zeros(())
        if not (before - after).abs().le(TOLERANCE * largest + 1e-6).all():
            return "it computes something else than with zeros in their place"
    return ""


def _first_line(error: Any) -> str:
    return " ".join(str(error).split())[:120]
