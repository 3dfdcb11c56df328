"""The parameters that one call of a fused kernel moves."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from accel.device.dtensor import Placement

__all__ = ["KernelRow", "host_value"]


class KernelRow(NamedTuple):
    """The parameters that one call of the kernel moves: of one group, on one device, in one dtype."""

    group: dict[str, Any]
    params: list[Tensor]
    """The user's parameters, which have the gradients."""
    tensors: list[Tensor]
    """The tensors that the kernel moves: the parameters, or their local shards, which share their memory."""
    state: list[list[Tensor]]
    """One list for each name in `Fused.state_names`, as long as `params`; local shards if the parameters are sharded."""
    counter: Tensor | None = None
    """The step counters in one tensor, (n,) float32, of which the counters in `state` are views."""
    weights: Tensor | None = None
    """The weights of the first moments likewise, if beta1 is cycled."""
    excluded: bool = False
    """Whether the parameters are biases or of norms, in a group that excludes these (`exclude`)."""
    placement: Placement = Placement()
    """The processes over which all of its parameters are sharded."""
    plan: Any = None
    """The plan that `Fused.plan` made of the row."""
    addresses: tuple[int, ...] = ()
    """The addresses of `tensors` when the plan was made."""

    @property
    def stale(self) -> bool:
        """Whether parameters were given other memory (`param.data = ...`) since the plan was made."""
        return self.plan is not None and self.addresses != tuple([tensor.data_ptr() for tensor in self.tensors])

    @property
    def on_host(self) -> bool:
        """Whether the row is whole, in the memory of the host, so that reading a number waits for nothing."""
        return self.placement.mesh is None and self.tensors[0].device.type == "cpu"

    def subset(self, indices: list[int]) -> KernelRow:
        """Return the row with the parameters at these indices alone."""
        params, tensors = [self.params[i] for i in indices], [self.tensors[i] for i in indices]
        state = [[values[i] for i in indices] for values in self.state]
        return self._replace(params=params, tensors=tensors, state=state, counter=None, weights=None, plan=None)


def host_value(tensor: Tensor | None, otherwise: float) -> float:
    """Return the number in a 0-dim tensor in the memory of the host, or `otherwise` for None. Reading it waits for nothing."""
    return otherwise if tensor is None else float(tensor.tolist())  # type: ignore[arg-type]
