"""A row of parameters cut into tiles that fit into the cache, so that an update of several operations reads memory once.

An update in scratch memory is written and read several times before it reaches the weights. Over a whole model each of these
passes goes to memory; over a tile they stay in the cache. The tiles do not depend on the gradients, so they are made once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from accel.device.dtensor import Placement, norms
from accel.optim.fused import Memory
from accel.optim.kernel_row import KernelRow, moves_together

__all__ = ["ALIGN", "CPU_TILE", "DEVICE_TILE", "Section", "Tile", "flattened", "scale_into", "sections", "squared_norms"]

CPU_TILE, DEVICE_TILE = 1 << 20, 1 << 25
"""The numbers in a tile: on a CPU, as many as its last cache holds of a few float32 arrays. On a device, so many that the time to
begin its kernels does not count, while scratch memory stays below 128 MB (float32) for each purpose.
"""
ALIGN = 64
"""Scratch tensors begin at multiples of so many numbers, from where kernels read fastest."""


class Tile(NamedTuple):
    """Parameters, or a piece of one, that are updated by a few calls together."""

    params: list[Tensor]
    state: list[list[Tensor]]
    """One list for each name in `Fused.state_names`, as long as `params`; the step counters count for the whole parameters."""
    grads: list[Tensor]
    """Scratch for the gradients, so that `p.grad` is not changed."""
    updates: list[Tensor]
    """Scratch for the updates: the section's, or pieces of it."""
    flat: tuple[list[Tensor], list[Tensor]]
    """`params` and `updates`, each in one dimension if its memory has no holes: for their norms."""

    def divide_grads(self, grads: list[Tensor], by: Tensor | None, consumed: bool) -> tuple[list[Tensor], Tensor | None]:
        """Return the gradients divided by a number: in scratch memory, or with the division left to torch's kernel.

        The kernel writes the quotient back to the gradients. So it divides only if they may be consumed, and lie in memory as the
        state does.

        Args:
            grads: the gradients of the tile.
            by: 0-dim, or None for 1.
            consumed: whether the gradients may be changed.

        Returns:
            The gradients, and the divisor that is left to the kernel, or None.
        """
        same_layout = all(grad.stride() == scratch.stride() for grad, scratch in zip(grads, self.grads, strict=True))
        if by is None and same_layout:
            return grads, None
        exact = by is not None and by.dtype == torch.float32 == self.grads[0].dtype
        if consumed and same_layout and exact:
            return grads, by
        if by is None or moves_together(self.grads[0]):
            torch._foreach_copy_(self.grads, grads)
            if by is None or by.dtype == torch.float32:
                return self.grads, by
            torch._foreach_div_(self.grads, by)
            return self.grads, None
        for grad, scratch in zip(grads, self.grads, strict=True):
            torch.div(grad, by, out=scratch)
        return self.grads, None


class Section(NamedTuple):
    """Whole parameters that are updated together: several small ones in one tile, or a large one in several."""

    places: list[int]
    """The indices of the parameters in the row."""
    params: list[Tensor]
    updates: list[Tensor]
    """Scratch for the updates, shaped like `params`; all sections share the memory."""
    tiles: list[Tile]
    rows_per_tile: int
    """The length of the first dimension of a large parameter in one tile; 0 if nothing is cut."""
    dense: bool
    """Whether the parameters lie in memory as their state does: then a kernel can move them."""
    placement: Placement

    def pieces(self, grads: list[Tensor]) -> Iterator[tuple[Tile, list[Tensor]]]:
        """Yield every tile with its part of the gradients of the row."""
        if self.rows_per_tile:
            yield from zip(self.tiles, ([piece] for piece in torch.split(grads[self.places[0]], self.rows_per_tile)), strict=True)
        else:
            yield self.tiles[0], [grads[place] for place in self.places]

    def norms(self, *squares: list[Tensor]) -> list[Tensor]:
        """Return the norm of each parameter, (n,), once for each list of squared norms.

        Args:
            *squares: lists of `squared_norms` of the tiles, in their order.
        """
        together = torch.stack([square for tile_squares in squares for square in tile_squares]).view(len(squares), -1)
        return list(self.placement.all_reduce(together.sum(1, keepdim=True) if self.rows_per_tile else together).sqrt_().unbind())

    def host_norms(self, *squares: list[Tensor]) -> Iterator[tuple[float, ...]]:
        """Yield the norms of each parameter as floats, for rows on a CPU: its memory is the host's, so nothing waits.

        Args:
            *squares: lists of `squared_norms` of the tiles, in their order.
        """
        flat: list[float] = torch.stack([square for tile_squares in squares for square in tile_squares]).tolist()
        count = len(flat) // len(squares)
        lists = [flat[start : start + count] for start in range(0, len(flat), count)]
        return zip(*([sqrt(sum(row))] if self.rows_per_tile else list(map(sqrt, row)) for row in lists), strict=True)

    def ones(self) -> Tensor:
        """Return a 1 for each parameter, (n,), in float32 at least."""
        return self.params[0].new_ones(len(self.params), dtype=torch.promote_types(self.params[0].dtype, torch.float32))


def squared_norms(tensors: list[Tensor]) -> list[Tensor]:
    """Return the square of the 2-norm of each tensor, 0-dim, in float32 at least."""
    if all(tensor.dim() == 1 and tensor.device.type == "cpu" and tensor.element_size() >= 4 for tensor in tensors):
        return [torch.dot(tensor, tensor) for tensor in tensors]  # half as long as torch's norm needs on a CPU
    lengths = norms(tensors)
    return list(torch._foreach_mul(lengths, lengths))


def scale_into(tensors: list[Tensor], by: list[Tensor] | float, out: list[Tensor]) -> None:
    """Write each tensor times its factor to `out`.

    Args:
        tensors: of any shapes.
        by: one factor, or a 0-dim tensor for each.
        out: tensors of equal shapes, on one device.
    """
    if out[0].device.type == "cpu" and tensors[0].dtype == out[0].dtype:
        factors: Sequence[Tensor | float] = [by] * len(out) if isinstance(by, float) else by
        for tensor, factor, target in zip(tensors, factors, out, strict=True):
            torch.mul(tensor, factor, out=target)
    else:
        torch._foreach_copy_(out, tensors)
        torch._foreach_mul_(out, by)


def sections(row: KernelRow, memory: Memory, size: int | None = None) -> list[Section]:
    """Return the row in tiles of about `size` numbers, with scratch in `memory`.

    Large parameters are cut on the CPU alone, because devices have the bandwidth. A sharded row is one tile, so that its norms are
    summed in one collective.

    Args:
        row: the parameters and their state.
        memory: scratch memory, which may be shared and grows as needed.
        size: numbers in a tile; None for the default of the device.
    """
    device = row.tensors[0].device
    size = size or (CPU_TILE if device.type == "cpu" else DEVICE_TILE)
    if row.placement.mesh is not None:
        size = sum(map(_aligned_size, row.tensors))
    groups: list[list[int]] = []
    space = 0
    for index, tensor in enumerate(row.tensors):
        if _aligned_size(tensor) > space or not groups:
            groups.append([])
            space = size
        groups[-1].append(index)
        space -= _aligned_size(tensor)
    scratch = _Scratch(memory)
    return [_section(row, places, size, scratch) for places in groups]


def _section(row: KernelRow, places: list[int], size: int, scratch: _Scratch) -> Section:
    """Return the section of the parameters at `places`, cut into tiles if it is one large parameter."""
    params = [row.tensors[i].detach() for i in places]
    state = [[values[i] for i in places] for values in row.state]
    # scratch has no holes, though a parameter that is a slice of a larger tensor has
    layouts = state[0] if state else params if row.dense else [torch.empty_like(param) for param in params]
    updates = scratch.like("updates", layouts)
    dense = all(updates[i].stride() == param.stride() for i, param in enumerate(params))
    length = _rows_per_tile(layouts[0], size)
    if not length:
        tile = Tile(params, state, scratch.like("grads", layouts), updates, (flattened(params), flattened(updates)))
        return Section(places, params, updates, [tile], 0, dense, row.placement)
    count = -(-len(params[0]) // length)
    pieces = [[tensor] * count if tensor.dim() == 0 else torch.split(tensor, length) for [tensor] in state]
    tiles = []
    for index, (param, update) in enumerate(zip(torch.split(params[0], length), torch.split(updates[0], length), strict=True)):
        tile_state = [[piece[index]] for piece in pieces]
        tiles.append(
            Tile([param], tile_state, scratch.like("grads", [update]), [update], (flattened([param]), flattened([update])))
        )
    return Section(places, params, updates, tiles, length, dense, row.placement)


def flattened(tensors: list[Tensor]) -> list[Tensor]:
    """Return the tensors in one dimension, in the order of memory; one with holes, or an empty one, stays as it is."""
    return [
        tensor.view(-1)
        if tensor.is_contiguous()
        else tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
        if sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) == tensor.numel() - 1
        else tensor
        for tensor in tensors
    ]


def _rows_per_tile(layout: Tensor, size: int) -> int:
    """Return the length of the first dimension in one tile; 0 if the tensor is small, or its pieces would have holes."""
    if layout.numel() <= size or layout.device.type != "cpu" or layout.stride(0) * layout.shape[0] != layout.numel():
        return 0
    return max(1, size // layout.stride(0))


def _aligned_size(tensor: Tensor) -> int:
    """Return the numbers of scratch memory that a tensor takes."""
    return -(-tensor.numel() // ALIGN) * ALIGN


class _Scratch:
    """Memory that is written anew before every use: one stretch of it for all tiles."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def like(self, name: str, layouts: list[Tensor]) -> list[Tensor]:
        """Return tensors in the shapes and memory layouts of `layouts`, one after another in memory `name`.

        Args:
            name: the purpose.
            layouts: tensors of one dtype on one device, without holes.
        """
        first, size = layouts[0], sum(map(_aligned_size, layouts))
        memory = self.memory.setdefault((name, first.device, first.dtype), first.new_empty(0))
        if memory.numel() < size:  # grown in place: the tensors handed out before share the storage, whatever its size
            memory.resize_(size)
        views, start = [], 0
        for layout in layouts:
            views.append(memory.as_strided(layout.shape, layout.stride(), start))
            start += _aligned_size(layout)
        return views
