"""A row of parameters cut to what fits into the cache, so that an update made of several operations reads memory once.

An update in scratch memory is written and read several times before it reaches the weights. Over a whole model each of these
passes goes to memory; over a tile they stay in the cache. Nothing here depends on the gradients, so it is made once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from accel.device.dtensor import Placement, norms
from accel.optim.fused import Memory
from accel.optim.kernel_row import KernelRow

CPU_TILE, DEVICE_TILE = 1 << 20, 1 << 22
"""Numbers in a tile: on a CPU what its last cache holds of a few float32 arrays; on a device, what keeps it busy for long
enough, while scratch memory stays small."""
ALIGN = 64
"""Scratch tensors begin at multiples of so many numbers: kernels read them fastest from there."""


class Tile(NamedTuple):
    """Parameters, or a piece of one, that are updated by the same few calls."""

    params: list[Tensor]
    state: list[list[Tensor]]
    """One list for each name in `Fused.state_names`, as long as `params`; the step counters are those of the whole parameters."""
    grads: list[Tensor]
    """Scratch for the gradients, so that `p.grad` stays as it was found."""
    updates: list[Tensor]
    """Scratch for the updates: those of the section, or pieces of them."""
    flat: tuple[list[Tensor], list[Tensor]]
    """`params` and `updates`, each in one dimension where memory has no holes: for their norms."""

    def divide_grads(self, grads: list[Tensor], by: Tensor | None, consumed: bool) -> tuple[list[Tensor], Tensor | None]:
        """The gradients divided `by` a 0-dim tensor: in scratch memory; or as they are with what torch's kernel is left to divide
        them by, which writes the result back, where they may be `consumed` and lie in memory as the state does."""
        alike = all(grad.stride() == mine.stride() for grad, mine in zip(grads, self.grads, strict=True))
        if by is None and alike:
            return grads, None
        exact = by is not None and by.dtype == torch.float32 == self.grads[0].dtype
        if consumed and alike and exact:
            return grads, by
        if by is None or (exact and self.grads[0].device.type != "cpu"):
            torch._foreach_copy_(self.grads, grads)
            return self.grads, by
        for grad, mine in zip(grads, self.grads, strict=True):
            torch.div(grad, by, out=mine)
        return self.grads, None


class Section(NamedTuple):
    """Whole parameters that are updated together: several small ones in one tile, or a large one in several."""

    places: list[int]
    """Where in the row the parameters stand."""
    params: list[Tensor]
    updates: list[Tensor]
    """Scratch for the updates, shaped like `params`; all sections use the same memory."""
    tiles: list[Tile]
    rows_per_tile: int
    """How much of the first dimension of a large parameter stands in one tile; 0 where nothing is cut."""
    dense: bool
    """Whether the parameters lie in memory as their state does: then a kernel can move them."""
    placement: Placement

    def pieces(self, grads: list[Tensor]) -> Iterator[tuple[Tile, list[Tensor]]]:
        """Every tile with its part of the gradients of the row."""
        if self.rows_per_tile:
            yield from zip(self.tiles, ([piece] for piece in torch.split(grads[self.places[0]], self.rows_per_tile)), strict=True)
        else:
            yield self.tiles[0], [grads[place] for place in self.places]

    def norms(self, *found: list[Tensor]) -> list[Tensor]:
        """The norm of each parameter, `(len(params),)`, once for each list of `squares` of the tiles, in their order."""
        together = torch.stack([square for each in found for square in each]).view(len(found), -1)
        return list(self.placement.all_reduce(together.sum(1, keepdim=True) if self.rows_per_tile else together).sqrt_().unbind())

    def host_norms(self, *found: list[Tensor]) -> Iterator[tuple[float, ...]]:
        """The same on the host, parameter by parameter, for what is whole on a CPU: its memory is the host's, nobody waits."""
        flat: list[float] = torch.stack([square for each in found for square in each]).tolist()
        each = len(flat) // len(found)
        lists = [flat[start : start + each] for start in range(0, len(flat), each)]
        return zip(*([sqrt(sum(squares))] if self.rows_per_tile else list(map(sqrt, squares)) for squares in lists), strict=True)

    def ones(self) -> Tensor:
        """A 1 for each parameter, `(len(params),)`, in float32 at least."""
        return self.params[0].new_ones(len(self.params), dtype=torch.promote_types(self.params[0].dtype, torch.float32))


def squared_norms(tensors: list[Tensor]) -> list[Tensor]:
    """The square of the 2-norm of each tensor, 0-dim, in float32 at least."""
    if all(tensor.dim() == 1 and tensor.device.type == "cpu" and tensor.element_size() >= 4 for tensor in tensors):
        return [torch.dot(tensor, tensor) for tensor in tensors]  # half as long as torch's norm needs on a CPU
    found = norms(tensors)
    return list(torch._foreach_mul(found, found))


def scale_into(tensors: list[Tensor], by: list[Tensor] | float, out: list[Tensor]) -> None:
    """Writes each tensor times its 0-dim number in `by` (or times `by`) to `out`."""
    if out[0].device.type == "cpu":
        factors: Sequence[Tensor | float] = [by] * len(out) if isinstance(by, float) else by
        for tensor, factor, to in zip(tensors, factors, out, strict=True):
            torch.mul(tensor, factor, out=to)
    else:
        torch._foreach_copy_(out, tensors)
        torch._foreach_mul_(out, by)


def sections(row: KernelRow, memory: Memory, size: int | None = None) -> list[Section]:
    """The row in tiles of about `size` numbers, with scratch in `memory`. Large parameters are cut on the CPU alone: devices have
    the bandwidth. What is spread over processes is one tile, so that its norms are summed in one collective."""
    device = row.tensors[0].device
    size = size or (CPU_TILE if device.type == "cpu" else DEVICE_TILE)
    if row.placement.mesh is not None:
        size = sum(map(_aligned_size, row.tensors))
    found: list[list[int]] = []
    room = 0
    for place, tensor in enumerate(row.tensors):
        if _aligned_size(tensor) > room or not found:
            found.append([])
            room = size
        found[-1].append(place)
        room -= _aligned_size(tensor)
    scratch = _Scratch(memory)
    return [_section(row, places, size, scratch) for places in found]


def _section(row: KernelRow, places: list[int], size: int, scratch: _Scratch) -> Section:
    params = [row.tensors[i].detach() for i in places]
    state = [[values[i] for i in places] for values in row.state]
    layouts = state[0] if state else params
    updates = scratch.like("updates", layouts)
    dense = all(updates[i].stride() == param.stride() for i, param in enumerate(params))
    length = _rows_per_tile(layouts[0], size)
    if not length:
        tile = Tile(params, state, scratch.like("grads", layouts), updates, (flattened(params), flattened(updates)))
        return Section(places, params, updates, [tile], 0, dense, row.placement)
    count = -(-len(params[0]) // length)
    pieces = [[tensor] * count if tensor.dim() == 0 else torch.split(tensor, length) for [tensor] in state]
    tiles = []
    for number, (param, update) in enumerate(zip(torch.split(params[0], length), torch.split(updates[0], length), strict=True)):
        mine = [[piece[number]] for piece in pieces]
        tiles.append(Tile([param], mine, scratch.like("grads", [update]), [update], (flattened([param]), flattened([update]))))
    return Section(places, params, updates, tiles, length, dense, row.placement)


def flattened(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors in one dimension, in the order of memory; one with holes, or empty, stays as it is."""
    return [
        tensor.view(-1)
        if tensor.is_contiguous()
        else tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
        if sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) == tensor.numel() - 1
        else tensor
        for tensor in tensors
    ]


def _rows_per_tile(layout: Tensor, size: int) -> int:
    """How much of its first dimension a tile of `size` takes of a tensor; 0 where it is small, or its pieces would have holes."""
    if layout.numel() <= size or layout.device.type != "cpu" or layout.stride(0) * layout.shape[0] != layout.numel():
        return 0
    return max(1, size // layout.stride(0))


def _aligned_size(tensor: Tensor) -> int:
    """How many numbers of scratch memory a tensor takes."""
    return -(-tensor.numel() // ALIGN) * ALIGN


class _Scratch:
    """Memory that is written anew before every use: one stretch of it for all."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def like(self, name: str, layouts: list[Tensor]) -> list[Tensor]:
        """Tensors in the shapes and memory layouts of `layouts` (which have no holes), one after another in memory `name`."""
        first, need = layouts[0], sum(map(_aligned_size, layouts))
        memory = self.memory.setdefault((name, first.device, first.dtype), first.new_empty(0))
        if memory.numel() < need:  # grown in place: the tensors handed out before share the storage, whatever its size
            memory.resize_(need)
        found, start = [], 0
        for layout in layouts:
            found.append(memory.as_strided(layout.shape, layout.stride(), start))
            start += _aligned_size(layout)
        return found
