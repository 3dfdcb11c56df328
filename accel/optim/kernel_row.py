"""The parameters that one call of a fused kernel moves."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from accel.device.dtensor import Placement, local_shard, placement
from accel.optim.kernels.kernel_check import is_dense, select_kernel
from accel.optim.kernels.plain_kernels import PLAIN, Kernel
from accel.optim.memory_layout import match_strides

__all__ = ["KernelRow", "empty_row", "follow_weights", "host_value", "moves_together"]

WHOLE = Placement()


class KernelRow(NamedTuple):
    """The parameters that one call of the kernel moves: of one group, on one device, in one dtype."""

    group: dict[str, Any]
    params: list[Tensor]
    """The user's parameters, which have the gradients."""
    tensors: list[Tensor]
    """The tensors that the kernel moves: `real_shard` of each parameter, which shares its memory; or what it is rounded from."""
    state: list[list[Tensor]]
    """One list for each name in `Fused.state_names`, as long as `params`, each as `real_shard` gives it."""
    counter: Tensor | None = None
    """The step counters in one tensor, (n,) float32, of which the counters in `state` are views."""
    weights: Tensor | None = None
    """The weights of the first moments likewise, if beta1 is cycled."""
    ones: Tensor | None = None
    """A 1 for each step counter on a device, to count by: (n,) float32."""
    excluded: bool = False
    """Whether the parameters are biases or of norms, in a group that excludes these (`exclude`)."""
    placement: Placement = Placement()
    """The processes over which all of its parameters are sharded."""
    plan: Any = None
    """The plan that `Fused.plan` made of the row."""
    addresses: tuple[int, ...] = ()
    """The addresses of the parameters when the plan was made."""
    dense: bool = True
    """Whether the parameters lie in memory without gaps, so that a fused kernel can move them."""
    on_device: bool = False
    """Whether the row is whole, and not in the memory of the host: its parameters then move by few launches."""

    @property
    def is_complex(self) -> bool:
        """Whether the parameters are complex, and `tensors` are views of them."""
        return self.params[0].is_complex()

    @property
    def stale(self) -> bool:
        """Whether parameters were given other memory (`param.data = ...`) since the plan was made."""
        return (self.plan is not None or self.is_complex) and self.addresses != self.present_addresses()

    def present_addresses(self) -> tuple[int, ...]:
        """Return where the parameters lie now; of sharded ones, where `tensors` do."""
        tensors = self.tensors if self.placement.mesh is not None else self.params
        return tuple([tensor.data_ptr() for tensor in tensors])

    def kernel(self, name: str, *, scratch: bool = False) -> Kernel:
        """Return the kernel that moves its tensors, or scratch memory of their dtype: `sgd`, `adam` or `adamw`."""
        first = self.tensors[0]
        if not self.dense and not scratch and not self.on_device:
            return PLAIN[name]
        kernel = select_kernel(name, first.dtype, first.device)
        return kernel if self.dense or scratch else partial(move_copies, kernel)

    @property
    def on_host(self) -> bool:
        """Whether the row is whole, in the memory of the host, so that reading a number waits for nothing."""
        return self.placement.mesh is None and not self.on_device

    def subset(self, indices: list[int]) -> KernelRow:
        """Return the row with the parameters at these indices alone."""
        params, tensors = [self.params[i] for i in indices], [self.tensors[i] for i in indices]
        state = [[values[i] for i in indices] for values in self.state]
        return self._replace(params=params, tensors=tensors, state=state, counter=None, weights=None, ones=None, plan=None)


def moves_together(tensor: Tensor, sharding: Placement = WHOLE) -> bool:
    """Return whether a tensor is moved together with others by few launches, which devices are slow to begin."""
    return sharding.mesh is None and tensor.device.type != "cpu"


def move_copies(kernel: Kernel, tensors: list[Tensor], others: list[Tensor], *state: list[Tensor], **settings: Any) -> None:
    """Call a kernel with copies of those tensors that have gaps in memory, and copy the results back.

    Args:
        kernel: that of torch.
        tensors: those that it moves.
        others: what it moves them by, of their shapes and dtype.
        *state: its other lists, without gaps.
        **settings: its other arguments.
    """
    dense = [tensor if is_dense(tensor) else torch.empty_like(tensor).copy_(tensor) for tensor in tensors]
    kernel(dense, [match_strides(other, like) for other, like in zip(others, dense, strict=True)], *state, **settings)
    for tensor, moved in zip(tensors, dense, strict=True):
        if moved is not tensor:
            tensor.copy_(moved)


def empty_row(group: dict[str, Any], names: tuple[str, ...], param: Tensor, shard: Tensor, *, joins_excluded: bool) -> KernelRow:
    """Return a row without parameters, for a parameter and those that are alike.

    Args:
        group: its settings.
        names: of its state.
        param: the parameter.
        shard: the tensor that the kernel is to move.
        joins_excluded: whether excluded parameters are in one row with others on a device.
    """
    sharding, dense = placement(param), is_dense(shard)
    on_device = moves_together(shard, sharding)
    excluded = not (joins_excluded and on_device) and group.get("exclude") == "norm_and_bias" and param.dim() <= 1
    return KernelRow(group, [], [], [[] for _ in names], excluded=excluded, placement=sharding, dense=dense, on_device=on_device)


def follow_weights(row: KernelRow) -> None:
    """Take over what somebody else has written to the parameters of a row, if its tensors are what these are rounded from."""
    for tensor, param in zip(row.tensors, row.params, strict=True):
        if tensor.dtype.itemsize > param.dtype.itemsize and not param.is_complex():
            shard = local_shard(param.detach())
            torch.where(tensor.to(shard.dtype) == shard, tensor, shard.to(tensor.dtype), out=tensor)


def host_value(tensor: Tensor | None, otherwise: float) -> float:
    """Return the number in a 0-dim tensor in the memory of the host, or `otherwise` for None. Reading it waits for nothing."""
    return otherwise if tensor is None else float(tensor.tolist())  # type: ignore[arg-type]
