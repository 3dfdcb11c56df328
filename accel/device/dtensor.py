"""Tensors that are sharded over several processes (DTensor): the local shard, and sums over all shards.

The kernels move the shard of this process. Norms, the only numbers they need of the whole tensor, are summed over the
processes, for many parameters in one collective.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "SHORT", "Placement", "is_dtensor", "local_shard", "norms", "placement", "real_shard", "shard_like", "total_norm", "with_shard",
]  # fmt: skip

SHORT = (torch.float16, torch.bfloat16)
"""Dtypes in which a sum of squares overflows, or does not move."""


class Placement(NamedTuple):
    """The processes over which a parameter is sharded; the mesh is None for a plain tensor."""

    mesh: Any = None
    axes: tuple[int, ...] = ()
    """The axes of the mesh along which processes have different shards; along all others they have copies of one."""

    def all_reduce(self, sums: Tensor) -> Tensor:
        """Return `sums`, any shape, summed in place over the processes; copies of one shard count once."""
        for axis in self.axes:
            torch.distributed.all_reduce(sums, group=self.mesh.get_group(axis))
        return sums

    def norm(self, local_norms: Tensor) -> Tensor:
        """Return the 2-norm over all processes, 0-dim, from the norms of the local shards, (n,)."""
        norm: Tensor = torch.linalg.vector_norm(local_norms)
        return norm if self.mesh is None else self.all_reduce(norm.square_()).sqrt_()


def placement(tensor: Tensor) -> Placement:
    """Return the processes over which a tensor is sharded."""
    if not is_dtensor(tensor):
        return Placement()
    placements = tensor.placements  # type: ignore[attr-defined]
    axes = tuple(axis for axis, placement in enumerate(placements) if not placement.is_replicate())
    return Placement(tensor.device_mesh, axes)  # type: ignore[attr-defined]


def is_dtensor(tensor: Tensor) -> bool:
    """Return whether a tensor is a DTensor. Asking by name spares the import of `torch.distributed.tensor`."""
    return hasattr(tensor, "to_local")


def local_shard(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """Return the local shard, which shares the tensor's memory; a plain tensor is returned as it is.

    Args:
        tensor: a parameter or a gradient.
        like: the parameter of the gradient; a gradient with other placements is redistributed first.
    """
    if not is_dtensor(tensor):
        return tensor
    if like is not None and tensor.placements != like.placements:  # type: ignore[attr-defined]
        tensor = tensor.redistribute(like.device_mesh, like.placements)  # type: ignore[attr-defined]
    shard: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return shard


def real_shard(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """Return the local shard, which shares the tensor's memory; a complex one as real numbers, (..., 2).

    Args:
        tensor: a parameter, its state, or its gradient.
        like: the parameter of the gradient, as for `local_shard`.
    """
    shard = local_shard(tensor, like)
    return torch.view_as_real(shard.resolve_conj()) if shard.is_complex() else shard


def with_shard(tensor: Tensor, shard: Tensor) -> Tensor:
    """Return a DTensor with the placements of `tensor` and another local shard, on any device. Nothing can be computed with it.

    `DTensor.from_local` would copy the shard to the device of the mesh, and wait for it.
    """
    cls: Any = type(tensor)
    sharded: Tensor = cls(shard, tensor._spec, requires_grad=False)  # type: ignore[attr-defined]
    return sharded


def shard_like(value: Any, like: Any) -> Any:
    """Return a tensor that every process has whole, sharded as `like` is, if `like` is a DTensor of that shape; else the value."""
    if not (isinstance(value, Tensor) and isinstance(like, Tensor)) or not is_dtensor(like) or is_dtensor(value):
        return value
    if value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    layout = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return distribute_tensor(value.to(like.device), *layout, src_data_rank=None)  # nothing is sent


def total_norm(rows: Iterable[tuple[Placement, list[Tensor]]]) -> Tensor:
    """Return the 2-norm over all shards of all rows together, 0-dim, in float32 at least.

    There is one collective for all rows with one placement.

    Args:
        rows: placements with the local shards.
    """
    norms_by_placement: dict[Placement, list[Tensor]] = {}
    for placement, shards in rows:
        norms_by_placement.setdefault(placement, []).append(torch.stack(norms(shards)))
    totals = [placement.norm(torch.cat(local_norms)) for placement, local_norms in norms_by_placement.items()]
    return totals[0] if len(totals) == 1 else torch.linalg.vector_norm(torch.stack(totals))


def norms(tensors: list[Tensor]) -> list[Tensor]:
    """Return the 2-norm of each tensor, 0-dim, in float32 at least; of a complex one a real number."""
    short = [tensor.dtype in SHORT for tensor in tensors]
    if not any(short):
        return list(torch._foreach_norm(tensors))
    if all(short):
        return list(torch._foreach_norm(tensors, 2, torch.float32))
    return [
        torch.linalg.vector_norm(tensor, dtype=torch.float32 if is_short else None)
        for tensor, is_short in zip(tensors, short, strict=True)
    ]
