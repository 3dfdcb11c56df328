"""Masks over single weights: the least of all weights or of each layer, or N of every M, become zeros."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from accel.errors import ConfigError

__all__ = ["global_masks", "layer_mask", "maskable_weights", "pattern_mask", "read_pattern"]


def read_pattern(pattern: str) -> tuple[int, int]:
    """Return N and M of a pattern such as 2:4, in which N of every M weights stay.

    Raises:
        ConfigError: for anything else.
    """
    match = re.fullmatch(r"(\d+):(\d+)", pattern)
    if match is None or not 0 < int(match[1]) < int(match[2]):
        raise ConfigError(f"prune.pattern={pattern} is no N:M with 0 < N < M; 2:4 keeps 2 of every 4 weights")
    return int(match[1]), int(match[2])


def maskable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of linear layers and convolutions, by name."""
    names = [
        f"{path}.weight".removeprefix(".")
        for path, layer in model.named_modules()
        if isinstance(layer, _ConvNd | nn.Linear) and isinstance(layer._parameters.get("weight"), nn.Parameter)
    ]
    return {name: param for name, param in model.named_parameters() if name in set(names)}


def layer_mask(weight: Tensor, ratio: float) -> Tensor:
    """Return which weights of a tensor stay, if the share `ratio` of them is to be zero: those of the largest magnitude.

    Of equal ones the first stay. Exactly round(ratio * n) go, but one stays at least. Zeros go first, so that what went stays gone.

    Returns:
        Of the shape of `weight`, bool, on its device.
    """
    return _largest(weight.detach().abs().flatten(), ratio).view(weight.shape)


def global_masks(weights: Mapping[str, Tensor], ratio: float) -> dict[str, Tensor]:
    """Return masks for several tensors, whose weights are compared together. Each keeps at least its largest weight."""
    flat = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    pieces = torch.split(_largest(flat, ratio), [weight.numel() for weight in weights.values()])
    masks = {name: piece.view(weight.shape).clone() for (name, weight), piece in zip(weights.items(), pieces, strict=True)}
    for name, mask in masks.items():
        mask.view(-1)[weights[name].detach().abs().flatten().argmax()] = True
    return masks


def _largest(values: Tensor, ratio: float) -> Tensor:
    """Return where the largest values are, (n,) bool, without sorting them."""
    gone = min(round(ratio * values.numel()), values.numel() - 1)
    if gone <= 0:
        return torch.ones_like(values, dtype=torch.bool)
    threshold = values.kthvalue(gone).values
    stays, equal = values > threshold, values == threshold
    room = values.numel() - gone - stays.sum()
    return stays | (equal & (equal.cumsum(0) <= room))


def pattern_mask(weight: Tensor, n: int, m: int, ratio: float = 1.0) -> Tensor:
    """Return which weights stay, the `n` largest of every `m` that lie side by side in the dimension of the inputs.

    Args:
        weight: (out, in, ...), of which M divides `in`.
        n: weights that stay of each block.
        m: weights of a block.
        ratio: share of the blocks that have the pattern, the least first: those that lose the least.

    Returns:
        Of the shape of `weight`, bool.

    Source: Mishra et al., Accelerating Sparse Deep Neural Networks, arXiv 2104.08378.
    """
    blocks = weight.detach().abs().movedim(1, -1).contiguous().view(-1, m)
    order = blocks.argsort(dim=1, descending=True, stable=True)
    mask = torch.zeros_like(blocks, dtype=torch.bool).scatter_(1, order[:, :n], True)
    if ratio < 1:
        loss = torch.where(mask, 0.0, blocks).square().sum(1)
        mask |= _largest(loss, ratio).unsqueeze(1) if ratio > 0 else True
    moved = weight.movedim(1, -1).shape
    return mask.view(moved).movedim(-1, 1).contiguous()
