"""Gradients of units on a device, shortened together: a unit is a row of a matrix, a filter of a convolution, or a vector.

Weights and gradients are copied to one stretch of memory, where all units of one length are the rows of one matrix. Then one
launch takes the norms of all units of a length, and one shortens them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from accel.device.accelerators.runtime import sent
from accel.optim.tiles import DEVICE_TILE

__all__ = ["UnitBlock", "clip_together", "has_rows", "unit_blocks"]


class UnitBlock(NamedTuple):
    """Parameters whose units are shortened together."""

    places: list[int]
    """Their indices."""
    weights: list[Tensor]
    """Scratch in their shapes."""
    grads: list[Tensor]
    matrices: list[Tensor]
    """For each length of units (2, units, length): those of the weights and of the gradients, in the same memory."""
    norms: Tensor
    """(2, n) of all units, in float32 at least."""
    least: Tensor
    """(2, 1): the least norm of a unit of weights, and of gradients."""
    zeros: Tensor
    """(n,)."""

    def clip(self, weights: list[Tensor], grads: list[Tensor], clipping: float) -> None:
        """Shorten the gradients at `places`, in place, to `clipping` times the norm of their weights, unit by unit."""
        own = [grads[place] for place in self.places]
        torch._foreach_copy_(self.weights + self.grads, [weights[place] for place in self.places] + own)
        start = 0
        for matrix in self.matrices:
            end = start + matrix.shape[1]
            torch.linalg.vector_norm(matrix, dim=2, dtype=self.norms.dtype, out=self.norms[:, start:end])
            start = end
        torch.clamp(self.norms, min=self.least, out=self.norms)
        factors = torch.addcdiv(self.zeros, self.norms[0], self.norms[1], value=clipping).clamp_(max=1.0)
        start = 0
        for matrix in self.matrices:
            end = start + matrix.shape[1]
            matrix[1].mul_(factors[start:end, None])
            start = end
        torch._foreach_copy_(own, self.grads)


def has_rows(weight: Tensor, grad: Tensor) -> bool:
    """Return whether the units of a weight and of its gradient follow one another in memory, alike in both."""
    units = weight.shape[0] if weight.dim() > 1 else 1
    dense = torch.empty_like(weight, device="meta").stride() == weight.stride() == grad.stride()
    in_order = weight.dim() <= 1 or weight.stride(0) * units == weight.numel()
    return dense and in_order and weight.dtype == grad.dtype and weight.numel() > 0 and not weight.is_complex()


def unit_blocks(tensors: list[Tensor], eps: float, size: int = DEVICE_TILE) -> Iterator[UnitBlock]:
    """Yield blocks of tensors of one dtype on one device, each of about `size` numbers at most, which share their memory."""
    order = sorted(range(len(tensors)), key=lambda place: _unit_length(tensors[place]))
    groups: list[list[int]] = [[]]
    for place in order:
        if groups[-1] and sum(tensors[each].numel() for each in groups[-1]) + tensors[place].numel() > size:
            groups.append([])
        groups[-1].append(place)
    largest = max(sum(tensors[place].numel() for place in group) for group in groups)
    memory = tensors[0].new_empty(2 * largest)
    for group in groups:
        yield _block(group, tensors, memory, eps)


def clip_together(blocks: list[UnitBlock], weights: list[Tensor], grads: list[Tensor], clipping: float) -> None:
    """Shorten the gradients of all blocks, in place."""
    for block in blocks:
        block.clip(weights, grads, clipping)


def _unit_length(tensor: Tensor) -> int:
    """Return the numbers of a unit."""
    return tensor.numel() // tensor.shape[0] if tensor.dim() > 1 else tensor.numel()


def _block(places: list[int], tensors: list[Tensor], memory: Tensor, eps: float) -> UnitBlock:
    """Return a block of the tensors at `places`, which are in the order of the length of their units."""
    block = UnitBlock(places, [], [], [], *[memory] * 3)
    lengths = [_unit_length(tensors[place]) for place in places]
    start = 0
    for length in dict.fromkeys(lengths):
        same = [tensors[place] for place, each in zip(places, lengths, strict=True) if each == length]
        numbers = sum(tensor.numel() for tensor in same)
        block.matrices.append(memory[start : start + 2 * numbers].view(2, numbers // length, length))
        for views in (block.weights, block.grads):
            for tensor in same:
                views.append(memory.as_strided(tensor.shape, tensor.stride(), start))
                start += tensor.numel()
    dtype = torch.promote_types(memory.dtype, torch.float32)
    count = sum(matrix.shape[1] for matrix in block.matrices)
    least = sent(torch.tensor([[eps], [1e-6]], dtype=dtype), memory.device)
    norms, zeros = (memory.new_zeros(shape, dtype=dtype) for shape in ((2, count), (count,)))
    return block._replace(norms=norms, least=least, zeros=zeros)
