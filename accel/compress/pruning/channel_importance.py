"""Importance of units of channels: by the magnitude of weights, by BatchNorm's scale, or by what the loss owes to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from accel.compress.pruning.channel_groups import ChannelGroup
from accel.compress.pruning.layer_channels import OUT, Side, channel_dims, count_channels

__all__ = ["Importance", "TaylorSums", "bn_scale", "gammas", "has_batch_norm", "magnitude"]

Importance = Literal["magnitude", "bn_scale", "taylor"]


def magnitude(model: nn.Module, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the root of the mean square of each unit's weights, in comparison with the other units.

    The squares of the weights of a unit, in each layer that it runs through, are summed and divided by their mean over the units,
    so that every layer has the same say, whatever its size. Biases and norms do not count.

    Args:
        model: the model.
        group: the group.
        tensors: the model's parameters by name.

    Returns:
        (units,) float64 on the CPU. Source: Li et al., Pruning Filters for Efficient ConvNets, arXiv 1608.08710, with the 2-norm
        and whole groups as in DepGraph, arXiv 2301.12900.
    """
    total, members = torch.zeros(len(group.units), dtype=torch.float64), 0
    for path, side in group.members:
        layer = model.get_submodule(path)
        dim = channel_dims(layer)[side].get("weight")
        name = f"{path}.weight".removeprefix(".")
        if dim is None or name not in tensors or tensors[name].dim() < 2:
            continue
        sums = _sum_over_units(group, path, side, _over_others(tensors[name].detach().cpu().square(), dim, torch.float64))
        mean = sums.mean()
        if mean > 0:
            total, members = total + sums / mean, members + 1
    return (total / max(members, 1)).sqrt()


def bn_scale(model: nn.Module, group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the mean of |gamma| over the BatchNorms that each unit runs through.

    Returns:
        (units,) float64 on the CPU. Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming, arXiv
        1708.06519.
    """
    sums, count = torch.zeros(len(group.units), dtype=torch.float64), 0
    for path in _batch_norms(model, group):
        values = tensors[f"{path}.weight".removeprefix(".")].detach().abs()
        sums, count = sums + _sum_over_units(group, path, OUT, values.cpu().double()), count + 1
    return sums / max(count, 1) / group.channels_per_unit


def gammas(model: nn.Module, groups: list[ChannelGroup]) -> list[str]:
    """Return the names of the scales of the BatchNorms through which units run that may go: those that L1 draws to zero."""
    paths = {path for group in groups if not group.whole for path in _batch_norms(model, group)}
    return [f"{path}.weight".removeprefix(".") for path, _ in model.named_modules() if path in paths]


def has_batch_norm(model: nn.Module, group: ChannelGroup) -> bool:
    """Return whether a BatchNorm scales the channels of a group."""
    return bool(_batch_norms(model, group))


def _batch_norms(model: nn.Module, group: ChannelGroup) -> list[str]:
    layers = {path: model.get_submodule(path) for path, _ in group.members}
    return [path for path, layer in layers.items() if isinstance(layer, _BatchNorm) and layer.affine]


class TaylorSums:
    """Mean, over updates, of the square of the first-order change of the loss without a unit.

    Of each layer that makes or scales a unit's channels, weight times gradient is summed over the unit's weights, which is the
    gradient of a gate on the output of that layer; the squares of these sums are added. They stay on the device.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, arXiv 1906.10771, equations 8 and 9.

    Args:
        model: the model.
        groups: the groups.
        device: where the sums are kept.
    """

    def __init__(self, model: nn.Module, groups: list[ChannelGroup], device: torch.device) -> None:
        self.sums = [torch.zeros(len(group.units), dtype=torch.float32, device=device) for group in groups]
        self.count = torch.zeros((), dtype=torch.float32, device=device)
        """Number of updates that count."""
        self.gates: list[list[tuple[list[tuple[str, int]], Tensor]]] = []
        """For each group, of each layer: its tensors with the dimension of the channels, and the unit of each channel."""
        for group in groups:
            self.gates.append([])
            for path, side in group.members if not group.whole else []:
                layer = model.get_submodule(path)
                if side == OUT:
                    names = [(f"{path}.{name}".removeprefix("."), dim) for name, dim in channel_dims(layer)[side].items()]
                    units = torch.full((count_channels(layer, side),), len(group.units))
                    for number, unit in enumerate(group.units):
                        units[unit[path, side]] = number
                    self.gates[-1].append((names, units.to(device)))

    @torch.no_grad()
    def add(self, tensors: Mapping[str, Tensor], scale: Tensor | None, skip: Tensor | None) -> None:
        """Add an update.

        Args:
            tensors: parameters by name, whose gradients are `scale` times the true ones.
            scale: 0-dim; None for 1.
            skip: 1 if the update moves nothing, and does not count, else 0; 0-dim; None for 0.
        """
        counts = torch.ones_like(self.count) if skip is None else 1 - skip
        self.count += counts
        for sums, gates in zip(self.sums, self.gates, strict=True):
            total = torch.zeros_like(sums)
            for names, units in gates:
                gate = torch.zeros(len(sums) + 1, dtype=torch.float32, device=sums.device)
                for name, dim in names:
                    grad = tensors[name].grad if name in tensors else None
                    if grad is not None:
                        products = tensors[name].detach().float() * grad.float()
                        gate.index_add_(0, units, _over_others(products, dim))
                total += (gate[:-1] if scale is None else gate[:-1] / scale).square()
            sums += torch.where(counts > 0, total, 0.0)

    def importance(self, number: int) -> Tensor:
        """Return the means of a group, (units,) float64 on the CPU."""
        return self.sums[number].cpu().double() / self.count.cpu().double().clamp(min=1)


def _over_others(values: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return the sum of a tensor over all dimensions but one, (channels,)."""
    others = [each for each in range(values.dim()) if each != dim]
    return values.sum(others, dtype=dtype) if others else values.to(dtype or values.dtype)


def _sum_over_units(group: ChannelGroup, path: str, side: Side, per_channel: Tensor) -> Tensor:
    """Return the sum over the channels of each unit, (units,)."""
    places = torch.tensor([channel for unit in group.units for channel in unit[path, side]])
    owners = torch.tensor([number for number, unit in enumerate(group.units) for _ in unit[path, side]])
    return torch.zeros(len(group.units), dtype=torch.float64).index_add_(0, owners, per_channel[places])
